"""Power over time, from which levels, syllables and silence are told."""

from __future__ import annotations

import numpy as np

from callmood.types import Floats

FRAME_S = 0.01
FLOOR = 1e-8
"""Mean square (-80 dBFS) below which level is line noise."""
_BLOCK_FRAMES = 6000
"""Frames read at a time (one minute): the samples may be a map of a file that is larger than the memory."""


def powers(samples: Floats, *, rate_hz: int) -> Floats:
    """Mean square of each 10 ms of one channel: shape (n,) to (n // (rate_hz // 100),)."""
    length = round(FRAME_S * rate_hz)
    count = len(samples) // length
    found = np.empty(count, dtype=np.float32)
    for first in range(0, count, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, count)
        frames = samples[first * length : last * length].reshape(-1, length)
        found[first:last] = np.einsum("ij,ij->i", frames, frames) / length
    return found


def dbfs(power: float) -> float:
    """A mean square in dB below full scale, at least -80.

    >>> dbfs(0.01)
    -20.0
    """
    return float(10.0 * np.log10(max(power, FLOOR)))


def span(start_s: float, end_s: float, *, frames: int) -> slice:
    """The frames of `powers` between two times: at least one, where there are any."""
    first = min(round(start_s / FRAME_S), max(frames - 1, 0))
    return slice(first, max(first + 1, min(round(end_s / FRAME_S), frames)))
