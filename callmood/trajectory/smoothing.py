"""Smoothing over a speaker's own speech."""

from __future__ import annotations

import numpy as np

from callmood.types import Floats

TIME_CONSTANT_S = 5.0
"""Seconds of the speaker's own speech after which a window's weight has fallen to 1/e."""


def smooth(values: Floats, *, step_s: float, time_constant_s: float = TIME_CONSTANT_S) -> Floats:
    """Exponentially weighted mean of each value and those before it.

    Pauses and other parties' turns do not count as time: what was last said is as recent as the words before
    the pause. y[i] = sum_j w^(i-j) x[j] / sum_j w^(i-j) over j <= i with w = exp(-step_s / time_constant_s),
    so that the first values are not pulled towards zero.

    Parameters
    ----------
    values
        Shape (n,), one speaker's windows in order of time.
    step_s
        Seconds from one window to the next.

    Examples
    --------
    >>> smooth(np.array([0.5, 0.5, 0.5], dtype=np.float32), step_s=0.5)
    array([0.5, 0.5, 0.5], dtype=float32)
    """
    from scipy.signal import lfilter

    keep = np.exp(-step_s / time_constant_s)
    weighted = lfilter([1.0], [1.0, -keep], values.astype(np.float64))
    weight = lfilter([1.0], [1.0, -keep], np.ones(len(values)))
    return np.asarray(weighted / weight, dtype=np.float32)
