"""Turns to and from RTTM."""

from __future__ import annotations

from pathlib import Path

import pytest

from callmood.diarize.rttm import read_rttm, write_rttm
from callmood.errors import UsageError
from callmood.types import Turn


def test_a_turn_becomes_one_speaker_line_with_its_channel_counted_from_one() -> None:
    turns = [
        Turn(speaker="S2", channel=1, start_s=1.25, end_s=3.5),
        Turn(speaker="S1", channel=0, start_s=4.0, end_s=4.5, confidence=0.875),
    ]
    assert write_rttm(turns, "call-7") == (
        "SPEAKER call-7 2 1.250 2.250 <NA> <NA> S2 <NA> <NA>\n"
        "SPEAKER call-7 1 4.000 0.500 <NA> <NA> S1 0.875 <NA>\n"
    )


def test_a_space_in_a_name_does_not_break_the_line_into_more_fields() -> None:
    text = write_rttm([Turn(speaker="Ann Lee", channel=0, start_s=0.0, end_s=1.0)], "my call")
    assert text == "SPEAKER my_call 1 0.000 1.000 <NA> <NA> Ann_Lee <NA> <NA>\n"


def test_reading_back_gives_the_turns_ordered_by_start_with_their_overlap(tmp_path: Path) -> None:
    path = tmp_path / "call.rttm"
    turns = [
        Turn(speaker="S2", channel=1, start_s=2.0, end_s=5.0, confidence=0.5),
        Turn(speaker="S1", channel=0, start_s=1.0, end_s=2.5),
    ]
    path.write_text(write_rttm(turns, "call"), encoding="utf-8")
    assert read_rttm(path) == (
        Turn(speaker="S1", channel=0, start_s=1.0, end_s=2.5, overlap_s=0.5),
        Turn(speaker="S2", channel=1, start_s=2.0, end_s=5.0, confidence=0.5, overlap_s=0.5),
    )


def test_other_line_types_comments_and_other_calls_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "calls.rttm"
    path.write_text(
        ";; made by hand\n"
        "SPKR-INFO a 1 <NA> <NA> <NA> unknown Zoë <NA> <NA>\n"
        "SPEAKER a 1 0.5 1.0 <NA> <NA> Zoë <NA> <NA>\n"
        "\n"
        "SPEAKER b 1 0.0 9.0 <NA> <NA> Bob <NA>\n",
        encoding="utf-8",
    )
    assert [(turn.speaker, turn.start_s, turn.end_s) for turn in read_rttm(path, "a")] == [("Zoë", 0.5, 1.5)]
    assert [turn.speaker for turn in read_rttm(path)] == ["Bob", "Zoë"]


@pytest.mark.parametrize(
    "line",
    [
        "SPEAKER a 1 0.5",
        "SPEAKER a 1 x 1.0 <NA> <NA> S1 <NA> <NA>",
        "SPEAKER a 0 0.5 1.0 <NA> <NA> S1 <NA> <NA>",
        "SPEAKER a 1 -0.5 1.0 <NA> <NA> S1 <NA> <NA>",
        "SPEAKER a 1 0.5 0.0 <NA> <NA> S1 <NA> <NA>",
        "SPEAKER a 1 0.5 nan <NA> <NA> S1 <NA> <NA>",
        "SPEAKER a 1 0.5 1.0 <NA> <NA> S1 1.5 <NA>",
    ],
)
def test_a_line_that_is_no_turn_is_refused_with_its_file_and_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.rttm"
    path.write_text(f";; first\n{line}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"bad\.rttm, line 2,"):
        read_rttm(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_missing_or_not_text_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "no.rttm"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"no\.rttm"):
        read_rttm(path)
