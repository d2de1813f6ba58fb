"""Turns of files, as a table and as RTTM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import callmood
from callmood.diarize.rttm import write_rttm
from callmood.errors import RecordingError, UsageError
from callmood.report import Table
from callmood.text import printable, truncated

if TYPE_CHECKING:
    from callmood.types import Turn

_COLUMNS = ("path", "speaker", "channel", "start_s", "end_s", "overlap_s", "confidence")


@dataclass
class Sentences:
    """What is to be said of the files once their turns have been printed."""

    failures: list[str] = field(default_factory=list)
    """Of files that cannot be read."""
    remarks: list[str] = field(default_factory=list)
    """Of files without speech, and of those of which a part is lost."""


def turns_of_each(paths: Sequence[str], settings: Mapping[str, Any], sentences: Sentences) -> Table:
    """One row per turn; `sentences` is complete once the rows have been read."""
    rows = (
        (path, turn.speaker, turn.channel, turn.start_s, turn.end_s, turn.overlap_s, turn.confidence)
        for path, turns in _each(paths, settings, sentences)
        for turn in turns
    )
    return Table(columns=_COLUMNS, rows=rows)


def rttm_of_each(paths: Sequence[str], settings: Mapping[str, Any], sentences: Sentences) -> Iterator[str]:
    """RTTM text of each file, under its name without the extension; `sentences` as in `turns_of_each`.

    Raises `UsageError` where two files would have one name.
    """
    names = [Path(path).stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"several files are called {printable(name)}, which RTTM could not tell apart.")
    return (write_rttm(turns, Path(path).stem) for path, turns in _each(paths, settings, sentences))


def _each(
    paths: Sequence[str], settings: Mapping[str, Any], sentences: Sentences
) -> Iterator[tuple[str, tuple[Turn, ...]]]:
    for path in paths:
        name = printable(path)
        try:
            found = callmood.find_turns(path, **settings)
        except RecordingError as error:
            sentences.failures.append(str(error))
            continue
        if not found.turns:
            sentences.remarks.append(f"{name}: no speech.")
        if found.lost_s > 0:
            sentences.remarks.append(truncated(name, found.lost_s))
        yield path, found.turns
