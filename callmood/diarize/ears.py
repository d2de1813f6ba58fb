"""What tells the voices of a call apart: two networks that err on other voices, side by side.

Ours was trained from nothing on the emotional speech of a hundred voices (the commercial set's: 76) over telephone lines;
CAM++ had heard some 200,000 voices before it was trained on over the same kind of lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.campplus import DIMENSIONS, CamPlus
from callmood.diarize.turns import Regions
from callmood.diarize.vad import cut
from callmood.diarize.voice import VoiceModel, lengths, levelled, unit
from callmood.features import Spread
from callmood.types import Floats

HOP_S = 0.1
"""A decision each,"""
WINDOW_S = 1.5
"""from this much speech around it (our network; see `campplus` for the other)."""
MAX_STRETCH_S = 20.0
"""Longer speech goes through the networks in parts."""
_WEIGHT = 0.6
"""Of CAM++ in the cosine of two windows (see the card)."""

_AT_ONCE_S = 300.0
"""Speech that goes through our network together."""

_ROWS_AT_ONCE = 10_000

Ints = NDArray[np.int64]
Halves = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The voices of one channel, in steps of `HOP_S` of its speech."""

    windows: Halves
    """Unit vectors, shape (steps, dimensions): a cosine of two is the weighted mean of the two networks' cosines, each
    less its mean over the call. (Shorter where a network says the same throughout.)"""
    middle: Floats
    """CAM++'s mean over the call, shape (`DIMENSIONS`,),"""
    apart: Floats
    """and what its part of each window, the last `DIMENSIONS` columns, is multiplied with to be what it was less that mean:
    shape (steps,)."""
    overlap: Floats
    """Probability that two speak at once: shape (steps,)."""

    def likeness(self, first: NDArray[np.bool_]) -> float:
        """Cosine of what CAM++ says on average of some steps, shape (steps,), and of the others."""
        sums = np.zeros((2, len(self.middle)), dtype=np.float32)
        for rows, apart, own in zip(
            blocks(self.windows), blocks(self.apart), blocks(first.astype(np.float32)), strict=True
        ):
            weighted = rows[:, -len(self.middle) :] * apart[:, np.newaxis]
            sums += np.array([own, 1.0 - own]) @ weighted
        counts = np.array([[first.sum()], [(~first).sum()]])
        one, other = unit(self.middle + sums / counts)
        return float(one @ other)


class Ears:
    """Both networks of a folder of models.

    Raises
    ------
    ModelError
        A model is missing, damaged or not the recorded one.
    """

    def __init__(self, models: str | Path | None = None, *, device: str = "auto") -> None:
        self._voices = VoiceModel(models, device=device)
        self._campplus = CamPlus(models)

    def embed(self, samples: Floats, stretches: Regions) -> Heard:
        """What is heard in stretches of one channel, one after another."""
        steps = [steps_of(stretch) for stretch in stretches]
        own = self._voices.dimensions
        windows = np.empty((sum(steps), own + DIMENSIONS), dtype=np.float16)
        _embed(samples, stretches, steps, self._voices, windows[:, :own])
        overlap = self._campplus.embed(samples, stretches, steps, windows[:, own:])
        _centre(windows[:, :own], 1.0 - _WEIGHT)
        middle, apart = _centre(windows[:, own:], _WEIGHT)
        return Heard(windows=windows, middle=middle, apart=apart, overlap=overlap)


def _centre(part: Halves, weight: float) -> tuple[Floats, Floats]:
    """Take out, in place, what all windows of the call share, which tells no voices apart, and bring what is left of each
    to the length sqrt(`weight`); returned are what was taken out and what each has to be multiplied with to be as it was."""
    middle = part.mean(axis=0, dtype=np.float32)
    scale = np.empty(len(part), dtype=np.float32)
    for rows, scales in zip(blocks(part), blocks(scale), strict=True):
        apart = rows - middle
        scales[:] = lengths(apart)[:, 0] / np.float32(np.sqrt(weight))
        rows[:] = apart / scales[:, np.newaxis]
    return middle, scale


def blocks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of some rows each, so that those of a long call need not be in 32 bits at once."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[first : first + _ROWS_AT_ONCE]


def stretches_of(regions: Regions) -> Regions:
    """The regions, those longer than `MAX_STRETCH_S` cut into equal parts."""
    parts = [
        np.linspace(start_s, end_s, int(np.ceil((end_s - start_s) / MAX_STRETCH_S)) + 1)
        for start_s, end_s in regions
    ]
    return np.concatenate([np.column_stack((edges[:-1], edges[1:])) for edges in parts])


def steps_of(stretch: NDArray[np.float64]) -> int:
    """Decisions of a stretch, from its start and end in seconds."""
    return max(1, int(np.ceil((stretch[1] - stretch[0]) / HOP_S)))


def windows_around(steps: int, n_frames: int, *, hop: float, width: int) -> Ints:
    """A window of `width` frames around the middle of each step, inside [0, n_frames): shape (steps, 2)."""
    middle = ((np.arange(steps) + 0.5) * hop).astype(np.int64)
    first = np.clip(middle - width // 2, 0, max(n_frames - width, 0))
    return np.column_stack((first, np.minimum(first + width, n_frames)))


def _embed(samples: Floats, stretches: Regions, steps: list[int], voices: VoiceModel, found: Halves) -> None:
    """Our network's embeddings into `found`, shape (sum of `steps`, dimensions).

    The MFCC are computed twice, first for what they have in common, so that those of a long call need not lie in
    memory at once.
    """
    front_end = voices.front_end
    rate = front_end.frames_per_s

    def mfcc_of(stretch: NDArray[np.float64]) -> Floats:
        return levelled(front_end.mfcc(cut(samples, stretch)))

    spread = Spread()
    for stretch in stretches:
        spread.add(mfcc_of(stretch))
    mean = spread.mean.astype(np.float32)
    filled = 0
    groups = (np.cumsum(steps) * HOP_S // _AT_ONCE_S).astype(np.int64)
    for group in np.split(np.arange(len(stretches)), np.flatnonzero(np.diff(groups)) + 1):
        frames = [mfcc_of(stretches[number]) - mean for number in group]
        spans = [
            windows_around(steps[number], len(mfcc), hop=HOP_S * rate, width=int(WINDOW_S * rate))
            for number, mfcc in zip(group, frames, strict=True)
        ]
        for rows in voices.embed(frames, spans):
            found[filled : filled + len(rows)] = rows
            filled += len(rows)
