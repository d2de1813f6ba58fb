"""Rules that make turns, whichever engine finds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from callmood.decode.canonical import Rows
from callmood.errors import EngineUnavailableError
from callmood.types import Audio, Turn

MAX_PAUSE_S = 0.3
"""Speech of one speaker that pauses for no longer than this is one turn."""
MIN_TURN_S = 0.2
"""Anything shorter is a click or a breath, not a turn."""

Regions = NDArray[np.float64]
"""Shape (n, 2): start and end in seconds, ordered and disjoint."""


def require_telephone_rate(audio: Audio, rate_hz: int) -> None:
    """Raises EngineUnavailableError where the audio is not at the rate that an engine was made for."""
    if audio.rate_hz != rate_hz:
        raise EngineUnavailableError(
            f"Audio at {audio.rate_hz} Hz cannot be diarized by this engine; decode it at {rate_hz} Hz."
        )


def mixed(audio: Audio) -> Audio:
    """The audio as one channel, the mean of its channels; audio of one channel is not copied."""
    if audio.channels == 1:
        return audio
    rows = Rows(1, rate_hz=audio.rate_hz)
    step = 60 * audio.rate_hz
    for start in range(0, audio.samples.shape[1], step):
        rows.append(audio.samples[:, start : start + step].mean(axis=0, dtype=np.float32, keepdims=True))
    return replace(audio, samples=rows.finish())


def join_regions(regions: Regions, *, max_pause_s: float, min_s: float) -> Regions:
    """Regions joined across pauses of at most `max_pause_s`; those still shorter than `min_s` dropped."""
    if not len(regions):
        return regions
    # A microsecond of slack: 0.7 - 0.2 is not 0.5 in floating point.
    breaks = regions[1:, 0] - regions[:-1, 1] > max_pause_s + 1e-6
    starts = regions[np.append(True, breaks), 0]
    ends = regions[np.append(breaks, True), 1]
    joined = np.column_stack((starts, ends))
    kept: Regions = joined[joined[:, 1] - joined[:, 0] >= min_s - 1e-6]
    return kept


def of_one_speaker(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """The same speech as turns of S1 alone, for a recording that is known to hold one party."""
    spans = np.array(sorted((turn.start_s, turn.end_s) for turn in turns)).reshape(-1, 2)
    spans[:, 1] = np.maximum.accumulate(spans[:, 1])
    return tuple(
        Turn(speaker="S1", channel=0, start_s=float(start_s), end_s=float(end_s))
        for start_s, end_s in join_regions(spans, max_pause_s=MAX_PAUSE_S, min_s=0.0)
    )


class Timed(Protocol):
    """A turn, or a part of one."""

    @property
    def duration_s(self) -> float: ...

    @property
    def confidence(self) -> float | None: ...


def mean_confidence(turns: Iterable[Timed]) -> float | None:
    """Confidence in the turns of a call, or in the parts of a turn, each by its length; None where none is stated."""
    known = [(turn.confidence, turn.duration_s) for turn in turns if turn.confidence is not None]
    if not known:
        return None
    confidence, length_s = np.array(known).T
    return float(np.average(confidence, weights=length_s))


def mark_overlap(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """The turns ordered by start, each with the seconds during which another speaker speaks as well."""
    ordered = sorted(turns, key=lambda turn: (turn.start_s, turn.end_s, turn.speaker))
    speakers = sorted({turn.speaker for turn in ordered})
    others = {speaker: _union([turn for turn in ordered if turn.speaker != speaker]) for speaker in speakers}
    return tuple(replace(turn, overlap_s=_covered_s(turn, others[turn.speaker])) for turn in ordered)


def _union(ordered: list[Turn]) -> Regions:
    """The time that the turns cover together."""
    merged: list[list[float]] = []
    for turn in ordered:
        if merged and turn.start_s <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], turn.end_s)
        else:
            merged.append([turn.start_s, turn.end_s])
    return np.array(merged, dtype=np.float64).reshape(-1, 2)


def _covered_s(turn: Turn, regions: Regions) -> float:
    shared = np.minimum(regions[:, 1], turn.end_s) - np.maximum(regions[:, 0], turn.start_s)
    return float(np.clip(shared, 0.0, None).sum())
