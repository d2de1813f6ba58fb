"""The embedded diarizer for mono calls: no account, no download, no PyTorch.

Voice activity, then what two networks hear around every tenth of a second of speech
(`callmood.diarize.ears`), spherical k-means into speakers, and a hidden Markov model that draws the boundaries
and settles what each speaker sounds like in this very call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.ears import HOP_S, Ears, Halves, Heard, Ints, blocks, steps_of, stretches_of
from callmood.diarize.turns import (
    MAX_PAUSE_S,
    MIN_TURN_S,
    Regions,
    join_regions,
    mark_overlap,
    mean_confidence,
    require_telephone_rate,
)
from callmood.diarize.vad import RATE_HZ, speech_in_calls
from callmood.diarize.voice import unit
from callmood.types import Audio, Floats, Turn

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
_ALIKE = 0.6
"""Where the number of speakers is to be found, two whose likeness is greater are one: of ten seconds of speech,"""
_ALIKE_PER_DECADE = 0.1
"""and more by this for ten times as much,"""
_ALIKE_UP_TO_S = 40.0
"""up to here (see the card)."""
_CONFIDENCE = (-3.43, 5.84, 1.17)
"""Log-odds that a decision is right: at first, for each unit of cosine similarity by which its own speaker is nearer, and
for each nat by which clusterings of parts of the call disagree less (`benchmarks.turn_confidence` fits them)."""
_BOTH = 0.8
"""Where two speak at once with at least this probability, the speaker whose voice is next nearest speaks, too (chosen on
development calls, see the card)."""
_BLOCK_S = 5.0
"""Parts of a call are made of blocks this long, or are its halves;"""
_LEAST_DISAGREEMENT = 0.02
"""added to the share of windows on which they disagree with all of it;"""
_LEAST_OF_PART = 0.1
"""share of a part's windows that each speaker needs in it;"""
_STARTS_OF_PARTS = 5
"""what each is clustered from."""

NOBODY = -1

Floats64 = NDArray[np.float64]


class BuiltinDiarizer:
    """Speakers of a one-channel call by their voices."""

    name = "builtin 7"
    by_channel = False

    def __init__(
        self, *, speakers: int | None = 2, models: str | Path | None = None, device: str = "auto"
    ) -> None:
        """`speakers` is the number of people, None to tell one from two; `models` the folder of the models; `device`
        where our own voice network runs (CAM++ runs on the CPU).

        Raises ModelError where the model is missing, damaged or not the recorded one.
        """
        self._speakers = speakers
        self._ears = Ears(models, device=device)

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        """Turns ordered by start; all by one speaker where there is too little speech to tell."""
        require_telephone_rate(audio, RATE_HZ)
        samples = audio.samples[0]
        (regions,) = speech_in_calls([samples])
        if not len(regions):
            return ()
        stretches = stretches_of(regions)
        heard = self._ears.embed(samples, stretches)
        parted = speakers_of(heard, self._speakers)
        return _turns(
            [
                *_spells(stretches, parted.path, parted.confidence),
                *_spells(stretches, parted.second, np.full_like(parted.confidence, np.nan)),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Windows of a call by speaker, and what tells how sure that is."""

    path: Ints
    """Which speaker each belongs to, shape (n,), from 0."""
    second: Ints
    """Who speaks at the same time, `NOBODY` where nobody does: shape (n,)."""
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


def speakers_of(heard: Heard, speakers: int | None) -> Parted:
    """Windows by speaker, at most `speakers` of them (None: one or two)."""
    windows = heard.windows
    stride = -(-len(windows) // _MAX_CLUSTERED)
    some = windows[::stride].astype(np.float32)
    centers = cluster(some, 2 if speakers is None else speakers)
    path = np.zeros(len(windows), dtype=np.int64)
    for _ in range(_ROUNDS if len(centers) > 1 else 0):
        nearness = _cosines(windows, centers)
        present, path = np.unique(viterbi(_NEARNESS * nearness, _SWITCH_COST), return_inverse=True)
        own = [windows[path == speaker].mean(axis=0, dtype=np.float32) for speaker in range(len(present))]
        centers = unit(np.array(own))
    one = Parted(
        path=np.zeros_like(path),
        second=np.full_like(path, NOBODY),
        nearer=np.full(len(path), np.nan, dtype=np.float32),
        agreement=0.0,
    )
    if len(centers) == 1:
        return one
    if speakers is None and heard.likeness(path == 0) > _one_voice(len(path) * HOP_S):
        return one
    block = max(1, round(_BLOCK_S / HOP_S / stride))
    agreed = stability(some, path[::stride], speakers=len(centers), block=block)
    nearness = _cosines(windows, centers)
    nearest = np.take_along_axis(nearness, path[:, None], axis=1)[:, 0]
    np.put_along_axis(nearness, path[:, None], -np.inf, axis=1)
    return Parted(
        path=path,
        second=np.where(heard.overlap >= _BOTH, nearness.argmax(axis=1), NOBODY),
        nearer=nearest - nearness.max(axis=1),
        agreement=-float(np.log(1.0 + _LEAST_DISAGREEMENT - agreed)),
    )


def _one_voice(speech_s: float) -> float:
    return _ALIKE + _ALIKE_PER_DECADE * math.log10(min(speech_s, _ALIKE_UP_TO_S) / 10.0)


def _cosines(windows: Halves, centers: Floats) -> Floats:
    """Of unit vectors, shapes (n, d) and (k, d): shape (n, k)."""
    return np.concatenate([rows.astype(np.float32) @ centers.T for rows in blocks(windows)])


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
    confidence: float | None
    """None where the speaker is only the second, or the only one of the call."""

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def _spells(stretches: Regions, speakers: Ints, confidence: Floats) -> Iterator[_Spell]:
    """From the speaker of each step of the stretches, one after another, and how sure that is."""
    cuts = np.cumsum([steps_of(stretch) for stretch in stretches])[:-1]
    for (start_s, end_s), own, sure in zip(
        stretches, np.split(speakers, cuts), np.split(confidence, cuts), strict=True
    ):
        changes = np.flatnonzero(np.diff(own)) + 1
        edges = [start_s, *(start_s + changes * HOP_S), end_s]
        for index, steps in enumerate(np.split(np.arange(len(own)), changes)):
            if own[steps[0]] != NOBODY:
                mean = float(sure[steps].mean())
                yield _Spell(
                    float(edges[index]),
                    float(edges[index + 1]),
                    int(own[steps[0]]),
                    None if np.isnan(mean) else mean,
                )


def _turns(spells: Iterable[_Spell]) -> tuple[Turn, ...]:
    """Spells of each speaker joined into turns; speakers are named by first speech."""
    own: dict[int, list[_Spell]] = {}
    for spell in sorted(spells, key=lambda spell: spell.start_s):
        own.setdefault(spell.speaker, []).append(spell)
    joined = {
        speaker: join_regions(
            np.array([(spell.start_s, spell.end_s) for spell in of_one]),
            max_pause_s=MAX_PAUSE_S,
            min_s=MIN_TURN_S,
        )
        for speaker, of_one in own.items()
    }
    speaking = sorted(
        (speaker for speaker in joined if len(joined[speaker])), key=lambda one: joined[one][0, 0]
    )
    turns = []
    for rank, speaker in enumerate(speaking):
        for start_s, end_s in joined[speaker]:
            parts = [spell for spell in own[speaker] if start_s <= spell.start_s and spell.end_s <= end_s]
            turns.append(
                Turn(
                    speaker=f"S{rank + 1}",
                    channel=0,
                    start_s=float(start_s),
                    end_s=float(end_s),
                    confidence=mean_confidence(parts),
                )
            )
    return mark_overlap(turns)
