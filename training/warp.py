"""Vocal tract length perturbation (Jaitly & Hinton 2013) as a matrix on MFCC.

Where there are as many coefficients as mel bands, the DCT is orthogonal: log-mel levels come back from MFCC, are
interpolated at stretched frequencies, and become MFCC again, all in one product.
"""

from __future__ import annotations

import numpy as np

from callmood.features import FrontEnd
from callmood.types import Floats

_STEPS = 17


def warp_matrices(front_end: FrontEnd, *, reach: float) -> Floats:
    """Matrices for frequency factors of 1 - reach to 1 + reach, shape (n, n_mfcc, n_mfcc); apply as frames @ M."""
    import librosa
    from scipy.fft import dct

    if front_end.n_mfcc != front_end.n_mels:
        raise ValueError("frequency can only be warped where n_mfcc is n_mels")
    n_mels = front_end.n_mels
    edges_hz = librosa.mel_frequencies(n_mels + 2, fmin=front_end.fmin_hz, fmax=front_end.fmax_hz)
    centres_hz = edges_hz[1:-1]
    to_mfcc = dct(np.eye(n_mels), axis=0, norm="ortho")
    matrices = []
    for factor in np.linspace(1 - reach, 1 + reach, _STEPS):
        at = np.interp(centres_hz / factor, centres_hz, np.arange(n_mels))
        low = np.minimum(at.astype(int), n_mels - 2)
        interpolate = np.zeros((n_mels, n_mels))
        interpolate[np.arange(n_mels), low] = 1 - (at - low)
        interpolate[np.arange(n_mels), low + 1] += at - low
        matrices.append((to_mfcc @ interpolate @ to_mfcc.T).T)
    return np.array(matrices, dtype=np.float32)
