"""What a speaker sounds like, from the speech heard so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callmood.features import network_input
from callmood.types import Floats

PRIOR_S = 1.0
"""Seconds of typical speech that a speaker's own is mixed with."""


@dataclass(frozen=True, kw_only=True)
class TypicalSpeech:
    """MFCC of the speech that a network was trained on, less the mean of C0: both of shape (n_mfcc,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


class RunningNorm:
    """Mean and deviation of a speaker's MFCC so far.

    They begin at typical speech, which counts as much as `PRIOR_S` of the speaker's own. Level says nothing of how loud
    this speaker usually is on this line, so C0 has no typical mean: it is the speaker's own from the first frame on.
    """

    def __init__(self, typical: TypicalSpeech, *, frames_per_s: float, prior_s: float = PRIOR_S) -> None:
        self._typical = typical
        self._weight = prior_s * frames_per_s
        self._count = 0
        self._sum = np.zeros_like(typical.mean)
        self._squares = np.zeros_like(typical.mean)

    def add(self, mfcc: Floats) -> None:
        """Take more of the speaker's frames, shape (n, n_mfcc)."""
        frames = np.asarray(mfcc, dtype=np.float64)
        self._count += len(frames)
        self._sum += frames.sum(axis=0)
        self._squares += (frames * frames).sum(axis=0)

    def network_input(self, mfcc: Floats) -> Floats:
        """`mfcc`, shape (frames, n_mfcc), as the network hears it; there must have been frames before."""
        mean, std = self._statistics()
        return network_input(mfcc, mean, std)

    def _statistics(self) -> tuple[Floats, Floats]:
        own = self._sum / self._count
        typical = self._typical.mean.copy()
        typical[0] = own[0]
        total = self._count + self._weight
        mean = (self._sum + self._weight * typical) / total
        around = self._squares - 2.0 * mean * self._sum + self._count * mean * mean
        around += self._weight * (self._typical.std**2 + (typical - mean) ** 2)
        std = np.sqrt(np.maximum(around, 0.0) / total)
        return mean.astype(np.float32), std.astype(np.float32)
