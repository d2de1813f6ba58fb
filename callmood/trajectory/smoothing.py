"""Smoothing over a speaker's own speech."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.types import Floats

TIME_CONSTANT_S = 5.0
"""Seconds of the speaker's own speech after which a window's weight has fallen to 1/e."""


def smooth(
    values: Floats, steps_s: NDArray[np.float64], *, time_constant_s: float = TIME_CONSTANT_S
) -> Floats:
    """Exponential smoothing that begins at the median of all values.

    Pauses and other parties' turns do not count as time: what was last said is as recent as the words before
    the pause. y[i] = w y[i-1] + (1 - w) x[i] with w = exp(-steps_s[i] / time_constant_s), and y[-1] is the
    median of x weighted by steps_s, so that the first window of a call weighs no more than any other.

    Parameters
    ----------
    values
        Shape (n,), one speaker's windows in order of time.
    steps_s
        Shape (n,), seconds of speech that each window stands for.

    Examples
    --------
    >>> smooth(np.array([0.5, 0.5], dtype=np.float32), np.array([0.5, 2.0]))
    array([0.5, 0.5], dtype=float32)
    """
    smoothed = np.zeros(len(values), dtype=np.float32)
    if len(values):
        level = weighted_median(values, steps_s)
        for index, keep in enumerate(np.exp(-steps_s / time_constant_s)):
            level = keep * level + (1.0 - keep) * float(values[index])
            smoothed[index] = level
    return smoothed


def weighted_median(values: NDArray[Any], weights: NDArray[np.float64]) -> float:
    """The smallest value with at least half of the weight at or below it."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
