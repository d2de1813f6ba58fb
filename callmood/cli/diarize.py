"""Turns of files, as a table and as RTTM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import callmood
from callmood.diarize.rttm import write_rttm
from callmood.errors import RecordingError
from callmood.report import Table

if TYPE_CHECKING:
    from callmood.types import Turn

_COLUMNS = ("path", "speaker", "channel", "start_s", "end_s", "overlap_s", "confidence")


def turns_of_each(paths: Sequence[str], settings: Mapping[str, Any], errors: list[RecordingError]) -> Table:
    """One row per turn; `errors` gets those of the files that cannot be read, once the rows have been read."""
    rows = (
        (path, turn.speaker, turn.channel, turn.start_s, turn.end_s, turn.overlap_s, turn.confidence)
        for path, turns in _each(paths, settings, errors)
        for turn in turns
    )
    return Table(columns=_COLUMNS, rows=rows)


def rttm_of_each(
    paths: Sequence[str], settings: Mapping[str, Any], errors: list[RecordingError]
) -> Iterator[str]:
    """RTTM text of each file, under its name without the extension; `errors` as in `turns_of_each`."""
    return (write_rttm(turns, Path(path).stem) for path, turns in _each(paths, settings, errors))


def _each(
    paths: Sequence[str], settings: Mapping[str, Any], errors: list[RecordingError]
) -> Iterator[tuple[str, tuple[Turn, ...]]]:
    for path in paths:
        try:
            turns = callmood.find_turns(path, **settings)
        except RecordingError as error:
            errors.append(error)
        else:
            yield path, turns
