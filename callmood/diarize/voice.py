"""Our own voice network: what tells the voices of one call apart, as directions (`callmood.diarize.campplus` is the other).

The same kind of network as the emotion model's, over MFCC of the same front end. It knows nobody by name: it serves
only to group the speech of one call.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.device import use_device
from callmood.emotion.network import STRIDE, NetworkConfig, load_weights, pool_spans
from callmood.errors import ModelError
from callmood.features import FrontEnd, Spread
from callmood.gpu.client import predict, served
from callmood.model_files import VOICE_CONFIG, VOICE_WEIGHTS, verified
from callmood.types import Floats


@dataclass(frozen=True, kw_only=True)
class VoiceConfig:
    """Hyper-parameters of the architecture; they travel with the weights."""

    n_mfcc: int = 40
    width: int = 128
    blocks: int = 6
    dimensions: int = 128
    dropout: float = 0.1


def build_voice_network(config: VoiceConfig) -> Any:
    """The Keras model, with fresh weights.

    Inputs
    ------
    frames
        Shape (batch, frames, n_mfcc), of `relative_to_call`; rows beyond a stretch's end are zero.
    spans
        Shape (batch, spans, frames / STRIDE); see `callmood.emotion.network.build_network`.

    Outputs
    -------
    embedding
        Shape (batch, spans, dimensions); only its direction tells of the voice.
    """
    from keras import Input, Model, layers, ops

    frames = Input((None, config.n_mfcc), name="frames")
    spans = Input((None, None), name="spans")
    mask = ops.repeat(ops.expand_dims(ops.max(spans, axis=1), -1), STRIDE, axis=1)
    scaled = layers.BatchNormalization(center=False, scale=False, name="frames_norm")(frames)
    trunk = NetworkConfig(width=config.width, blocks=config.blocks, dropout=config.dropout)
    pooled = pool_spans(scaled * mask, spans, trunk)
    embedding = layers.Dense(config.dimensions, name="embedding")(pooled)
    embedding = layers.BatchNormalization(center=False, scale=False, name="embedding_norm")(embedding)
    return Model([frames, spans], embedding, name="voice")


def relative_to_call(stretches: Sequence[Floats]) -> list[Floats]:
    """MFCC of all speech of a call, each of shape (frames, n_mfcc), as the network hears it.

    C0 loses its mean over each stretch, since level is not voice; the others lose their mean over the call, which is
    what the line adds to every voice.
    """
    spread = Spread()
    heard = [levelled(frames) for frames in stretches]
    for frames in heard:
        spread.add(frames)
    mean = spread.mean.astype(np.float32)
    return [frames - mean for frames in heard]


def levelled(stretch: Floats) -> Floats:
    """MFCC of one stretch of speech, shape (frames, n_mfcc), whose C0 has lost its mean."""
    frames = np.array(stretch, dtype=np.float32)
    frames[:, 0] -= frames[:, 0].mean()
    return frames


class VoiceModel:
    """The trained voice network with its front end. The network itself is loaded when it is first asked.

    Raises
    ------
    ModelError
        A file is missing, damaged, or does not match its recorded SHA-256.
    """

    def __init__(self, models: str | Path | None = None, *, device: str = "auto") -> None:
        self._device = device
        config_path, self._weights = verified(VOICE_CONFIG, models), verified(VOICE_WEIGHTS, models)
        try:
            config = json.loads(config_path.read_text(encoding="utf-8"))
            self.front_end = FrontEnd(**config["front_end"])
            self._config = VoiceConfig(**config["network"])
        except (TypeError, ValueError, KeyError) as error:
            raise ModelError(
                f"{config_path}: made for another version; use models made for this version."
            ) from error

    @property
    def dimensions(self) -> int:
        """Numbers in an embedding."""
        return self._config.dimensions

    @cached_property
    def network(self) -> Any:
        """The Keras model in this process; see `build_voice_network`."""
        use_device("cpu" if served() else self._device)
        network = build_voice_network(self._config)
        load_weights(network, self._weights)
        return network

    def embed(self, stretches: Sequence[Floats], spans: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """Unit vectors of spans of a call's speech: for each stretch, shape (n, dimensions).

        `stretches` are of `relative_to_call`; each of `spans` has shape (n, 2), first and one-past-last frame.
        """
        return [unit(rows) for rows in predict("voice", lambda: self.network, stretches, spans)]


def unit(rows: Floats) -> Floats:
    """Each row at length one."""
    return np.asarray(rows / lengths(rows), dtype=np.float32)


def lengths(rows: Floats) -> Floats:
    """The length of each row, shape (..., n) to (..., 1), and never 0."""
    squares = np.einsum("...i,...i->...", rows, rows)[..., np.newaxis]
    return np.asarray(np.maximum(np.sqrt(squares), 1e-9), dtype=np.float32)
