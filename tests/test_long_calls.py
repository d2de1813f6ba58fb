"""Calls of many hours, in small: every block is made so short that a minute of sound needs many of them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio import is_mapped, tone, voice, write_wav

from callmood.decode import canonical, decode_file
from callmood.diarize import ears
from callmood.diarize.turns import mixed
from callmood.emotion import score
from callmood.emotions import EMOTIONS
from callmood.features import ChannelFrames, FrontEnd, Spread, mfcc
from callmood.pipeline import analyze_audio, load_diarizer, load_engines
from callmood.settings import Settings
from callmood.types import Analysis, Audio, Leg, Recording, Turn

CALLS = Path(__file__).resolve().parents[1] / "examples" / "calls"


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in memory of five minutes of speech is what lies there of six seconds."""
    monkeypatch.setattr(canonical, "MEMORY_S", 5)
    monkeypatch.setattr(mfcc, "_BLOCK_FRAMES", 100)
    monkeypatch.setattr(score, "_HELD_FRAMES", 500)
    monkeypatch.setattr(ears, "_AT_ONCE_S", 6.0)
    monkeypatch.setattr(ears, "MAX_STRETCH_S", 2.0)


def analysis_of(audio: Audio) -> Analysis:
    recording = Recording(call_id="x", legs=(Leg(path=CALLS),), content_hash="x")
    return analyze_audio(audio, recording, load_engines(Settings(device="cpu")))


@pytest.mark.parametrize(("name", "channels"), [("outage-0419.mp3", 1), ("delivery-0418.wav", 2)])
def test_a_call_in_pieces_has_the_results_of_the_call_in_memory(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str, channels: int
) -> None:
    # Part of the recipe, not of the memory: the same in both.
    monkeypatch.setattr(ears, "MAX_STRETCH_S", 2.0)
    whole = analysis_of(decode_file(CALLS / name, rate_hz=8000))
    request.getfixturevalue("short_blocks")
    audio = decode_file(CALLS / name, rate_hz=8000)
    assert (audio.channels, is_mapped(audio.samples)) == (channels, True)
    pieces = analysis_of(audio)

    assert len(whole.turns) > 3
    assert [(turn.speaker, turn.start_s, turn.end_s) for turn in pieces.turns] == [
        (turn.speaker, turn.start_s, turn.end_s) for turn in whole.turns
    ]
    assert len(whole.windows.start_s) > 20
    for ours, theirs in (
        (pieces.turn_affect.probabilities, whole.turn_affect.probabilities),
        (pieces.windows.affect.probabilities, whole.windows.affect.probabilities),
        (pieces.windows.negativity_smooth, whole.windows.negativity_smooth),
        (pieces.windows.start_s, whole.windows.start_s),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


class Watching:
    """A model that notes how many frames it is given at a time."""

    front_end = FrontEnd(n_mfcc=2)

    def __init__(self) -> None:
        self.given: list[int] = []

    def probabilities(self, stretches, spans):
        self.given.append(sum(len(stretch) for stretch in stretches))
        return [np.full((len(rows), len(EMOTIONS)), 1 / 7, dtype=np.float32) for rows in spans]


class Counting:
    """Frames of a channel that notes how many of them are asked for at a time."""

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self._n_frames

    def __getitem__(self, span: slice) -> np.ndarray:
        first, last, _ = span.indices(self._n_frames)
        self.asked.append(last - first)
        return np.zeros((last - first, 2), dtype=np.float32)


def test_neither_frames_nor_batches_grow_with_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten minutes of frames at a time; an hour of one voice, without a pause.
    monkeypatch.setattr(score, "_HELD_FRAMES", 48_000)
    model, frames = Watching(), Counting(80 * 3600)
    turns = [Turn(speaker="S1", channel=0, start_s=0.0, end_s=3600.0)]

    scores = score.score_turns(turns, {0: frames}, model, wanted=lambda _: True)

    # A minute and the window that begins at its end.
    assert max(frames.asked) <= 62 * 80
    assert max(model.given) <= 48_000
    assert len(model.given) >= 6
    assert len(scores.windows) == 2 * 3600 - 3
    # What did not fit was computed twice, what did once: at most twice the hour.
    assert 80 * 3600 < sum(frames.asked) < 2 * 82 * 3600


def test_frames_of_a_slice_are_those_of_the_whole_channel() -> None:
    samples = np.random.default_rng(0).normal(0.0, 0.1, 8000 * 3 + 50).astype(np.float32)
    frames = ChannelFrames(FrontEnd(), samples)
    whole = FrontEnd().mfcc(samples)

    assert len(frames) == len(whole) == 241
    for first, last in ((0, 5), (100, 101), (200, 241), (7, 7)):
        np.testing.assert_allclose(frames[first:last], whole[first:last], rtol=0, atol=1e-4)


def test_mean_and_deviation_of_parts_are_those_of_the_whole() -> None:
    # Far from zero, where sums of squares would lose their digits.
    frames = (1000 + np.random.default_rng(0).normal(size=(1000, 3))).astype(np.float32)
    spread = Spread()
    for part in (frames[:1], frames[1:1], frames[1:700], frames[700:]):
        spread.add(part)

    np.testing.assert_allclose(spread.mean, frames.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(spread.deviation, frames.std(axis=0, dtype=np.float64), rtol=1e-9)


def test_channels_of_a_long_call_are_mixed_in_a_file(tmp_path: Path, short_blocks: None) -> None:
    left, right = voice(seconds=70, seed=1), voice(seconds=70, seed=2)
    path = write_wav(tmp_path / "x.wav", left, right, subtype="FLOAT")

    heard = mixed(decode_file(path, rate_hz=8000))

    assert is_mapped(heard.samples)
    np.testing.assert_allclose(heard.samples[0], (left + right) / 2, atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="pages are counted in /proc")
def test_pages_of_a_long_call_that_were_read_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resident_kib() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssFile", "RssShmem")))

    monkeypatch.setattr(canonical, "MEMORY_S", 5)
    path = write_wav(tmp_path / "x.wav", np.tile(tone(seconds=10.0), 100))
    samples = decode_file(path, rate_hz=8000).samples
    before = resident_kib()
    # 32 MB, of which each page is read.
    total = float(samples[0, ::512].sum())
    until_s = time.monotonic() + 10
    while resident_kib() > before + 4000 and time.monotonic() < until_s:
        time.sleep(0.05)

    assert resident_kib() <= before + 4000
    assert float(samples[0, ::512].sum()) == total


def test_another_run_in_the_process_uses_the_networks_that_are_loaded(tmp_path: Path) -> None:
    # TensorFlow never gives their memory back.
    first, second = (load_engines(Settings(device="cpu", db=str(tmp_path / name))) for name in ("a", "b"))

    assert first.model is second.model
    assert first.diarizer is second.diarizer


def test_turns_by_channel_need_no_models(tmp_path: Path) -> None:
    assert load_diarizer(Settings(diarizer="channels", models=str(tmp_path))).name.startswith("channels")
