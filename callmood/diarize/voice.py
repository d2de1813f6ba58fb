"""The voice network: what tells the voices of one call apart, as points on a sphere.

The same kind of network as the emotion model's, over the same MFCC frames, so that a channel's features are computed
once. It knows nobody by name: it serves only to group the speech of one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callmood.emotion.network import NetworkConfig, pool_spans


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
        Shape (batch, frames, n_mfcc): MFCC less their mean over all speech of the call (C0: of the stretch); rows
        beyond a stretch's end are zero.
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
    scaled = layers.BatchNormalization(center=False, scale=False, name="frames_norm")(frames)
    mask = ops.repeat(ops.expand_dims(ops.max(spans, axis=1), -1), 4, axis=1)
    trunk = NetworkConfig(width=config.width, blocks=config.blocks, dropout=config.dropout)
    pooled = pool_spans(scaled * mask, spans, trunk)
    embedding = layers.Dense(config.dimensions, name="embedding")(pooled)
    embedding = layers.BatchNormalization(center=False, scale=False, name="embedding_norm")(embedding)
    return Model([frames, spans], embedding, name="voice")
