"""Training of the voice network, on takes made here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audio import write_wav

from benchmarks.calls import KEPT_OUT
from benchmarks.diarization import _scripted
from callmood.diarize.voice import VoiceConfig
from callmood.model_files import CAMPPLUS, VOICE_CONFIG, VOICE_WEIGHTS, describe_models
from training.corpora import Clip
from training.speaker import (
    HELD_OUT,
    Recipe,
    Takes,
    draw_batch,
    fit,
    loud_parts,
    spoken_parts,
    training_clips,
)

TINY = replace(
    Recipe(),
    network=VoiceConfig(width=8, blocks=1, dimensions=4),
    steps=30,
    calls=2,
    utterances=3,
    equalizer=0.0,
)


@pytest.fixture
def takes() -> Takes:
    """Three voices, four takes each: noise around a shape of the spectrum that is the voice's own."""
    rng = np.random.default_rng(0)
    shapes = rng.normal(0.0, 30.0, (3, 40))
    frames = [rng.normal(shapes[voice], 3.0, (200, 40)) for voice in range(3) for _ in range(4)]
    return Takes(
        frames=tuple(part.astype(np.float16) for part in frames),
        voice=np.repeat(np.arange(3), 4),
        voices=3,
    )


def clip(speaker: str, number: int = 0) -> Clip:
    corpus = speaker.split("/")[0]
    return Clip(file=f"{speaker}-{number}", path=Path("x"), corpus=corpus, speaker=speaker, emotion="sad")


def test_speakers_kept_out_are_not_heard_and_of_tess_every_sixth_clip() -> None:
    kept = next(iter(HELD_OUT))
    clips = [clip(kept), clip("savee/DC"), *(clip("tess/OAF", number) for number in range(12))]
    heard = training_clips(clips, keep_out=HELD_OUT)
    assert [one.file for one in heard] == ["savee/DC-0", "tess/OAF-0", "tess/OAF-6"]


def test_a_batch_is_repeatable_and_holds_calls_of_two_voices(takes: Takes) -> None:
    frames, voices = draw_batch(takes, TINY, 7)
    again, _ = draw_batch(takes, TINY, 7)
    assert frames.shape[0] == 2 * 2 * 3
    assert frames.shape[1] % 4 == 0
    assert 80 <= frames.shape[1] <= 172  # 1.0 to 2.15 s
    assert (frames == again).all()
    for call in voices.reshape(2, 2, 3):
        assert [len(set(of_one)) for of_one in call] == [1, 1]
        assert call[0, 0] != call[1, 0]


def test_each_call_is_heard_relative_to_itself(takes: Takes) -> None:
    frames, _ = draw_batch(takes, TINY, 3)
    assert frames.reshape(2, -1, 40).mean(axis=1) == pytest.approx(np.zeros((2, 40)), abs=0.02)


def test_the_network_learns_voices_apart_and_loads_as_a_model(takes: Takes, tmp_path: Path) -> None:
    import json
    from dataclasses import asdict

    from callmood.diarize.voice import VoiceModel, relative_to_call
    from training.export import record

    network = fit(takes, TINY)
    (tmp_path / "speaker").mkdir()
    network.save_weights(tmp_path / VOICE_WEIGHTS)
    config = {"front_end": asdict(TINY.front_end), "network": asdict(TINY.network)}
    (tmp_path / VOICE_CONFIG).write_text(json.dumps(config))
    record(tmp_path, dict.fromkeys((VOICE_CONFIG, VOICE_WEIGHTS), "a licence"))

    heard = relative_to_call([takes.frames[take].astype(np.float32) for take in (0, 1, 4, 5)])
    rows = np.concatenate(VoiceModel(tmp_path).embed(heard, [np.array([[0, 200]])] * 4))
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    alike = rows @ rows.T
    assert min(alike[0, 1], alike[2, 3]) > max(alike[0, 2], alike[0, 3], alike[1, 2], alike[1, 3])


def test_loud_parts_are_those_within_25_db_of_the_loudest() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000).astype(np.float32)
    # A second each: loud, 40 dB below, 20 dB below.
    parts = loud_parts(np.concatenate((tone, tone / 100, tone / 10)))
    assert parts / 8000 == pytest.approx(np.array([[0.0, 1.0], [2.0, 3.0]]), abs=0.1)


def test_the_room_of_a_noisy_clip_is_loud_and_not_spoken() -> None:
    t = np.arange(8000) / 8000
    hum, tone = 0.1 * np.sin(2 * np.pi * 500 * t), np.sin(2 * np.pi * 1000 * t)
    # A second each of the room alone, speech 20 dB above it, and the room again.
    clip = np.concatenate((hum, hum + tone, hum)).astype(np.float32)
    assert loud_parts(clip) / 8000 == pytest.approx(np.array([[0.0, 3.0]]), abs=0.1)
    trimmed, spoken = spoken_parts(clip)
    assert len(trimmed) / 8000 == pytest.approx(3.0, abs=0.1)
    assert spoken == pytest.approx(np.array([[1.0, 2.0]]), abs=0.1)


def test_the_networks_of_the_benchmarks_are_those_recorded_and_not_those_that_ship() -> None:
    for kept_out, shipped in ((KEPT_OUT, None), (KEPT_OUT / "commercial", "commercial")):
        files = describe_models(kept_out)
        ships = {file.name: file.sha256 for file in describe_models(shipped)}
        assert {file.name for file in files} == {VOICE_CONFIG, VOICE_WEIGHTS, CAMPPLUS}
        assert all(file.ok for file in files)
        assert {file.name: file.sha256 == ships[file.name] for file in files} == {
            VOICE_CONFIG: True,
            VOICE_WEIGHTS: False,
            CAMPPLUS: True,  # trained here without anybody whose calls are scored
        }


@pytest.mark.parametrize("overlapping", [0.0, 1.0])
def test_scripted_calls_overlap_where_they_are_asked_to(tmp_path: Path, overlapping: float) -> None:
    t = np.arange(2 * 8000) / 8000
    clips = []
    for speaker, hz in (("a", 600), ("b", 1500)):
        for emotion in ("happy", "sad"):
            path = tmp_path / f"{speaker} {emotion}.wav"
            sound = 0.3 * np.sin(2 * np.pi * hz * t) * ((t > 0.25) & (t < 1.75))
            write_wav(path, sound, rate_hz=8000)
            clips.append(Clip(file=path.name, path=path, corpus="c", speaker=speaker, emotion=emotion))

    samples, reference, _ = _scripted(clips[:2], clips[2:], seed=1, utterances=6, overlapping=overlapping)

    starts = np.array([turn.start_s for turn in reference])
    ends = np.array([turn.end_s for turn in reference])
    gaps = starts[1:] - ends[:-1]
    assert [turn.speaker for turn in reference] == ["a", "b"] * 3
    assert samples.shape[1] / 8000 >= ends.max()
    low, high = (-1.5, -0.3) if overlapping else (0.1, 0.8)
    assert gaps.min() >= low - 0.07
    assert gaps.max() <= high + 0.07
    # Both tones sound where both speak.
    begin, end = (starts[1] + 0.05, ends[0] - 0.05) if overlapping else (starts[0] + 0.5, starts[0] + 0.75)
    heard = np.abs(np.fft.rfft(samples[0, int(begin * 8000) : int(end * 8000)]))
    hz = np.fft.rfftfreq(int(end * 8000) - int(begin * 8000), 1 / 8000)
    both = [heard[np.abs(hz - tone) < 20].max() for tone in (600, 1500)]
    assert (min(both) > 0.2 * max(both)) == bool(overlapping)
