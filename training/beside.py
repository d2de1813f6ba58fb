"""A training run that hears chroma and log-mel levels beside the MFCC: `python -m training.beside --help`.

A row of the ablation, and nothing to ship: the product computes MFCC alone, and does not load such a model. The options
are those of `training.train`. The frequency axis of these inputs cannot be warped and their spectrum not be tilted as
a matrix on MFCC does it, so neither is done; the row to compare with does without as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from callmood.errors import CallmoodError
from callmood.features import FrontEnd
from callmood.types import Floats
from training.train import options_parser, recipe_of, train

_CHROMA_FFT = 2048
"""A quarter of a second: semitones of a low voice lie 6 Hz apart."""
_CHROMA_SCALE = 10.0
"""Brings chroma, 0 to 1, to the order of the other inputs."""


@dataclass(frozen=True, kw_only=True)
class WideFrontEnd(FrontEnd):
    """MFCC, then the levels of the mel bands in dB, then chroma."""

    n_chroma: int = 12

    @property
    def n_inputs(self) -> int:
        return self.n_mfcc + self.n_mels + self.n_chroma

    def mfcc(self, samples: Floats) -> Floats:
        """Shape (1 + n // hop_length, n_inputs), float32; see `FrontEnd.mfcc`."""
        import librosa
        from scipy.fft import idct

        mfcc = super().mfcc(samples)
        mel_db = idct(mfcc, n=self.n_mels, axis=1, norm="ortho")
        chroma = librosa.feature.chroma_stft(
            y=np.pad(samples, (0, _CHROMA_FFT)),
            sr=self.rate_hz,
            n_fft=_CHROMA_FFT,
            hop_length=self.hop_length,
            n_chroma=self.n_chroma,
            tuning=0.0,
        )
        return np.concatenate([mfcc, mel_db, _CHROMA_SCALE * chroma.T[: len(mfcc)]], axis=1, dtype=np.float32)


def front_end_of(config: Mapping[str, Any]) -> FrontEnd:
    """The front end that `emotion.json` of a run tells of."""
    parameters = config["front_end"]
    return WideFrontEnd(**parameters) if "n_chroma" in parameters else FrontEnd(**parameters)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = options_parser("python -m training.beside", __doc__)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        recipe = recipe_of(options)
        wide = WideFrontEnd()
        train(
            options,
            replace(
                recipe,
                front_end=wide,
                network=replace(recipe.network, n_mfcc=wide.n_inputs),
                draw=replace(recipe.draw, warp=0.0, equalizer=0.0),
            ),
        )
    except CallmoodError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
