"""Turns that the user brings along, as RTTM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from callmood.diarize.rttm import read_rttm
from callmood.diarize.turns import mark_overlap, mixed
from callmood.errors import RecordingError, UsageError
from callmood.text import printable
from callmood.types import Audio, Turn


def told_turns(folder: Path, recordings: Sequence[Path], audio: Audio) -> tuple[tuple[Turn, ...], Audio]:
    """The turns of a call from the RTTM file in `folder` that bears the name of one of its `recordings`, and the audio
    whose rows are their channels.

    Turns end where the audio ends. Where all are of channel 1 the channels are mixed, as programs that know no channels
    write it.

    Raises
    ------
    RecordingError
        There is no such file, it cannot be read, or it names a channel that the call does not have.
    """
    paths = [folder / f"{recording.stem}.rttm" for recording in recordings]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        names = " or ".join(printable(path) for path in paths)
        raise RecordingError(f"no turns at {names}; put them there, or leave --rttm out.")
    try:
        turns = read_rttm(found)
    except UsageError as error:
        raise RecordingError(str(error)) from error
    highest = max((turn.channel for turn in turns), default=0)
    if highest >= audio.channels:
        raise RecordingError(
            f"{printable(found)}: names channel {highest + 1}, of {audio.channels}; mend the file."
        )
    inside = [
        replace(turn, end_s=min(turn.end_s, audio.duration_s))
        for turn in turns
        if turn.start_s < audio.duration_s
    ]
    return mark_overlap(inside), audio if highest else mixed(audio)
