"""Syllable nuclei: peaks of intensity between dips, where the voice sounds (de Jong and Wempe 2009)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callmood.signals.power import FLOOR, FRAME_S
from callmood.types import Floats

SILENCE_DB = 25.0
"""A peak this far below the loudest of the turn is no vowel;"""
DIP_DB = 2.0
"""the least dip in level between two syllables;"""
VOICED = 0.25
"""and the least periodicity of a vowel. All three are the values of the paper's script."""
_WINDOW_S = 0.064
"""Over which intensity is taken, as Praat does for a lowest pitch of 50 Hz."""
_BLOCK_PEAKS = 1000
"""Looked at together: a turn may last for hours."""
_VOICE_HZ = (75.0, 500.0)
_VOICE_S = 0.04
"""Sound around a peak that is looked at for periodicity: three periods of the lowest voice."""


def count_syllables(samples: Floats, power: Floats, *, rate_hz: int) -> int:
    """Number of syllable nuclei in one turn.

    Parameters
    ----------
    samples
        Shape (n,), the turn on its channel.
    power
        Shape (n // (rate_hz // 100),), see `callmood.signals.power.powers`.
    """
    from scipy.signal import find_peaks

    if not len(power):
        return 0
    weights = np.hanning(round(_WINDOW_S / FRAME_S) + 3)[1:-1]
    smooth = np.convolve(power, weights / weights.sum(), mode="same")
    level = 10.0 * np.log10(np.maximum(smooth, FLOOR))
    loudest = float(np.percentile(level, 99))
    # A turn may begin or end within a vowel: beyond it counts as silence.
    padded = np.concatenate(([level.min() - DIP_DB - 1], level, [level.min() - DIP_DB - 1]))
    peaks, _ = find_peaks(padded, height=max(loudest - SILENCE_DB, -79.0), prominence=DIP_DB)
    return sum(
        int(np.count_nonzero(_voiced(samples, peaks[first : first + _BLOCK_PEAKS] - 1, rate_hz=rate_hz)))
        for first in range(0, len(peaks), _BLOCK_PEAKS)
    )


def _voiced(samples: Floats, peaks: NDArray[np.intp], *, rate_hz: int) -> NDArray[np.bool_]:
    """Whether the sound around each frame is periodic: its autocorrelation over that of its window has a peak at a
    voice's period (Boersma 1993)."""
    width = round(_VOICE_S * rate_hz)
    if len(samples) < width:
        return np.zeros(len(peaks), dtype=bool)
    starts = np.clip(((peaks + 0.5) * FRAME_S * rate_hz).astype(int) - width // 2, 0, len(samples) - width)
    window = np.hanning(width)
    pieces = samples[starts[:, None] + np.arange(width)]
    pieces = (pieces - pieces.mean(axis=1, keepdims=True)) * window
    own = _autocorrelation(pieces)
    lags = slice(int(rate_hz / _VOICE_HZ[1]), int(rate_hz / _VOICE_HZ[0]) + 1)
    relative = (
        own[:, lags]
        / np.maximum(own[:, :1], 1e-12)
        / (_autocorrelation(window[None]) / (window**2).sum())[:, lags]
    )
    found: NDArray[np.bool_] = relative.max(axis=1) >= VOICED
    return found


def _autocorrelation(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    size = 2 * rows.shape[1]
    found: NDArray[np.float64] = np.fft.irfft(np.abs(np.fft.rfft(rows, size)) ** 2, size)
    return found[:, : rows.shape[1]]
