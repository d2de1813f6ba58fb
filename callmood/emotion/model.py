"""The trained emotion model: loading it safely, and running it on stretches of speech."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.device import import_tensorflow, use_device
from callmood.emotion.network import NetworkConfig, build_network, load_weights, member
from callmood.emotions import EMOTIONS
from callmood.errors import ModelError
from callmood.features import FrontEnd
from callmood.gpu.client import predict, served
from callmood.model_files import CONFIG, WEIGHTS, verified
from callmood.types import Floats


class EmotionModel:
    """A network with its front end and temperature.

    Raises
    ------
    ModelError
        A file is missing, damaged, or does not match its recorded SHA-256.
    """

    def __init__(self, models: str | Path | None = None) -> None:
        self._config_path, self._weights = verified(CONFIG, models), verified(WEIGHTS, models)
        config = json.loads(self._config_path.read_text(encoding="utf-8"))
        if tuple(config["emotions"]) != EMOTIONS:
            raise ModelError(
                f"{self._config_path}: made for other emotions; use models made for this version."
            )
        self.front_end = FrontEnd(**config["front_end"])
        self.temperature = float(config["temperature"])
        self._config = config["network"]
        if not served():
            # Before the first recording, whatever is wrong with it.
            _ = self.network

    @cached_property
    def network(self) -> Any:
        """The Keras model in this process; see `callmood.emotion.network.build_network`."""
        if served():
            use_device("cpu")
        import_tensorflow()
        try:
            network = build_network(NetworkConfig(**self._config))
        except TypeError as error:
            raise ModelError(
                f"{self._config_path}: made for another version; use models made for this version."
            ) from error
        load_weights(network, self._weights)
        return network

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
        found = []
        for logits in predict("emotion", lambda: self.network, stretches, spans):
            logits = logits / self.temperature
            odds = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
            found.append(np.asarray(odds / odds.sum(axis=-1, keepdims=True), dtype=np.float32))
        return found

    def typical_speech(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the MFCC that the network was trained on, less the mean of C0.

        Each of shape (n_mfcc,). Raises ModelError where the network never heard MFCC as they are.
        """
        try:
            # All members heard the same recordings, each with other stretches hidden; the first stands for all.
            several = self._config.get("members", 1) > 1
            one = self.network.get_layer(member(0)) if several else self.network
            layer = one.get_layer("absolute_norm")
        except ValueError as error:
            raise ModelError(
                "These models hear MFCC relative to the call alone, so live audio gives them nothing to begin with; "
                "name others with --models."
            ) from error
        mean, variance = (
            np.array(weights.numpy(), dtype=np.float32)
            for weights in (layer.moving_mean, layer.moving_variance)
        )
        return mean, np.sqrt(variance)
