"""Turns that the user brings along."""

from pathlib import Path

import numpy as np
import pytest

from callmood.diarize.told import told_turns
from callmood.errors import RecordingError
from callmood.types import Audio


def audio(channels: int) -> Audio:
    """Ten seconds; the left channel is all 0.2, the right 0.6."""
    samples = np.array([[0.2], [0.6]], dtype=np.float32)[:channels].repeat(80_000, axis=1)
    return Audio(samples=samples, rate_hz=8000, source_rate_hz=8000, source_channels=channels, codec="PCM_16")


def write(folder: Path, *lines: str) -> Path:
    (folder / "call.rttm").write_text("".join(f"SPEAKER call {line}\n" for line in lines))
    return folder


def test_turns_are_those_of_the_file_as_far_as_there_is_sound(tmp_path: Path) -> None:
    folder = write(
        tmp_path, "1 1.0 2.0 x x Ann <NA> x", "1 2.5 9.0 x x Bob 0.75 x", "1 11.0 1.0 x x Ann <NA> x"
    )
    turns, heard = told_turns(folder, [Path("in/call.wav")], audio(1))
    assert [(t.speaker, t.channel, t.start_s, t.end_s, t.confidence) for t in turns] == [
        ("Ann", 0, 1.0, 3.0, None),
        ("Bob", 0, 2.5, 10.0, 0.75),
    ]
    assert [t.overlap_s for t in turns] == [0.5, 0.5]
    assert heard.channels == 1


def test_channels_of_the_file_are_channels_of_the_call(tmp_path: Path) -> None:
    folder = write(tmp_path, "1 0.0 1.0 <NA> <NA> A <NA> <NA>", "2 1.0 1.0 <NA> <NA> B <NA> <NA>")
    turns, heard = told_turns(folder, [Path("call.wav")], audio(2))
    assert [t.channel for t in turns] == [0, 1]
    assert heard.channels == 2


def test_turns_all_of_channel_one_are_heard_in_the_mixture(tmp_path: Path) -> None:
    folder = write(tmp_path, "1 0.0 1.0 <NA> <NA> A <NA> <NA>", "1 1.0 1.0 <NA> <NA> B <NA> <NA>")
    _, heard = told_turns(folder, [Path("call.wav")], audio(2))
    assert heard.samples == pytest.approx(np.full((1, 80_000), 0.4), abs=1e-6)


def test_a_call_of_two_legs_may_have_the_name_of_either(tmp_path: Path) -> None:
    folder = write(tmp_path, "2 0.0 1.0 <NA> <NA> A <NA> <NA>")
    turns, _ = told_turns(folder, [Path("agent.wav"), Path("call.wav")], audio(2))
    assert len(turns) == 1


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["2 0.0 1.0 <NA> <NA> A <NA> <NA>"], "names channel 2, of 1"),
        (["1 0.0 minus <NA> <NA> A <NA> <NA>"], "line 1, is not a turn"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(RecordingError, match=f"call.rttm.*{sentence}"):
        told_turns(write(tmp_path, *lines), [Path("call.wav")], audio(1))


def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no turns at .*other\.rttm; put them there, or leave --rttm"):
        told_turns(tmp_path, [Path("other.wav")], audio(1))
