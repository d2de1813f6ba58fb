"""Levels, syllables, and what sounds while nobody speaks, on signals that the tests make."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from audio import tone, voice

from callmood.decode import decode_file
from callmood.diarize.channels import ChannelsDiarizer
from callmood.signals import signals_of
from callmood.signals.nonspeech import gaps
from callmood.signals.power import dbfs, powers
from callmood.signals.syllables import count_syllables
from callmood.types import Audio, Floats, Nonspeech, Turn

RATE_HZ = 8000
EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "calls"


def audio_of(*channels: Floats) -> Audio:
    return Audio(
        samples=np.stack(channels).astype(np.float32),
        rate_hz=RATE_HZ,
        source_rate_hz=RATE_HZ,
        source_channels=len(channels),
        codec="PCM_16",
    )


def quiet(seconds: float, *, amplitude: float = 1e-4, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(size=round(seconds * RATE_HZ))
    return (amplitude * noise).astype(np.float32)


def cadence(*hz: float, on_s: float, off_s: float, times: int) -> Floats:
    """A tone of some frequencies that comes and goes, -20 dBFS or so."""
    burst = sum(
        (tone(seconds=on_s, hz=f, amplitude=0.1) for f in hz[1:]), tone(seconds=on_s, hz=hz[0], amplitude=0.1)
    )
    rest = np.zeros(round(off_s * RATE_HZ), dtype=np.float32)
    return np.tile(np.concatenate([burst, rest]), times)


def hold_music(seconds: float) -> Floats:
    """Plucked chords of three notes with overtones, two a second, drawn from a scale."""
    draw = np.random.default_rng(1)
    scale = [220.0, 261.6, 293.7, 329.6, 392.0, 440.0, 523.3]
    sound = np.zeros(round((seconds + 1) * RATE_HZ), dtype=np.float32)
    t_s = np.arange(RATE_HZ) / RATE_HZ
    for beat in range(round(2 * seconds)):
        for hz in draw.choice(scale, 3, replace=False):
            note = sum(np.sin(2 * np.pi * hz * k * t_s) / k for k in range(1, 6)) * np.exp(-2 * t_s)
            start = beat * RATE_HZ // 2
            sound[start : start + RATE_HZ] += 0.05 * note.astype(np.float32)
    return sound[: round(seconds * RATE_HZ)]


def told(audio: Audio, turns: tuple[Turn, ...] = ()) -> list[tuple[str, float, float]]:
    """What sounds, but for silence under a second, with times rounded to half a second."""
    found = signals_of(audio, turns)[1]
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(found)) or turns
    return [
        (s.kind, round(2 * s.start_s) / 2, round(2 * s.end_s) / 2)
        for s in found
        if s.kind != "silence" or s.end_s - s.start_s >= 1
    ]


@pytest.mark.parametrize(
    ("hz", "on_s", "off_s", "times"),
    [
        ((440.0, 480.0), 2.0, 4.0, 3),  # North American ring
        ((425.0,), 1.0, 4.0, 3),  # ring in most of Europe
        ((400.0, 450.0), 0.4, 0.2, 8),  # British ring, but for its longer pause
        ((480.0, 620.0), 0.5, 0.5, 8),  # North American busy
        ((350.0, 440.0), 6.0, 0.0, 1),  # dial tone
    ],
)
@pytest.mark.parametrize("noise", [1e-4, 0.01])
def test_tones_of_the_line_are_tones_with_the_pauses_of_their_cadence(
    hz: tuple[float, ...], on_s: float, off_s: float, times: int, noise: float
) -> None:
    ring = cadence(*hz, on_s=on_s, off_s=off_s, times=times)
    sound = np.concatenate([np.zeros(2 * RATE_HZ), ring, np.zeros(2 * RATE_HZ)])
    sound = sound + quiet(len(sound) / RATE_HZ, amplitude=noise)

    (found,) = [s for s in signals_of(audio_of(sound), ())[1] if s.kind != "silence"]

    assert found.kind == "tone"
    assert found.start_s == pytest.approx(2.0, abs=0.1)
    assert found.end_s == pytest.approx(2.0 + times * (on_s + off_s) - off_s, abs=0.1)


def test_hold_music_noise_and_silence_are_told_apart() -> None:
    hiss = quiet(4, amplitude=0.05, seed=2)
    sound = np.concatenate([quiet(3), hold_music(10), quiet(5), hiss, quiet(3)])

    assert told(audio_of(sound)) == [
        ("silence", 0.0, 3.0),
        ("music", 3.0, 13.0),
        ("silence", 13.0, 18.0),
        ("noise", 18.0, 22.0),
        ("silence", 22.0, 25.0),
    ]


def test_the_noise_of_the_line_is_silence() -> None:
    # -46 dBFS throughout, 20 dB below the speech.
    sound = voice(seconds=20, seed=0, speaks_s=(0, 8)) + quiet(20, amplitude=0.005)
    turns = (Turn(speaker="S1", channel=0, start_s=0.0, end_s=8.0),)

    assert told(audio_of(sound), turns) == [("silence", 8.0, 20.0)]


def test_digital_silence_is_silence_and_everything_is_accounted_for() -> None:
    signals, between = signals_of(audio_of(np.zeros(10 * RATE_HZ, dtype=np.float32)), ())

    assert signals == ()
    assert between == (Nonspeech(start_s=0.0, end_s=10.0, kind="silence", level_dbfs=-80.0),)


def test_an_empty_recording_has_nothing_between() -> None:
    assert signals_of(audio_of(np.zeros(0, dtype=np.float32)), ()) == ((), ())


def test_music_on_either_channel_counts() -> None:
    assert told(audio_of(quiet(8), hold_music(8))) == [("music", 0.0, 8.0)]


def test_what_turns_cover_is_not_told_apart() -> None:
    turns = (Turn(speaker="S1", channel=0, start_s=2.0, end_s=5.0),)

    assert [(s.start_s, s.end_s) for s in signals_of(audio_of(quiet(8)), turns)[1]] == [
        (0.0, 2.0),
        (5.0, 8.0),
    ]


def test_gaps_are_what_overlapping_turns_leave() -> None:
    assert list(gaps([(0.0, 2.0), (1.0, 3.0), (1.5, 2.0), (4.0, 6.0)], duration_s=6.0)) == [(3.0, 4.0)]


def test_the_level_of_a_turn_is_that_of_its_channel() -> None:
    # A sine of amplitude 0.5 has a mean square of 1/8: -9.03 dBFS; one of 0.05 is 20 dB below.
    audio = audio_of(tone(seconds=4, amplitude=0.5), tone(seconds=4, amplitude=0.05))
    turns = tuple(Turn(speaker=f"S{n + 1}", channel=n, start_s=1.0, end_s=2.0) for n in (0, 1))

    assert [signal.level_dbfs for signal in signals_of(audio, turns)[0]] == [
        pytest.approx(-9.03, abs=0.01),
        pytest.approx(-29.03, abs=0.01),
    ]


def test_powers_do_not_depend_on_blocks() -> None:
    samples = voice(seconds=150, seed=1)

    assert powers(samples, rate_hz=RATE_HZ) == pytest.approx(
        (samples.reshape(-1, 80) ** 2).mean(axis=1), rel=1e-4
    )
    assert dbfs(float(powers(samples, rate_hz=RATE_HZ).mean())) == pytest.approx(-20.0, abs=0.1)


def test_syllables_are_bursts_of_voice() -> None:
    # Six vowels (a buzz of 120 Hz) of 150 ms with 100 ms between.
    buzz = sum(
        (tone(seconds=0.15, hz=120.0 * k, amplitude=0.3 / k) for k in range(1, 20)),
        tone(seconds=0.15, amplitude=0),
    )
    spoken = np.concatenate(
        [np.concatenate([buzz * np.hanning(len(buzz)), quiet(0.1)]) for _ in range(6)]
    ).astype(np.float32)
    hissed = np.concatenate(
        [np.concatenate([quiet(0.15, amplitude=0.1, seed=n), quiet(0.1)]) for n in range(6)]
    )

    assert count_syllables(spoken, powers(spoken, rate_hz=RATE_HZ), rate_hz=RATE_HZ) == 6
    assert count_syllables(hissed, powers(hissed, rate_hz=RATE_HZ), rate_hz=RATE_HZ) <= 1


def test_syllables_of_the_example_are_about_those_of_its_text() -> None:
    # "Good morning, parcel desk, Robert speaking. What can I do for you?" and so on in examples/render.py: 123 syllables
    # of delivery-0418, counted by hand.
    audio = decode_file(EXAMPLES / "delivery-0418.wav", rate_hz=RATE_HZ)
    turns = ChannelsDiarizer()(audio)

    counted = sum(signal.syllables or 0 for signal in signals_of(audio, turns)[0])

    assert counted == pytest.approx(123, rel=0.2)


def test_the_pauses_of_the_example_are_no_tones_and_no_music() -> None:
    # Silence, and "Good." at 50.4 s, which voice activity does not find.
    audio = decode_file(EXAMPLES / "billing-0417.wav", rate_hz=RATE_HZ)
    between = signals_of(audio, ChannelsDiarizer()(audio))[1]

    assert {stretch.kind for stretch in between} <= {"silence", "noise"}
    assert sum(stretch.end_s - stretch.start_s for stretch in between if stretch.kind == "noise") < 1.0
