"""The embedded diarizer for mono calls: no account, no download, no PyTorch.

Voice activity, then the voice network's embedding of 1.5 s around every tenth of a second of speech
(`callmood.diarize.voice`), spherical k-means into speakers, and a hidden Markov model that draws the boundaries
and settles what each speaker sounds like in this very call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.turns import (
    MAX_PAUSE_S,
    MIN_TURN_S,
    Regions,
    join_regions,
    mark_overlap,
    require_telephone_rate,
)
from callmood.diarize.vad import RATE_HZ, speech_in_calls
from callmood.diarize.voice import VoiceModel, lengths, levelled, unit
from callmood.features import Spread
from callmood.types import Audio, Floats, Turn

HOP_S = 0.1
"""A decision each,"""
WINDOW_S = 1.5
"""from this much speech around it."""
_MAX_STRETCH_S = 20.0
"""Longer speech goes through the network in parts."""
_NEARNESS = 1.0
"""Log-likelihood of a speaker, in nats, per unit of cosine similarity of a window;"""
_SWITCH_COST = 0.5
"""what a change of speaker costs, in nats."""
_ROUNDS = 5
"""Times that speakers and boundaries are settled in turn."""
_LEAST_SHARE = 0.05
"""Of the speech,"""
_LEAST_WINDOWS = 10
"""and a second of it: a cluster of less is a cough or a laugh, not a party to the call."""
_MAX_CLUSTERED = 4000
"""Windows that speakers are found from; of a longer call, evenly chosen ones."""
_TWO_SPEAKERS = 0.85
"""Least `stability` of two speakers, where their number is to be found (see the card)."""
_CONFIDENCE = (-2.16, 2.55, 0.95)
"""Log-odds that a decision is right: at first, for each unit of cosine similarity by which its own speaker is nearer, and
for each nat by which clusterings of parts of the call disagree less (`benchmarks.turn_confidence` fits them)."""
_BLOCK_S = 5.0
"""Parts of a call are made of blocks this long, or are its halves;"""
_LEAST_DISAGREEMENT = 0.02
"""added to the share of windows on which they disagree with all of it;"""
_LEAST_OF_PART = 0.1
"""share of a part's windows that each speaker needs in it;"""
_STARTS_OF_PARTS = 5
"""what each is clustered from."""

_HELD_FRAMES = 288_000
"""MFCC frames that are held at a time (an hour of speech, 46 MB)."""

Ints = NDArray[np.int64]
Floats64 = NDArray[np.float64]


class BuiltinDiarizer:
    """Speakers of a one-channel call by their voices."""

    name = "builtin 4"
    by_channel = False

    def __init__(
        self, *, speakers: int | None = 2, models: str | Path | None = None, device: str = "auto"
    ) -> None:
        """`speakers` is the number of people, None to tell one from two; `models` the folder of the models; `device`
        where the voice network runs.

        Raises ModelError where the model is missing, damaged or not the recorded one.
        """
        self._speakers = speakers
        self._voices = VoiceModel(models, device=device)

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        """Turns ordered by start; all by one speaker where there is too little speech to tell."""
        require_telephone_rate(audio, RATE_HZ)
        samples = audio.samples[0]
        (regions,) = speech_in_calls([samples])
        if not len(regions):
            return ()
        stretches = _stretches(regions)
        parted = speakers_of(_embed(samples, stretches, self._voices), self._speakers)
        cuts = np.cumsum([_steps(stretch) for stretch in stretches])[:-1]
        return _turns(stretches, np.split(parted.path, cuts), np.split(parted.confidence, cuts))


def _stretches(regions: Regions) -> Regions:
    """The regions, those longer than `_MAX_STRETCH_S` cut into equal parts."""
    cut = [
        np.linspace(start_s, end_s, int(np.ceil((end_s - start_s) / _MAX_STRETCH_S)) + 1)
        for start_s, end_s in regions
    ]
    return np.concatenate([np.column_stack((edges[:-1], edges[1:])) for edges in cut])


def _steps(stretch: Floats64) -> int:
    """Decisions of a stretch, from its start and end in seconds."""
    return max(1, int(np.ceil((stretch[1] - stretch[0]) / HOP_S)))


def _embed(samples: Floats, stretches: Regions, voices: VoiceModel) -> Floats:
    """An embedding per `HOP_S` of each stretch, one after another, shape (steps, dimensions).

    The MFCC of a long call are computed twice, first for what they have in common, so that they need not lie in
    memory at once.
    """
    front_end = voices.front_end
    rate = front_end.frames_per_s

    def mfcc_of(stretch: Floats64) -> Floats:
        start, end = (int(edge_s * RATE_HZ) for edge_s in stretch)
        return levelled(front_end.mfcc(np.asarray(samples[start:end], dtype=np.float32)))

    kept: dict[int, Floats] = {}
    held, spread = 0, Spread()
    for number, stretch in enumerate(stretches):
        mfcc = mfcc_of(stretch)
        spread.add(mfcc)
        held += len(mfcc)
        if held <= _HELD_FRAMES:
            kept[number] = mfcc
    mean = spread.mean.astype(np.float32)
    steps = [_steps(stretch) for stretch in stretches]
    found = np.empty((sum(steps), voices.dimensions), dtype=np.float32)
    filled = 0
    per_group = max(1, int(_HELD_FRAMES / (_MAX_STRETCH_S * rate)))
    for first in range(0, len(stretches), per_group):
        group = range(first, min(first + per_group, len(stretches)))
        frames = [
            (kept.pop(number) if number in kept else mfcc_of(stretches[number])) - mean for number in group
        ]
        spans = [
            windows_around(steps[number], len(mfcc), hop=HOP_S * rate, width=int(WINDOW_S * rate))
            for number, mfcc in zip(group, frames, strict=True)
        ]
        for rows in voices.embed(frames, spans):
            found[filled : filled + len(rows)] = rows
            filled += len(rows)
    return found


def windows_around(steps: int, n_frames: int, *, hop: float, width: int) -> Ints:
    """A window of `width` frames around the middle of each step, inside [0, n_frames): shape (steps, 2)."""
    middle = ((np.arange(steps) + 0.5) * hop).astype(np.int64)
    first = np.clip(middle - width // 2, 0, max(n_frames - width, 0))
    return np.column_stack((first, np.minimum(first + width, n_frames)))


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Windows of a call by speaker, and what tells how sure that is."""

    path: Ints
    """Which speaker each belongs to, shape (n,), from 0."""
    nearer: Floats
    """By how much the cosine to the own speaker is larger than that to the next: shape (n,), NaN where there is one."""
    agreement: float
    """Nats: how little clusterings of parts of the call disagree with the path."""

    @property
    def confidence(self) -> Floats:
        """Probability that each window bears the right speaker, NaN where there is one: shape (n,)."""
        offset, per_cosine, per_nat = _CONFIDENCE
        sure = offset + per_cosine * self.nearer + per_nat * self.agreement
        return np.asarray(1 / (1 + np.exp(-sure)), dtype=np.float32)


def speakers_of(embedded: Floats, speakers: int | None) -> Parted:
    """Windows by speaker, at most `speakers` of them (None: one or two). `embedded` are unit vectors, shape (n, d)."""
    # What all windows of the call share tells no voices apart.
    windows = embedded - embedded.mean(axis=0)
    # In place, and without the embeddings: a long call has 200 MB of each.
    windows /= lengths(windows)
    del embedded
    stride = -(-len(windows) // _MAX_CLUSTERED)
    some = windows[::stride]
    centers = cluster(some, 2 if speakers is None else speakers)
    path = np.zeros(len(windows), dtype=np.int64)
    for _ in range(_ROUNDS if len(centers) > 1 else 0):
        nearness = np.asarray(windows @ centers.T, dtype=np.float32)
        present, path = np.unique(viterbi(_NEARNESS * nearness, _SWITCH_COST), return_inverse=True)
        centers = unit(np.array([windows[path == speaker].mean(axis=0) for speaker in range(len(present))]))
    one = Parted(path=np.zeros_like(path), nearer=np.full(len(path), np.nan, dtype=np.float32), agreement=0.0)
    if len(centers) == 1:
        return one
    block = max(1, round(_BLOCK_S / HOP_S / stride))
    agreed = stability(some, path[::stride], speakers=len(centers), block=block)
    if speakers is None and agreed < _TWO_SPEAKERS:
        return one
    nearness = windows @ centers.T
    own = np.take_along_axis(nearness, path[:, None], axis=1)[:, 0]
    np.put_along_axis(nearness, path[:, None], -np.inf, axis=1)
    return Parted(
        path=path,
        nearer=own - nearness.max(axis=1),
        agreement=-float(np.log(1.0 + _LEAST_DISAGREEMENT - agreed)),
    )


def stability(windows: Floats, path: Ints, *, speakers: int, block: int) -> float:
    """Share of the windows on which clusterings of parts of them agree with `path`: a mean over up to four.

    The parts are both halves of the call and, of `block` windows each, the odd blocks and the even ones. Where voices
    are told apart, any part in which all speak leads to the same speakers; where something else was, each leads to others.
    A part in which one hardly speaks says nothing, unless there are no two others (of a few seconds, say).
    """
    from scipy.optimize import linear_sum_assignment

    late = np.arange(len(windows)) >= len(windows) // 2
    odd = np.arange(len(windows)) // block % 2 == 1
    parts = [own for own in (~late, late, ~odd, odd) if own.any()]
    spoken = [
        own
        for own in parts
        if np.bincount(path[own], minlength=speakers).min() >= max(_LEAST_WINDOWS, _LEAST_OF_PART * own.sum())
        and not own.all()
    ]
    shares = []
    for own in spoken if len(spoken) > 1 else parts:
        centers = cluster(windows[own], speakers, starts=_STARTS_OF_PARTS)
        labels = (windows @ centers.T).argmax(axis=1)
        both = np.bincount(path * speakers + labels, minlength=speakers**2).reshape(speakers, speakers)
        shares.append(both[linear_sum_assignment(both, maximize=True)].sum() / len(windows))
    return float(np.mean(shares))


def cluster(windows: Floats, k: int, *, starts: int = 20) -> Floats:
    """Centres of the best of some spherical k-means (Dhillon & Modha 2001) without a tiny cluster: shape (k, d).

    `windows` are unit vectors. One centre where no clustering into k leaves each cluster enough.
    """
    best, most = unit(windows.mean(axis=0, keepdims=True)), -np.inf
    least = max(_LEAST_WINDOWS, _LEAST_SHARE * len(windows))
    for seed in range(starts if 1 < k <= len(windows) else 0):
        rng = np.random.default_rng(seed)
        centers = windows[rng.choice(len(windows), k, replace=False)]
        label = (windows @ centers.T).argmax(axis=1)
        for _ in range(30):
            before = label
            centers = unit(
                np.array(
                    [windows[label == i].mean(axis=0) if (label == i).any() else centers[i] for i in range(k)]
                )
            )
            label = (windows @ centers.T).argmax(axis=1)
            if (label == before).all():
                break
        tightness = float((windows @ centers.T).max(axis=1).mean())
        if tightness > most and np.bincount(label, minlength=k).min() >= least:
            best, most = centers, tightness
    return best


def viterbi(log_p: Floats, switch_cost: float) -> Ints:
    """The best path through at most 256 states whose change costs `switch_cost`: shape (n, k) to (n,)."""
    steps, states = log_p.shape
    # Plain numbers: for a few states, arrays cost ten times as much.
    best: list[float] = log_p[0].tolist()
    came_from = bytearray(range(states)) * steps
    for step in range(1, steps):
        switched = max(best) - switch_cost
        leader = best.index(max(best))
        for state, gain in enumerate(log_p[step].tolist()):
            if best[state] < switched:
                came_from[step * states + state] = leader
            best[state] = max(best[state], switched) + gain
    path = np.empty(steps, dtype=np.int64)
    state = best.index(max(best))
    for step in range(steps - 1, -1, -1):
        path[step] = state
        state = came_from[step * states + state]
    return path


@dataclass(frozen=True)
class _Spell:
    """Speech of one speaker inside a stretch."""

    start_s: float
    end_s: float
    speaker: int
    confidence: float


def _spells(stretches: Regions, paths: Sequence[Ints], confidences: Sequence[Floats]) -> Iterator[_Spell]:
    for (start_s, end_s), path, confidence in zip(stretches, paths, confidences, strict=True):
        changes = np.flatnonzero(np.diff(path)) + 1
        edges = [start_s, *(start_s + changes * HOP_S), end_s]
        for index, steps in enumerate(np.split(np.arange(len(path)), changes)):
            sure = float(confidence[steps].mean())
            yield _Spell(float(edges[index]), float(edges[index + 1]), int(path[steps[0]]), sure)


def _turns(stretches: Regions, paths: Sequence[Ints], confidences: Sequence[Floats]) -> tuple[Turn, ...]:
    """Spells of each speaker joined into turns; speakers are named by first speech."""
    spells = list(_spells(stretches, paths, confidences))
    turns = []
    for rank, speaker in enumerate(dict.fromkeys(spell.speaker for spell in spells)):
        own = [spell for spell in spells if spell.speaker == speaker]
        regions = np.array([(spell.start_s, spell.end_s) for spell in own])
        for start_s, end_s in join_regions(regions, max_pause_s=MAX_PAUSE_S, min_s=MIN_TURN_S):
            parts = [spell for spell in own if start_s <= spell.start_s and spell.end_s <= end_s]
            sure = np.average(
                [spell.confidence for spell in parts],
                weights=[spell.end_s - spell.start_s for spell in parts],
            )
            turns.append(
                Turn(
                    speaker=f"S{rank + 1}",
                    channel=0,
                    start_s=float(start_s),
                    end_s=float(end_s),
                    confidence=None if np.isnan(sure) else float(sure),
                )
            )
    return mark_overlap(turns)
