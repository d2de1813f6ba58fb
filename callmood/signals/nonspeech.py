"""What sounds while nobody speaks: silence, tones (ring, dial, busy), music or noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callmood.signals.power import FRAME_S, dbfs, span
from callmood.types import Floats, Nonspeech

SOUND_DBFS = -50.0
"""Least level of a sound,"""
BELOW_SPEECH_DB = 25.0
"""and how far it may lie below the speech of the call."""
ABOVE_FLOOR_DB = 10.0
"""Noise that stands out less from the quietest tenth of the call is the line's own, and counts as silence."""
MAX_DIP_S = 0.5
"""A sound goes on over shorter dips."""
MIN_SOUND_S = 0.5
"""Shorter sounds are breaths, clicks and the ends of words: silence."""

TONE_SHARE = 0.85
"""A tone holds this share of the power above 200 Hz around its two frequencies"""
MIN_TONE_S = 0.2
"""for this long, and they stay the same."""
MAX_TONE_PAUSE_S = 5.0
"""Pauses of a tone's cadence: rings pause for up to 5 s."""
MELODY_PITCHES = 3
"""As many different tones within `MAX_DIP_S` of one another are a melody."""
STEADINESS = 0.25
"""Music keeps its partials: least correlation of the spectrum's fine structure with that 128 ms later. Chosen between five
pieces of hold music (Debian's asterisk-moh-opsound: means of 0.33 to 0.47) and the 300 sounds of ESC-10 (in pieces of 4 s:
at most 0.27)."""

_FFT_S = 0.128
"""Resolves the two frequencies of a ring, 40 Hz apart at the nearest."""
_HOP_S = 0.064
_NEAR = 2
"""Bins on either side that a Hann window spreads a tone over."""
_LOWEST_HZ = 200.0
_SECOND_DB = -15.0
"""A second frequency that is weaker than this against the first is none."""
_ENVELOPE_BINS = 15
"""Fine structure is what differs from the mean of so many neighbours."""
_BLOCK_STEPS = 512
"""Spectra held at a time."""

Ints = NDArray[np.int64]
Kind = Literal["silence", "tone", "music", "noise"]
_KINDS: tuple[Kind, ...] = ("silence", "tone", "music", "noise")


@dataclass(frozen=True)
class _Burst:
    """A stretch that holds one tone."""

    start_s: float
    end_s: float
    bins: Ints
    """Shape (2,): its two frequencies."""


@dataclass(frozen=True)
class _Spectra:
    """What is kept of the spectra of a sound, a row for each `_HOP_S`."""

    share: Floats
    """Of the power, around the two strongest frequencies."""
    bins: Ints
    """Shape (n, 2): those frequencies, in bins, ascending; twice the same where there is one."""
    steadiness: Floats
    """Correlation of the fine structure with that two rows later."""


def nonspeech(
    spoken: Iterable[tuple[float, float]],
    channels: Floats,
    power: Floats,
    *,
    duration_s: float,
    rate_hz: int,
) -> tuple[Nonspeech, ...]:
    """All of a call that no turn covers, told apart, in order.

    Parameters
    ----------
    spoken
        Start and end of every turn.
    channels
        Shape (channels, n); they are heard together.
    power
        Of all channels together, see `callmood.signals.power.powers`.
    """
    turns = sorted(spoken)
    heard = np.zeros(len(power), dtype=bool)
    for start_s, end_s in turns:
        heard[span(start_s, end_s, frames=len(power))] = True
    least = SOUND_DBFS
    if heard.any():
        least = max(least, dbfs(float(power[heard].mean())) - BELOW_SPEECH_DB)
    floor = dbfs(float(np.percentile(power, 10))) if len(power) else SOUND_DBFS
    found = []
    for start_s, end_s in gaps(turns, duration_s=duration_s):
        kinds = _kinds(channels, power, start_s, end_s, least_dbfs=least, floor_dbfs=floor, rate_hz=rate_hz)
        runs = _runs_of(kinds)
        edges = [*(start_s + FRAME_S * first for first, _ in runs), end_s]
        for (_, kind), (from_s, to_s) in zip(runs, pairwise(edges), strict=True):
            mean = power[span(from_s, to_s, frames=len(power))].mean() if len(power) else 0.0
            found.append(
                Nonspeech(start_s=from_s, end_s=to_s, kind=_KINDS[kind], level_dbfs=dbfs(float(mean)))
            )
    return tuple(found)


def gaps(turns: Iterable[tuple[float, float]], *, duration_s: float) -> Iterator[tuple[float, float]]:
    """Start and end of what the turns, ordered by start, leave of a call.

    >>> list(gaps([(1.0, 3.0), (2.0, 4.0)], duration_s=6.0))
    [(0.0, 1.0), (4.0, 6.0)]
    """
    until_s = 0.0
    for start_s, end_s in turns:
        if start_s > until_s:
            yield until_s, start_s
        until_s = max(until_s, end_s)
    if duration_s > until_s:
        yield until_s, duration_s


def _kinds(
    channels: Floats,
    power: Floats,
    start_s: float,
    end_s: float,
    *,
    least_dbfs: float,
    floor_dbfs: float,
    rate_hz: int,
) -> NDArray[np.int8]:
    """The index in `_KINDS` of each 10 ms of one gap."""
    here = power[span(start_s, end_s, frames=len(power))]
    kinds = np.zeros(max(len(here), 1), dtype=np.int8)
    bursts: list[_Burst] = []
    for first_s, last_s in _sounds(here, least_dbfs):
        spectra = _spectra(channels, start_s + first_s, start_s + last_s, rate_hz=rate_hz)
        tones = _tones(spectra, first_s)
        if _pitches(tones) >= MELODY_PITCHES:
            tones = []
        bursts += tones
        for from_s, to_s in gaps(
            ((t.start_s - first_s, t.end_s - first_s) for t in tones), duration_s=last_s - first_s
        ):
            if to_s - from_s < MIN_SOUND_S:
                continue
            rows = spectra.steadiness[round(from_s / _HOP_S) : round(to_s / _HOP_S)]
            steady = rows[~np.isnan(rows)]
            part = span(first_s + from_s, first_s + to_s, frames=len(here))
            level = dbfs(float(here[part].mean()))
            if level >= least_dbfs and len(steady) and float(steady.mean()) >= STEADINESS:
                kinds[part] = _KINDS.index("music")
            elif level >= max(least_dbfs, floor_dbfs + ABOVE_FLOOR_DB):
                kinds[part] = _KINDS.index("noise")
    for burst in _cadences(bursts):
        kinds[span(burst.start_s, burst.end_s, frames=len(kinds))] = _KINDS.index("tone")
    return kinds


def _sounds(power: Floats, least_dbfs: float) -> list[tuple[float, float]]:
    """Where in a gap something sounds, over short dips: (start, end) in seconds from its start."""
    smooth = np.convolve(power, np.full(10, 0.1), mode="same")[: len(power)]
    loud = [(first, end) for first, end in _runs(smooth >= 10 ** (least_dbfs / 10))]
    joined: list[tuple[int, int]] = []
    for first, end in loud:
        if joined and (first - joined[-1][1]) * FRAME_S <= MAX_DIP_S:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return [(a * FRAME_S, b * FRAME_S) for a, b in joined if (b - a) * FRAME_S >= MIN_TONE_S]


def _spectra(channels: Floats, start_s: float, end_s: float, *, rate_hz: int) -> _Spectra:
    """Spectra of the channels' mean, each row centred on its `_HOP_S`."""
    size, hop = round(_FFT_S * rate_hz), round(_HOP_S * rate_hz)
    rows = max(1, round((end_s - start_s) / _HOP_S))
    begin = round(start_s * rate_hz) - (size - hop) // 2
    parts = []
    for first in range(0, rows, _BLOCK_STEPS):
        # Two more rows, which the steadiness of the last ones looks at.
        last = min(first + _BLOCK_STEPS, rows)
        from_, to = begin + first * hop, begin + (last + 1) * hop + size
        block = channels[:, max(from_, 0) : max(to, 0)].mean(axis=0)
        block = np.pad(block, (max(-from_, 0), max(to - max(from_, 0) - len(block), 0)))
        frames = np.lib.stride_tricks.sliding_window_view(block, size)[::hop][: last - first + 2]
        parts.append(
            _features(np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2, size=size, rate_hz=rate_hz)
        )
    return _Spectra(
        share=np.concatenate([part.share for part in parts]),
        bins=np.concatenate([part.bins for part in parts]),
        steadiness=np.concatenate([part.steadiness for part in parts]),
    )


def _features(spectrum: NDArray[np.float64], *, size: int, rate_hz: int) -> _Spectra:
    """Of all rows of power but the last two. `spectrum`, of shape (rows, size // 2 + 1), is changed."""
    from scipy.ndimage import uniform_filter1d

    spectrum = spectrum[:, int(_LOWEST_HZ * size / rate_hz) :]
    level = np.log(spectrum + 1e-12)
    fine = level - uniform_filter1d(level, _ENVELOPE_BINS, axis=1)
    fine -= fine.mean(axis=1, keepdims=True)
    energy = (fine**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        steadiness = (fine[:-2] * fine[2:]).sum(axis=1) / np.sqrt(energy[:-2] * energy[2:])
    spectrum = spectrum[:-2]
    rows = np.arange(len(spectrum))[:, None]
    total = spectrum.sum(axis=1) + 1e-12
    bins = np.empty((len(spectrum), 2), dtype=np.int64)
    held = np.empty((len(spectrum), 2))
    for which in range(2):
        bins[:, which] = spectrum.argmax(axis=1)
        near = np.clip(bins[:, which, None] + np.arange(-_NEAR, _NEAR + 1), 0, spectrum.shape[1] - 1)
        held[:, which] = spectrum[rows, near].sum(axis=1)
        spectrum[rows, near] = 0.0
    alone = held[:, 1] < held[:, 0] * 10 ** (_SECOND_DB / 10)
    bins[alone, 1] = bins[alone, 0]
    return _Spectra(
        share=(held.sum(axis=1) / total).astype(np.float32),
        bins=np.sort(bins, axis=1),
        steadiness=steadiness.astype(np.float32),
    )


def _tones(spectra: _Spectra, start_s: float) -> list[_Burst]:
    """Stretches of a sound that begins at `start_s` in which the same one or two frequencies hold nearly all power."""
    found: list[_Burst] = []
    for first, end in _runs(spectra.share >= TONE_SHARE):
        bins = spectra.bins[first:end]
        moves = np.flatnonzero(np.abs(np.diff(bins, axis=0)).max(axis=1) > 1) + 1
        for a, b in zip([0, *moves], [*moves, end - first], strict=True):
            if (b - a) * _HOP_S >= MIN_TONE_S:
                middle = np.median(bins[a:b], axis=0).astype(np.int64)
                found.append(_Burst(start_s + (first + a) * _HOP_S, start_s + (first + b) * _HOP_S, middle))
    return found


def _pitches(bursts: Iterable[_Burst]) -> int:
    """How many different tones there are."""
    different: list[Ints] = []
    for burst in bursts:
        if not any(_same(burst.bins, bins) for bins in different):
            different.append(burst.bins)
    return len(different)


def _same(one: Ints, other: Ints) -> bool:
    return bool(np.abs(one - other).max() <= 1)


def _cadences(bursts: Iterable[_Burst]) -> list[_Burst]:
    """Bursts of the same tone, joined over the pauses of its cadence."""
    joined: list[_Burst] = []
    for burst in bursts:
        last = joined[-1] if joined else None
        if last and _same(last.bins, burst.bins) and burst.start_s - last.end_s <= MAX_TONE_PAUSE_S:
            joined[-1] = _Burst(last.start_s, burst.end_s, last.bins)
        else:
            joined.append(burst)
    return joined


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _runs_of(kinds: NDArray[np.int8]) -> list[tuple[int, int]]:
    """First index and value of each run of equal values."""
    first = np.concatenate(([0], np.flatnonzero(np.diff(kinds)) + 1))
    return [(int(index), int(kinds[index])) for index in first]
