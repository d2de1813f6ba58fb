"""What every diarizer has in common: the interface, the factory, and the rules that make turns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from callmood.errors import EngineUnavailableError, UsageError
from callmood.types import Audio, Floats, Turn

ENGINES: tuple[str, ...] = ("auto", "channels", "builtin", "pyannote")

MAX_PAUSE_S = 0.3
"""Speech of one speaker that pauses for no longer than this is one turn."""
MIN_TURN_S = 0.2
"""Anything shorter is a click or a breath, not a turn."""

Regions = NDArray[np.float64]
"""Shape (n, 2): start and end in seconds, ordered and disjoint."""


class Diarizer(Protocol):
    """Audio in, turns out."""

    @property
    def name(self) -> str:
        """Engine and version, stored with every call, such as `builtin 1`."""

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        """Turns ordered by start; none where nobody speaks."""


def make_diarizer(
    engine: str,
    *,
    speakers: int | None,
    pyannote_pipeline: str | None = None,
    device: str = "cpu",
    models: str | Path | None = None,
) -> Diarizer:
    """The engine of that name (one of `ENGINES`), which can be called for any number of recordings.

    `speakers` is the number of people in a mono call, None to find it; `channels` has one per channel.
    Raises UsageError for an unknown engine or a number below one, EngineUnavailableError where the
    engine cannot run here.
    """
    from callmood.diarize.builtin import BuiltinDiarizer
    from callmood.diarize.channels import ChannelsDiarizer

    if speakers is not None and speakers < 1:
        raise UsageError(f"--speakers {speakers} is not possible; give 1 or more, or `auto`.")
    match engine:
        case "auto":
            return AutoDiarizer(
                mono=BuiltinDiarizer(speakers=speakers, models=models), stereo=ChannelsDiarizer()
            )
        case "channels":
            return ChannelsDiarizer()
        case "builtin":
            return BuiltinDiarizer(speakers=speakers, models=models)
        case "pyannote":
            from callmood.diarize.pyannote import PyannoteDiarizer

            return PyannoteDiarizer(pipeline=pyannote_pipeline, speakers=speakers, device=device)
    raise UsageError(f"--diarizer {engine} is not known; choose one of {', '.join(ENGINES)}.")


class AutoDiarizer:
    """`stereo` for a call of two channels, `mono` for a call of one."""

    name = "auto"

    def __init__(self, *, mono: Diarizer, stereo: Diarizer) -> None:
        self._mono = mono
        self._stereo = stereo

    def select(self, audio: Audio) -> Diarizer:
        """The engine that this call is given to; its name is the one to store."""
        return self._stereo if audio.channels == 2 else self._mono

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        return self.select(audio)(audio)


def engine_for(diarizer: Diarizer, audio: Audio) -> Diarizer:
    """`diarizer` itself, or the engine that `auto` picks for this call."""
    return diarizer.select(audio) if isinstance(diarizer, AutoDiarizer) else diarizer


def require_telephone_rate(audio: Audio, rate_hz: int) -> None:
    """Raises EngineUnavailableError where the audio is not at the rate that an engine was made for."""
    if audio.rate_hz != rate_hz:
        raise EngineUnavailableError(
            f"Audio at {audio.rate_hz} Hz cannot be diarized by this engine; decode it at {rate_hz} Hz."
        )


def fold(samples: Floats) -> Floats:
    """Mean of the channels: shape (channels, n) to (n,). A single channel is not copied."""
    folded: Floats = samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    return folded


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
