"""The peer of our MFCC: librosa with a front end's parameters."""

from __future__ import annotations

from callmood.features import FrontEnd
from callmood.types import Floats


def librosa_mfcc(samples: Floats, *, front_end: FrontEnd) -> Floats:
    """MFCC of a front end by librosa, shape (n_mfcc, frames)."""
    import librosa

    found: Floats = librosa.feature.mfcc(
        y=samples,
        sr=front_end.rate_hz,
        n_mfcc=front_end.n_mfcc,
        n_fft=front_end.n_fft,
        hop_length=front_end.hop_length,
        n_mels=front_end.n_mels,
        fmin=front_end.fmin_hz,
        fmax=front_end.fmax_hz,
    )
    return found
