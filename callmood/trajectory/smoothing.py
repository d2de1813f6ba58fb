"""Smoothing over a speaker's own speech."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.types import Floats

TIME_CONSTANT_S = 5.0
"""Seconds of the speaker's own speech after which a window's weight has fallen to 1/e."""
TURNS_CORRELATION = 0.5
"""Between the errors that the network makes in two turns of one speaker; in one turn they are taken to be the same. With
it, chosen on scripted calls of development speakers, bands of 1.96 standard errors hold the truth of other speakers as often
as docs/metrics.md says."""


def smooth(
    values: Floats,
    steps_s: NDArray[np.float64],
    *,
    time_constant_s: float = TIME_CONSTANT_S,
    causal: bool = False,
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
    causal
        Begin at the first window instead: the weighted mean of all so far, which needs to know nothing of what is to
        come.

    Examples
    --------
    >>> smooth(np.array([0.5, 0.5], dtype=np.float32), np.array([0.5, 2.0]))
    array([0.5, 0.5], dtype=float32)
    """
    smoothed = np.zeros(len(values), dtype=np.float32)
    if len(values):
        weight = 0.0 if causal else 1.0
        level = 0.0 if causal else weighted_median(values, steps_s)
        for index, keep in enumerate(np.exp(-steps_s / time_constant_s)):
            level = keep * level + (1.0 - keep) * float(values[index])
            weight = keep * weight + (1.0 - keep)
            smoothed[index] = level / weight
    return smoothed


def smoothed_errors(
    deviations: Floats,
    steps_s: NDArray[np.float64],
    window_turn: NDArray[np.int32],
    *,
    time_constant_s: float = TIME_CONSTANT_S,
    causal: bool = False,
) -> Floats:
    """Standard errors of what `smooth` gives, from the standard deviation of each window's value.

    The same weights w are taken of the deviations s: with S the sum of w s over one turn, R the `TURNS_CORRELATION`, the
    variance is (1 - R) times the sum of S squared over the turns plus R times the square of the sum of S. The median that
    the smoothing begins at counts as the mean of all windows, and as independent of them in the first of the two terms.

    Parameters
    ----------
    deviations
        Shape (n,), one speaker's windows in order of time.
    steps_s, time_constant_s, causal
        As for `smooth`.
    window_turn
        Shape (n,), each window's turn; windows of a turn follow one another.

    Examples
    --------
    >>> one_turn = np.zeros(2, dtype=np.int32)
    >>> smoothed_errors(np.array([0.2, 0.2], dtype=np.float32), np.array([0.5, 2.0]), one_turn, causal=True)
    array([0.2, 0.2], dtype=float32)
    """
    errors = np.zeros(len(deviations), dtype=np.float32)
    weight = variance = together = in_turn = 0.0
    if len(deviations) and not causal:
        weight = 1.0
        shares = deviations * steps_s / steps_s.sum()
        variance = float(np.sum(np.bincount(window_turn, shares) ** 2))
        together = float(shares.sum())
    before: int | None = None
    for index, keep in enumerate(np.exp(-steps_s / time_constant_s).tolist()):
        if window_turn[index] != before:
            variance, in_turn, before = variance + in_turn**2, 0.0, int(window_turn[index])
        added = (1.0 - keep) * float(deviations[index])
        variance *= keep**2
        in_turn, together = keep * in_turn + added, keep * together + added
        weight = keep * weight + (1.0 - keep)
        squared = (1 - TURNS_CORRELATION) * (variance + in_turn**2) + TURNS_CORRELATION * together**2
        errors[index] = squared**0.5 / weight
    return errors


def weighted_median(values: NDArray[Any], weights: NDArray[np.float64]) -> float:
    """The smallest value with at least half of the weight at or below it."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
