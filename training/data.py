"""Batches: from the feature bank to network inputs, with the random choices that training makes on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.network import STRIDE
from callmood.emotions import EMOTIONS
from callmood.features import normalize
from callmood.types import Floats
from training.corpora import label_indices
from training.features import Bank

TRIM_DB = 30.0
"""Leading and trailing frames this far below the clip's loud frames are silence."""
MIN_FRAMES = 64
"""Shortest crop: 0.8 s."""
MAX_FRAMES = 400
"""Longest crop: 5 s."""
CORPUS_WEIGHT = {"crema-d": 1.0, "ravdess": 2.0, "tess": 0.4, "savee": 2.0}
"""How often a clip is drawn, relative to others: many speakers count for more than many clips."""


def speech_span(mfcc: Floats) -> tuple[int, int]:
    """First and one-past-last frame of a clean clip, shape (frames, n_mfcc), that are not silence.

    C0 of an orthonormal DCT is sqrt(n) times the mean level in dB.
    """
    level_db = mfcc[:, 0].astype(np.float32) / np.sqrt(mfcc.shape[1])
    loud = np.flatnonzero(level_db > np.percentile(level_db, 95) - TRIM_DB)
    return int(loud[0]), int(loud[-1]) + 1


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How often each random choice is made when an example is drawn."""

    clean: float = 0.4
    """The clip as it is, rather than through a random line."""
    whole: float = 0.2
    """With its leading and trailing silence."""
    alone: float = 0.6
    """Normalised over this utterance alone, rather than over what the speaker says in the "call": the network
    must serve single files and whole calls."""
    crop: float = 0.5
    """A random stretch of it rather than all."""


@dataclass(kw_only=True)
class Batches:
    """Random training batches over some clips of a bank; batch b of epoch e is always the same."""

    bank: Bank
    members: NDArray[np.int64]
    """Indices into `bank.clips` of the clips to train on."""
    targets: Floats
    """Shape (len(members), 7)."""
    embeddings: Floats
    """Shape (len(members), d): what the auxiliary head is to match; rows may be NaN (not known)."""
    batch_size: int
    draw: Draw
    seed: int
    _spans: list[tuple[float, float]] = field(init=False)
    _sums: list[tuple[Floats, Floats, Floats]] = field(init=False)
    _peers: dict[str, NDArray[np.int64]] = field(init=False)
    _draw_weight: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        clips = [self.bank.clips[index] for index in self.members]
        labels = label_indices(clips)
        class_size = np.bincount(labels, minlength=len(EMOTIONS)).astype(float)
        weight = np.array([CORPUS_WEIGHT.get(clip.corpus, 1.0) for clip in clips]) / np.sqrt(
            class_size[labels]
        )
        self._draw_weight = weight / weight.sum()
        self._spans = []
        for index in self.members:
            clean = self.bank.frames[0][index]
            start, stop = speech_span(clean)
            self._spans.append((start / len(clean), stop / len(clean)))
        self._sums = [self._moments(version) for version in range(self.bank.versions)]
        speakers = np.array([clip.speaker for clip in clips])
        self._peers = {name: np.flatnonzero(speakers == name) for name in np.unique(speakers)}

    def _moments(self, version: int) -> tuple[Floats, Floats, Floats]:
        """Frame count, sum and sum of squares of each member's speech in one version."""
        speech = [self._speech(version, member) for member in range(len(self.members))]
        count = np.array([len(frames) for frames in speech], dtype=np.float32)
        total = np.stack([frames.sum(axis=0) for frames in speech])
        square = np.stack([(frames**2).sum(axis=0) for frames in speech])
        return count, total, square

    def _speech(self, version: int, member: int) -> Floats:
        frames = self.bank.frames[version][self.members[member]]
        start, stop = self._spans[member]
        span = frames[int(start * len(frames)) : max(1, round(stop * len(frames)))]
        return np.asarray(span, dtype=np.float32)

    def _example(self, member: int, rng: np.random.Generator) -> Floats:
        """One normalised crop, shape (frames, n_mfcc)."""
        draw = self.draw
        version = 0 if rng.random() < draw.clean else int(rng.integers(1, self.bank.versions))
        if rng.random() < draw.whole:
            frames = self.bank.frames[version][self.members[member]].astype(np.float32)
        else:
            frames = self._speech(version, member)
        if rng.random() < draw.alone:
            out = normalize(frames, frames)
        else:
            peers = self._peers[self.bank.clips[self.members[member]].speaker]
            some = np.append(rng.choice(peers, size=min(len(peers), int(rng.integers(2, 16)))), member)
            count, total, square = (moment[some].sum(axis=0) for moment in self._sums[version])
            mean = total / count
            out = (frames - mean) / np.maximum(np.sqrt(np.maximum(square / count - mean**2, 0.0)), 1e-3)
        length = len(out)
        if rng.random() < draw.crop and length > MIN_FRAMES:
            length = int(rng.integers(MIN_FRAMES, length + 1))
        length = min(length, MAX_FRAMES)
        start = int(rng.integers(len(out) - length + 1))
        return spec_augment(np.asarray(out[start : start + length], dtype=np.float32), rng)

    def batch(self, epoch: int, index: int) -> tuple[tuple[Floats, Floats], Floats, Floats]:
        """(frames, spans), targets, embeddings of one batch; see `callmood.emotion.network`."""
        rng = np.random.default_rng((self.seed, epoch, index))
        drawn = rng.choice(len(self.members), size=self.batch_size, p=self._draw_weight)
        # Keras takes the shapes that it expects from the first two batches: were these of one length by
        # chance, any other length would be refused. No batch is as long as this one.
        at_least = MAX_FRAMES + STRIDE if index == 0 else 0
        return (
            collate([self._example(member, rng) for member in drawn], at_least=at_least),
            self.targets[drawn],
            self.embeddings[drawn],
        )


def spec_augment(frames: Floats, rng: np.random.Generator) -> Floats:
    """Hide up to two stretches of time, and drop random coefficients (SpecAugment, Park et al. 2019).

    The masks over frequency become masks over cepstral coefficients here.
    """
    for _ in range(2):
        width = int(rng.integers(0, max(2, len(frames) // 6)))
        start = int(rng.integers(len(frames) - width + 1))
        frames[start : start + width] = 0.0
    width = int(rng.integers(0, 6))
    start = int(rng.integers(1, frames.shape[1] - width + 1))
    frames[:, start : start + width] = 0.0
    return frames


def collate(examples: Sequence[Floats], *, at_least: int = 0) -> tuple[Floats, Floats]:
    """Zero-padded frames, shape (n, longest, n_mfcc), and one span per example, shape (n, 1, longest / STRIDE);
    `longest` is no less than `at_least`."""
    longest = -(-max(at_least, *(len(frames) for frames in examples)) // STRIDE) * STRIDE
    frames = np.zeros((len(examples), longest, examples[0].shape[1]), dtype=np.float32)
    spans = np.zeros((len(examples), 1, longest // STRIDE), dtype=np.float32)
    for row, example in enumerate(examples):
        frames[row, : len(example)] = example
        spans[row, 0, : -(-len(example) // STRIDE)] = 1.0
    return frames, spans
