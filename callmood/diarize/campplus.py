"""CAM++ (Wang et al. 2023, arXiv:2303.00332) for the telephone: a network that tells the voices of a call apart.

3D-Speaker's network, which has heard some 200,000 speakers, trained on by `training.campplus` over telephone lines and
across emotions. Here it goes once over each stretch of speech: what it takes from its surroundings are means over 1.5 s
around a frame, and not over a recording as in the paper, so that who speaks two seconds away matters little.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.onnx_session import onnx_session
from callmood.diarize.turns import Regions
from callmood.diarize.vad import RATE_HZ, cut
from callmood.errors import ModelError
from callmood.features import Spread
from callmood.model_files import CAMPPLUS, verified
from callmood.types import Floats

FRAMES_PER_S = 100
BANDS = 80
"""Of CAM++: from 20 to 8,000 Hz. The telephone carries the lower 59; the others are as in the mean of a call, and the network
looks at the first 64."""
DIMENSIONS = 192
BLOCK_FRAMES = 30
"""The network hears a multiple of so many frames."""

_LOW_HZ, _HIGH_HZ = 20.0, 8000.0
_PRE_EMPHASIS = 0.97
_LEVEL = 0.1
"""Root mean square that the speech of a call is brought to, because the floor below is absolute;"""
_LEVELLED = 100
"""it is measured on at most so many stretches."""
_FLOOR = float(np.finfo(np.float32).eps)
"""Least energy of a band, as Kaldi has it."""
_FRAMES_AT_ONCE = 1000
_FRAMES_SIDE_BY_SIDE = 600
"""What goes through the network together, unless one stretch is longer; more is no faster."""


class CamPlus:
    """The network; it is loaded when it is first asked.

    Raises
    ------
    ModelError
        Its file is missing, or does not match its recorded SHA-256.
    """

    def __init__(self, models: str | Path | None = None) -> None:
        self._path = verified(CAMPPLUS, models)

    @cached_property
    def _network(self) -> Any:
        try:
            network = onnx_session(str(self._path))
            (bands,), (embeddings, overlap) = network.get_inputs(), network.get_outputs()
            found = (bands.name, bands.shape[-1], embeddings.shape[-1], overlap.name)
            fits = found == ("bands", BANDS, DIMENSIONS, "overlap")
        except Exception as error:  # onnxruntime has a class for each of many reasons
            raise self._refused() from error
        if not fits:
            raise self._refused()
        return network

    def _refused(self) -> ModelError:
        return ModelError(f"{self._path}: not this version's network; use models made for this version.")

    def embed(
        self, samples: Floats, stretches: Regions, steps: list[int], out: NDArray[np.float16]
    ) -> Floats:
        """Embeddings of the speech in `stretches` of a channel at 8 kHz into `out`, shape (sum of `steps`, `DIMENSIONS`);
        returned is the probability that two speak at once in each of these steps, shape (sum of `steps`,).

        There are `steps` of a tenth of a second in each stretch; an embedding is of the 1.1 s around its middle, as far as
        they lie in the stretch, which is filled up to a whole block with the mean of the call. Stretches of as many blocks
        go through the network side by side, which changes nothing for them.
        """
        overlap = np.empty(len(out), dtype=np.float32)
        call = CallBands(samples, stretches)
        ends = np.cumsum(steps)
        for numbers, blocks in _side_by_side(stretches):
            bands = np.zeros((len(numbers), blocks * BLOCK_FRAMES, BANDS), dtype=np.float32)
            for number, own in zip(numbers, bands, strict=True):
                heard = call[number]
                own[: len(heard), : heard.shape[1]] = heard
            for number, *said in zip(numbers, *self._network.run(None, {"bands": bands}), strict=True):
                count = steps[number]
                at = np.minimum(np.arange(count), len(said[0]) - 1)
                own_steps = slice(ends[number] - count, ends[number])
                out[own_steps], overlap[own_steps] = (each[at] for each in said)
        return overlap


class CallBands:
    """Mel bands of stretches of a channel at 8 kHz, at one level and less their mean.

    They are computed when they are asked for, and once before for their mean, so that those of a long call need not lie in
    memory at once.
    """

    def __init__(self, samples: Floats, stretches: Regions) -> None:
        self._samples, self._stretches = samples, stretches
        self._gain = _gain(samples, stretches)
        spread = Spread()
        for number in range(len(stretches)):
            spread.add(self._bands(number))
        self._mean = spread.mean.astype(np.float32)

    def __getitem__(self, number: int) -> Floats:
        """Those of a stretch, by its number: shape (frames, bands)."""
        return self._bands(number) - self._mean

    def _bands(self, number: int) -> Floats:
        return mel_bands(self._gain * cut(self._samples, self._stretches[number]))


def _side_by_side(stretches: Regions) -> Iterator[tuple[list[int], int]]:
    """Numbers of stretches that have as many blocks, and how many."""
    samples = np.diff((stretches * RATE_HZ).astype(int), axis=1)[:, 0]
    frames = np.maximum(1 + (samples - RATE_HZ // 40) // (RATE_HZ // FRAMES_PER_S), 1)
    blocks = -(-frames // BLOCK_FRAMES)
    for count in np.unique(blocks).tolist():
        numbers = np.flatnonzero(blocks == count)
        at_once = max(1, _FRAMES_SIDE_BY_SIDE // (count * BLOCK_FRAMES))
        for first in range(0, len(numbers), at_once):
            yield numbers[first : first + at_once].tolist(), count


def _gain(samples: Floats, stretches: Regions) -> np.float32:
    """What brings the speech to `_LEVEL`, so that faint voices do not sink below the floor of the bands."""
    power, heard = 0.0, 0
    for stretch in stretches[:: -(-len(stretches) // _LEVELLED)]:
        part = cut(samples, stretch)
        power += float(np.dot(part, part))
        heard += len(part)
    return np.float32(_LEVEL / max(np.sqrt(power / max(heard, 1)), 1e-6))


def mel_bands(samples: Floats, *, rate_hz: int = RATE_HZ) -> Floats:
    """Natural logarithms of mel energies as Kaldi computes them (`compute-fbank-feats`, no dither).

    Parameters
    ----------
    samples
        Shape (n,), float32 in [-1, 1]; less than a frame of 25 ms is filled up with zeros.

    Returns
    -------
    Shape (1 + (n - width) // hop, bands), float32: frames of 25 ms each 10 ms, of the `BANDS` those that end below half
    the rate. But for a constant in each band, they do not depend on the rate.
    """
    from scipy.fft import rfft

    width, hop, n_fft = rate_hz // 40, rate_hz // FRAMES_PER_S, 256 * rate_hz // 8000
    if len(samples) < width:
        samples = np.pad(samples, (0, width - len(samples)))
    window, mel = _tables(rate_hz)
    every = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop]
    found = np.empty((len(every), mel.shape[1]), dtype=np.float32)
    for first in range(0, len(every), _FRAMES_AT_ONCE):
        frames = every[first : first + _FRAMES_AT_ONCE].astype(np.float32)
        frames -= frames.mean(axis=1, keepdims=True)
        frames[:, 1:] -= _PRE_EMPHASIS * frames[:, :-1]
        frames[:, 0] *= 1.0 - _PRE_EMPHASIS
        # Real and imaginary parts lie side by side.
        parts = rfft(frames * window, n_fft).view(np.float32)
        parts *= parts
        power = (parts[:, ::2] + parts[:, 1::2]) @ mel
        found[first : first + len(frames)] = np.log(np.maximum(power, _FLOOR))
    return found


@lru_cache(maxsize=2)
def _tables(rate_hz: int) -> tuple[Floats, Floats]:
    """Kaldi's window (`povey`), shape (width,), and its mel filters, shape (n_fft / 2 + 1, bands)."""
    n_fft = 256 * rate_hz // 8000
    edges = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    at = _mel(np.arange(n_fft // 2 + 1) * rate_hz / n_fft)[:, np.newaxis]
    filters = np.maximum(0.0, np.minimum((at - left) / (middle - left), (right - at) / (right - middle)))
    filters[-1] = 0.0
    kept = right <= _mel(rate_hz / 2) + 1e-9
    window = np.hanning(rate_hz // 40) ** 0.85
    return window.astype(np.float32), np.ascontiguousarray(filters[:, kept], dtype=np.float32)


def _mel(hz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)
