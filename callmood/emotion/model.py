"""The trained emotion model: loading it safely, and running it on stretches of speech."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.device import import_tensorflow
from callmood.emotion.network import STRIDE, NetworkConfig, build_network, pad_frames
from callmood.emotions import EMOTIONS
from callmood.errors import ModelError
from callmood.features import FrontEnd
from callmood.model_files import CONFIG, WEIGHTS, verified
from callmood.types import Floats

_BATCH_FRAMES = 24_000
"""MFCC frames, padding included, that run through the network at a time (five minutes of speech)."""


class EmotionModel:
    """A network with its front end and temperature.

    Raises
    ------
    ModelError
        A file is missing, damaged, or does not match its recorded SHA-256.
    """

    def __init__(self, models: str | Path | None = None) -> None:
        import_tensorflow()
        config_path, weights = verified(CONFIG, models), verified(WEIGHTS, models)
        config = json.loads(config_path.read_text(encoding="utf-8"))
        if tuple(config["emotions"]) != EMOTIONS:
            raise ModelError(f"{config_path}: made for other emotions; use models made for this version.")
        self.front_end = FrontEnd(**config["front_end"])
        self.temperature = float(config["temperature"])
        try:
            self._network: Any = build_network(NetworkConfig(**config["network"]))
            with warnings.catch_warnings():
                # Keras only warns of a layer that finds no weights, and leaves it random.
                warnings.simplefilter("error", UserWarning)
                self._network.load_weights(weights)
        except (TypeError, ValueError, KeyError, UserWarning) as error:
            raise ModelError(
                f"{weights}: not weights of this version's network; use models made for this version."
            ) from error

    def probabilities(self, stretches: Sequence[Floats], spans: Sequence[NDArray[np.int64]]) -> list[Floats]:
        """Emotion probabilities of spans inside stretches of speech.

        Parameters
        ----------
        stretches
            What the network hears of each stretch, shape (frames, 2 * n_mfcc); see `callmood.features.network_input`.
        spans
            For each stretch, shape (n, 2): first and one-past-last frame of each span.

        Returns
        -------
        For each stretch, shape (n, 7), calibrated: softmax of the logits over the temperature.
        """
        results: list[Floats] = [np.zeros((0, len(EMOTIONS)), dtype=np.float32)] * len(stretches)
        for members in _batches([len(stretch) for stretch in stretches]):
            frames, masks = _pad([stretches[i] for i in members], [spans[i] for i in members])
            logits = np.asarray(self._network.predict_on_batch([frames, masks])) / self.temperature
            odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
            batch = odds / odds.sum(axis=-1, keepdims=True)
            for row, index in enumerate(members):
                results[index] = np.asarray(batch[row, : len(spans[index])], dtype=np.float32)
        return results


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices grouped by similar length, each group within `_BATCH_FRAMES` once padded."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted by length, so the newest member sets what the whole group is padded to.
        if groups and (len(groups[-1]) + 1) * lengths[index] <= _BATCH_FRAMES:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _pad(stretches: Sequence[Floats], spans: Sequence[NDArray[np.int64]]) -> tuple[Floats, Floats]:
    """Network inputs (frames, spans) of a batch; see `callmood.emotion.network`."""
    steps = -(-max(len(stretch) for stretch in stretches) // STRIDE)
    frames = np.stack([pad_frames(stretch, steps * STRIDE) for stretch in stretches])
    masks = np.zeros((len(stretches), max(len(rows) for rows in spans), steps), dtype=np.float32)
    for index, rows in enumerate(spans):
        for row, (first, last) in enumerate(rows):
            masks[index, row, first // STRIDE : -(-last // STRIDE)] = 1.0
    return frames, masks
