"""The emotion network: a one-dimensional CNN over MFCC frames with attention pooling over spans.

The convolutional trunk runs once over a stretch of speech; any number of spans (short windows, or the whole
turn) are then pooled from its output, so that overlapping windows cost almost nothing. Training and
inference build the very same graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.errors import ModelError
from callmood.types import Floats

STRIDE = 4
"""MFCC frames per step of the trunk's output."""
_BATCH_FRAMES = 24_000
"""MFCC frames, padding included, that run through the network at a time on a CPU (five minutes of speech)."""
_MAX_STRETCHED = 1.5
"""How many times as long as the shortest the longest stretch of a batch may be,"""
_LEAST_FRAMES = 1000
"""unless the batch would hold less than this: each run has its own cost."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Hyper-parameters of the architecture; they travel with the weights."""

    n_mfcc: int = 40
    hears: str = "both"
    """`relative` or `absolute` MFCC, or `both`; see `callmood.features.network_input`."""
    width: int = 128
    blocks: int = 8
    kernel: int = 7
    expansion: int = 2
    dropout: float = 0.1
    members: int = 1
    """Networks, each trained by itself, whose log probabilities are averaged."""


def build_network(config: NetworkConfig) -> Any:
    """The Keras model, with fresh weights.

    Inputs
    ------
    frames
        Shape (batch, frames, 2 * n_mfcc), float32, of `callmood.features.network_input`; frames is a multiple of
        `STRIDE`, rows beyond a stretch's end are zero.
    spans
        Shape (batch, spans, frames / STRIDE), float32 in {0, 1}: which steps each span covers. A step that no
        span of its row covers counts as padding. An empty span's logits are meaningless but finite.

    Outputs
    -------
    logits
        Shape (batch, spans, 7), in the order of `callmood.emotions.EMOTIONS`; of several members, the mean of their log
        probabilities.

    One of several members is the layer `member(0)`, and so on.
    """
    from keras import Input, Model, ops

    if config.members == 1:
        return _build_member(config, "emotion")
    frames = Input((None, 2 * config.n_mfcc), name="frames")
    spans = Input((None, None), name="spans")
    answers = [
        ops.log_softmax(_build_member(config, member(index))([frames, spans]))
        for index in range(config.members)
    ]
    return Model([frames, spans], sum(answers) / config.members, name="emotion")


def member(index: int) -> str:
    """The name of a member in a network of several."""
    return f"member{index}"


def _build_member(config: NetworkConfig, name: str) -> Any:
    from keras import Input, Model, layers, ops

    frames = Input((None, 2 * config.n_mfcc), name="frames")
    spans = Input((None, None), name="spans")
    frame_mask = ops.repeat(_mask(spans), STRIDE, axis=1)
    relative, absolute = frames[:, :, : config.n_mfcc], frames[:, :, config.n_mfcc :]
    absolute = layers.BatchNormalization(center=False, scale=False, name="absolute_norm")(absolute)
    absolute = absolute * frame_mask
    heard = {"relative": [relative], "absolute": [absolute], "both": [relative, absolute]}[config.hears]
    pooled = pool_spans(heard[0] if len(heard) == 1 else ops.concatenate(heard, axis=-1), spans, config)
    hidden = layers.Dense(config.width, activation="relu", name="hidden")(pooled)
    logits = layers.Dense(len(EMOTIONS), name="logits")(hidden)
    return Model([frames, spans], logits, name=name)


def pool_spans(frames: Any, spans: Any, config: NetworkConfig) -> Any:
    """A trunk over frames, shape (batch, frames, any), and what it found in each span, (batch, spans, 4 * width).

    Blocks follow ConvNeXt (Liu et al. 2022): depthwise convolution, then a pointwise bottleneck; pooling is
    attentive statistics pooling (Okabe et al. 2018).
    """
    from keras import layers, ops

    def convolve(x: Any, kernel: int, dilation: int, name: str) -> Any:
        y = layers.DepthwiseConv1D(kernel, padding="same", dilation_rate=dilation, name=f"{name}_depth")(x)
        y = layers.BatchNormalization(name=f"{name}_norm")(y)
        y = layers.Dense(config.expansion * config.width, activation="relu", name=f"{name}_expand")(y)
        # Zero at first, so that every block begins as the identity and depth costs no time to learn.
        y = layers.Dense(config.width, kernel_initializer="zeros", name=f"{name}_project")(y)
        return layers.Dropout(config.dropout, noise_shape=(None, 1, config.width), name=f"{name}_drop")(y)

    mask = _mask(spans)
    x = layers.Conv1D(config.width, 2 * STRIDE, strides=STRIDE, padding="same", name="stem")(frames)
    x = layers.BatchNormalization(name="stem_norm")(x) * mask
    for index in range(config.blocks):
        x = x + convolve(x, config.kernel, (1, 2, 4)[index % 3], f"block{index}") * mask

    x = layers.BatchNormalization(name="trunk_norm")(x)
    x = layers.Dense(2 * config.width, activation="relu", name="features")(x)
    score = layers.Dense(1, name="attention")(x)
    score = score - ops.max(score, axis=1, keepdims=True)
    weights = spans * ops.transpose(ops.exp(ops.maximum(score, -30.0)), (0, 2, 1))
    weights = weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1e-20)
    mean = ops.matmul(weights, x)
    variance = ops.maximum(ops.matmul(weights, x * x) - mean * mean, 0.0)
    pooled = ops.concatenate([mean, ops.sqrt(variance + 1e-4)], axis=-1)
    return layers.Dropout(config.dropout, name="pooled_drop")(pooled)


def _mask(spans: Any) -> Any:
    """Steps that any span covers, shape (batch, steps, 1)."""
    from keras import ops

    return ops.expand_dims(ops.max(spans, axis=1), -1)


def pad_frames(mfcc: Floats, n_frames: int) -> Floats:
    """`mfcc`, shape (frames, inputs), with zero rows added up to `n_frames`."""
    return np.pad(mfcc, ((0, n_frames - len(mfcc)), (0, 0)))


def load_weights(network: Any, weights: Path) -> None:
    """Weights of a file into a network; raises `ModelError` where they are not its own."""
    try:
        with warnings.catch_warnings():
            # Keras only warns of a layer that finds no weights, and leaves it random.
            warnings.simplefilter("error", UserWarning)
            network.load_weights(weights)
    except (TypeError, ValueError, KeyError, UserWarning) as error:
        raise ModelError(
            f"{weights}: not weights of this version's network; use models made for this version."
        ) from error


def predict_spans(
    network: Any,
    stretches: Sequence[Floats],
    spans: Sequence[NDArray[np.int64]],
    *,
    batch_frames: int = _BATCH_FRAMES,
) -> list[Floats]:
    """What a network of `pool_spans` says of spans inside stretches.

    Parameters
    ----------
    stretches
        Each of shape (frames, inputs).
    spans
        For each stretch, shape (n, 2): first and one-past-last frame of each span.
    batch_frames
        MFCC frames, padding included, that run through the network at a time.

    Returns
    -------
    For each stretch, shape (n, outputs).
    """
    width = int(network.output_shape[-1])
    results: list[Floats] = [np.zeros((0, width), dtype=np.float32)] * len(stretches)
    for members in _batches([len(stretch) for stretch in stretches], batch_frames):
        frames, masks = _pad([stretches[i] for i in members], [spans[i] for i in members])
        batch = np.asarray(network.predict_on_batch([frames, masks]), dtype=np.float32)
        for row, index in enumerate(members):
            results[index] = batch[row, : len(spans[index])]
    return results


def _batches(lengths: Sequence[int], batch_frames: int) -> list[list[int]]:
    """Indices grouped by similar length, each group within `batch_frames` once padded, and little of it padding."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups:
            # Sorted by length, so the newest member sets what the whole group is padded to.
            group, length = groups[-1], lengths[index]
            padded = len(group) * lengths[group[-1]]
            similar = length <= _MAX_STRETCHED * lengths[group[0]] or padded < _LEAST_FRAMES
            if similar and (len(group) + 1) * length <= batch_frames:
                group.append(index)
                continue
        groups.append([index])
    return groups


def _pad(stretches: Sequence[Floats], spans: Sequence[NDArray[np.int64]]) -> tuple[Floats, Floats]:
    """Network inputs (frames, spans) of a batch; see `build_network`."""
    steps = -(-max(len(stretch) for stretch in stretches) // STRIDE)
    frames = np.stack([pad_frames(stretch, steps * STRIDE) for stretch in stretches])
    masks = np.zeros((len(stretches), max(len(rows) for rows in spans), steps), dtype=np.float32)
    for index, rows in enumerate(spans):
        for row, (first, last) in enumerate(rows):
            masks[index, row, first // STRIDE : -(-last // STRIDE)] = 1.0
    return frames, masks
