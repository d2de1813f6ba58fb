"""Mel-frequency cepstral coefficients of a channel, whole or of those frames that are asked for.

The definition is librosa's (`librosa.feature.mfcc`: Slaney mel scale and normalisation, orthonormal
DCT-II of the mel power in dB), without its clip to 80 dB below the loudest frame: that clip would make the
features of a turn depend on how loud the rest of the channel is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from callmood.types import Floats

_BLOCK_FRAMES = 1200
"""Frames computed at a time (15 s), so that what is made of them on the way stays in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """Parameters of the MFCC front end; they travel with the weights of every model trained on it."""

    rate_hz: int = 8000
    n_fft: int = 256
    hop_length: int = 100
    n_mels: int = 40
    n_mfcc: int = 40
    fmin_hz: float = 50.0
    fmax_hz: float = 4000.0
    floor_power: float = 1e-8
    """Mel power below which a band counts as silent (librosa's `amin`); -80 dB."""

    @property
    def frames_per_s(self) -> float:
        return self.rate_hz / self.hop_length

    def frame_span(self, start_s: float, end_s: float) -> tuple[int, int]:
        """First and one-past-last frame whose centres lie in [start_s, end_s)."""
        first = int(np.ceil(round(start_s * self.frames_per_s, 6)))
        return first, max(first, int(np.ceil(round(end_s * self.frames_per_s, 6))))

    def mfcc(self, samples: Floats) -> Floats:
        """MFCC of one channel.

        Parameters
        ----------
        samples
            Shape (n,), float32 at `rate_hz`.

        Returns
        -------
        Shape (1 + n // hop_length, n_mfcc), float32. Frame i is centred on sample i * hop_length; beyond the
        ends the signal counts as zero.

        Examples
        --------
        >>> FrontEnd().mfcc(np.zeros(8000, dtype=np.float32)).shape
        (81, 40)
        """
        return self.frames(samples, 0, self.frame_count(len(samples)))

    def frame_count(self, n_samples: int) -> int:
        """Frames of a channel of that many samples."""
        return 1 + n_samples // self.hop_length

    def frames(self, samples: Floats, first: int, last: int) -> Floats:
        """Frames `first` to `last` (one past the last) of `mfcc(samples)`; of the samples only those are read that
        these frames are made of."""
        blocks = [
            self._block(samples, start, min(start + _BLOCK_FRAMES, last))
            for start in range(first, last, _BLOCK_FRAMES)
        ]
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate([np.zeros((0, self.n_mfcc), np.float32), *blocks], dtype=np.float32)

    def _block(self, samples: Floats, first: int, last: int) -> Floats:
        from scipy.fft import rfft

        half = self.n_fft // 2
        start, stop = first * self.hop_length - half, (last - 1) * self.hop_length + half
        block = np.zeros(stop - start, dtype=np.float32)
        known = samples[max(start, 0) : min(stop, len(samples))]
        block[max(-start, 0) : max(-start, 0) + len(known)] = known
        window, mel, cosines = _tables(self)
        # Overlapping frames without a copy: numpy's own functions for it take as long as all the rest of a short turn.
        step = block.itemsize
        frames = np.ndarray(
            (last - first, self.n_fft), np.float32, buffer=block, strides=(step * self.hop_length, step)
        )
        # Real and imaginary parts lie side by side.
        parts = rfft(frames * window).view(np.float32)
        parts *= parts
        level = (parts[:, ::2] + parts[:, 1::2]) @ mel
        np.log(np.maximum(level, self.floor_power, out=level), out=level)
        return np.asarray(level @ cosines, dtype=np.float32)


@lru_cache(maxsize=4)
def _tables(front_end: FrontEnd) -> tuple[Floats, Floats, Floats]:
    """The window, shape (n_fft,); the filters, (n_fft / 2 + 1, n_mels); from natural logarithms of mel power to MFCC,
    (n_mels, n_mfcc)."""
    import librosa
    from scipy.fft import dct

    window = librosa.filters.get_window("hann", front_end.n_fft)
    mel = librosa.filters.mel(
        sr=front_end.rate_hz,
        n_fft=front_end.n_fft,
        n_mels=front_end.n_mels,
        fmin=front_end.fmin_hz,
        fmax=front_end.fmax_hz,
    )
    cosines = 10 / np.log(10) * dct(np.eye(front_end.n_mels), norm="ortho")[:, : front_end.n_mfcc]
    return (
        np.asarray(window, dtype=np.float32),
        np.ascontiguousarray(mel.T, dtype=np.float32),
        np.ascontiguousarray(cosines, dtype=np.float32),
    )


@dataclass(frozen=True)
class ChannelFrames:
    """The MFCC of one channel, computed when a slice of them is taken: those of a long call never lie in memory at
    once."""

    front_end: FrontEnd
    samples: Floats
    """Shape (n,), in memory or mapped from a file."""

    def __len__(self) -> int:
        return self.front_end.frame_count(len(self.samples))

    def __getitem__(self, span: slice) -> Floats:
        first, last, _ = span.indices(len(self))
        return self.front_end.frames(self.samples, first, last)


class Spread:
    """Mean and standard deviation of frames that come in parts (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: NDArray[np.float64] = np.zeros(0)
        self._squares: NDArray[np.float64] = np.zeros(0)

    def add(self, frames: Floats) -> None:
        """Take more frames, shape (n, n_mfcc)."""
        if not len(frames):
            return
        mean = frames.mean(axis=0, dtype=np.float64)
        squares = frames.var(axis=0, dtype=np.float64) * len(frames)
        if self._count:
            apart = mean - self._mean
            total = self._count + len(frames)
            squares += self._squares + apart**2 * (self._count * len(frames) / total)
            mean = self._mean + apart * (len(frames) / total)
        self._count += len(frames)
        self._mean, self._squares = mean, squares

    @property
    def mean(self) -> NDArray[np.float64]:
        """Shape (n_mfcc,)."""
        return self._mean

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Shape (n_mfcc,)."""
        return np.asarray(np.sqrt(self._squares / self._count))


def network_input(mfcc: Floats, mean: NDArray[np.floating], std: NDArray[np.floating]) -> Floats:
    """What the emotion network hears: MFCC relative to the speaker, and as they are but for their level.

    Parameters
    ----------
    mfcc
        Shape (frames, n_mfcc).
    mean, std
        Shape (n_mfcc,): of each coefficient over a reference, usually all speech of the same speaker in the same
        call.

    Returns
    -------
    Shape (frames, 2 * n_mfcc), float32: first the coefficients with the reference's mean and variance removed, which
    tells how this moment differs from the others; then the coefficients themselves, less the mean of C0, which tell of
    the voice's effort and tone.
    """
    relative = (mfcc - mean) / np.maximum(std, 1e-3)
    absolute = np.array(mfcc, dtype=np.float32)
    absolute[:, 0] -= mean[0]
    return np.concatenate([relative, absolute], axis=1, dtype=np.float32)


def normalize(mfcc: Floats, reference: Floats) -> Floats:
    """`network_input` of `mfcc`, shape (frames, n_mfcc), against the frames of `reference`, shape (any, n_mfcc)."""
    mean = reference.mean(axis=0, dtype=np.float64)
    std = reference.std(axis=0, dtype=np.float64)
    return network_input(mfcc, mean, std)
