"""Which clips a training run must not hear: the protocols of evaluation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.errors import UsageError
from training.corpora import CORPORA, Clip, speaker_folds

RECIPE = "recipe.json"
"""What a run records of its recipe."""
SPLIT = "split.json"
"""What a run records of the clips that it held out."""


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """What a run holds out.

    `speakers:K/N`: fold K of N over the speakers of each corpus; `random:K/N`: fold K of N over clips, so that
    their speakers are heard in training; `corpus:NAME`: a whole corpus.
    """

    protocol: str
    fold: int = 0
    folds: int = 1
    corpus: str | None = None

    @classmethod
    def parse(cls, text: str) -> HoldOut:
        """From the notation above; raises `UsageError`."""
        protocol, _, which = text.partition(":")
        if protocol == "corpus" and which in CORPORA:
            return cls(protocol=protocol, corpus=which)
        fold, _, folds = which.partition("/")
        if (
            protocol in ("speakers", "random")
            and fold.isdigit()
            and folds.isdigit()
            and int(fold) < int(folds)
        ):
            return cls(protocol=protocol, fold=int(fold), folds=int(folds))
        raise UsageError(
            f"--hold-out {text}: write speakers:K/N or random:K/N with K from 0 to N-1, or corpus:NAME with one of "
            f"{', '.join(CORPORA)}."
        )

    def of(self, clips: Sequence[Clip]) -> NDArray[np.bool_]:
        """Whether each clip is held out, shape (n,); the same in every program and run."""
        if self.protocol == "corpus":
            return np.array([clip.corpus == self.corpus for clip in clips])
        if self.protocol == "speakers":
            return np.equal(fold_of_clips(clips, folds=self.folds), self.fold)
        return np.equal(_random_fold_of_clips(clips, folds=self.folds), self.fold)


def fold_of_clips(clips: Sequence[Clip], *, folds: int) -> NDArray[np.int64]:
    """Fold of each clip's speaker, shape (n,)."""
    fold_by_speaker = speaker_folds(clips, folds=folds, seed=0)
    return np.array([fold_by_speaker[clip.speaker] for clip in clips])


def _random_fold_of_clips(clips: Sequence[Clip], *, folds: int) -> NDArray[np.int64]:
    """Clips of each corpus and emotion are shuffled and dealt in turn."""
    fold_of = np.zeros(len(clips), dtype=np.int64)
    groups: dict[tuple[str, str], list[int]] = {}
    for index in sorted(range(len(clips)), key=lambda index: clips[index].file):
        groups.setdefault((clips[index].corpus, clips[index].emotion), []).append(index)
    dealt = 0
    for key in sorted(groups):
        members = groups[key]
        random.Random(" ".join(key)).shuffle(members)  # noqa: S311 - repeatable folds, not secrets
        for index in members:
            fold_of[index] = dealt % folds
            dealt += 1
    return fold_of


def split_record(
    hold_out: str, clips: Sequence[Clip], *, members: NDArray[np.int64], held_out: NDArray[np.bool_]
) -> dict[str, Any]:
    """What a run that trains on `members` says of itself in `SPLIT`."""
    return {
        "hold_out": hold_out,
        "held_out": [clip.file for clip, out_of_it in zip(clips, held_out, strict=True) if out_of_it],
        "corpora_heard": sorted({clips[index].corpus for index in members}),
        "speakers_heard": sorted({clips[index].speaker for index in members}),
    }
