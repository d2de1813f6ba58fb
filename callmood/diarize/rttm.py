"""Turns to and from RTTM (NIST's Rich Transcription Time Marked), one `SPEAKER` line per turn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from callmood.diarize.turns import mark_overlap
from callmood.errors import UsageError
from callmood.text import printable
from callmood.types import Turn


def write_rttm(turns: Iterable[Turn], uri: str) -> str:
    """RTTM text of the turns of the call `uri`; times to the millisecond, channels counted from 1.

    A space in `uri` or in a speaker's name becomes `_`, as spaces separate RTTM's fields; control characters are
    escaped.
    """
    lines = [
        " ".join(
            (
                "SPEAKER",
                _field(uri),
                str(turn.channel + 1),
                f"{turn.start_s:.3f}",
                f"{turn.duration_s:.3f}",
                "<NA>",
                "<NA>",
                _field(turn.speaker),
                "<NA>" if turn.confidence is None else f"{turn.confidence:.3f}",
                "<NA>",
            )
        )
        for turn in turns
    ]
    return "".join(f"{line}\n" for line in lines)


def read_rttm(path: Path, uri: str | None = None) -> tuple[Turn, ...]:
    """The turns of an RTTM file, ordered by start, with the speakers' names as the file spells them.

    Lines of another type than `SPEAKER`, and with `uri` those of other calls, are passed over.
    Raises UsageError where the file cannot be read or a `SPEAKER` line makes no turn.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as RTTM; give a readable UTF-8 text file.") from error
    turns = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER" or (uri is not None and fields[1:2] != [uri]):
            continue
        try:
            turns.append(_turn(fields))
        except (ValueError, IndexError) as error:
            raise UsageError(
                f"{path}, line {number}, is not a turn; write `SPEAKER uri channel start_s duration_s "
                "<NA> <NA> speaker <NA> <NA>`."
            ) from error
    return mark_overlap(turns)


def _turn(fields: list[str]) -> Turn:
    """The turn of one split line; ValueError or IndexError where it is none."""
    channel, start_s, duration_s = int(fields[2]) - 1, float(fields[3]), float(fields[4])
    if channel < 0 or not (math.isfinite(start_s) and start_s >= 0):
        raise ValueError
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise ValueError
    confidence = None if len(fields) < 9 or fields[8] == "<NA>" else float(fields[8])
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError
    return Turn(
        speaker=fields[7],
        channel=channel,
        start_s=start_s,
        end_s=start_s + duration_s,
        confidence=confidence,
    )


def _field(text: str) -> str:
    return printable("_".join(text.split())) or "<NA>"
