"""Batches: from the feature bank to network inputs, with the random choices that training makes on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.network import STRIDE
from callmood.emotions import EMOTIONS
from callmood.features import network_input
from callmood.types import Floats
from training.corpora import label_indices
from training.features import Bank
from training.teacher import Tracks
from training.warp import warp_matrices

TRIM_DB = 30.0
"""Leading and trailing frames this far below the clip's loud frames are silence."""
MIN_FRAMES = 64
"""Shortest crop: 0.8 s."""
MAX_FRAMES = 400
"""Longest example: 5 s."""
MARGIN_FRAMES = 28
"""Longest silence before and after the speech: 0.35 s."""
LABELLED = 2
"""Spans of an example that bear a label."""
DETAIL_FRAMES = (32, 64)
"""Shortest and longest window in which only the teacher's embedding is to be matched: 0.4 to 0.8 s."""
CORPUS_WEIGHT = {"crema-d": 1.0, "ravdess": 2.0, "tess": 0.4, "savee": 2.0}
"""How often a clip is drawn, relative to others: many speakers count for more than many clips."""
EQUALIZER_STD = np.array([0.0, 13.0, 9.0, 7.0, 5.0, 4.0], dtype=np.float32)
"""Standard deviation of the random offsets of the first coefficients; 13 on C1 is a tilt of 3 dB either way."""


def speech_span(mfcc: NDArray[np.floating[Any]], *, n_mels: int) -> tuple[int, int]:
    """First and one-past-last frame of a clean clip, shape (frames, any) with C0 first, that are not silence.

    C0 of an orthonormal DCT over `n_mels` bands is sqrt(n_mels) times their mean level in dB.
    """
    level_db = mfcc[:, 0].astype(np.float32) / np.sqrt(n_mels)
    loud = np.flatnonzero(level_db > np.percentile(level_db, 95) - TRIM_DB)
    return int(loud[0]), int(loud[-1]) + 1


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How often, or how much, each random choice is made when an example is drawn."""

    clean: float = 0.4
    """The clip as it is, rather than through a random line."""
    alone: float = 0.6
    """Normalised over this utterance alone, rather than over what the speaker says in the "call": the network
    must serve single files and whole calls."""
    crop: float = 0.4
    """A random stretch of it rather than all."""
    joined: float = 0.15
    """Two utterances of the speaker, one after the other, each with its own label."""
    stretch: float = 0.15
    """Tempo changes by up to this share either way."""
    warp: float = 0.12
    """The frequency axis of utterances that are normalised alone is stretched by up to this share either way (vocal
    tract length perturbation)."""
    equalizer: float = 1.0
    """Scale of the random offsets of the spectral envelope."""
    mixup: float = 0.0
    """Share of the batches whose examples are mixed in pairs (Zhang et al. 2018)."""
    details: int = 0
    """Short windows of each example in which only the teacher's embedding is to be matched."""
    masks: int = 2
    """Stretches of time that are hidden, and coefficients with them (SpecAugment, Park et al. 2019)."""


@dataclass(frozen=True)
class _Part:
    """A stretch of one clip: frames [start, stop) of the bank, `length` frames once its tempo is changed."""

    member: int
    start: int
    stop: int
    length: int


@dataclass(frozen=True)
class _Example:
    version: int
    alone: bool
    parts: tuple[_Part, ...]
    crop: tuple[int, int]
    """First and one-past-last frame of the joined parts that the network hears."""

    @property
    def length(self) -> int:
        return self.crop[1] - self.crop[0]


@dataclass(kw_only=True)
class Batches:
    """Random training batches over some clips of a bank; batch b of epoch e is always the same.

    The examples of an epoch are sorted by length into batches, so that little of a batch is padding. Every
    example has two spans with a label, all of it and a random window or the two utterances that it joins, and
    `draw.details` short windows in which only the teacher's embedding is to be matched.
    """

    bank: Bank
    members: NDArray[np.int64]
    """Indices into `bank.clips` of the clips to train on."""
    targets: Floats
    """Shape (len(members), 7)."""
    embeddings: Tracks
    """Of each member: what the auxiliary head is to match."""
    batch_size: int
    batches_per_epoch: int
    draw: Draw
    seed: int
    _spans: list[tuple[float, float]] = field(init=False)
    _sums: list[tuple[Floats, Floats, Floats]] = field(init=False)
    _speaker: NDArray[np.int64] = field(init=False)
    _peers: list[NDArray[np.int64]] = field(init=False)
    _draw_weight: NDArray[np.float64] = field(init=False)
    _warps: Floats | None = field(init=False)
    _epoch: int = field(init=False, default=-1)
    _plan: list[list[_Example]] = field(init=False)

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
            start, stop = speech_span(clean, n_mels=self.bank.front_end.n_mels)
            self._spans.append((start / len(clean), stop / len(clean)))
        self._sums = [self._moments(version) for version in range(self.bank.versions)]
        _, self._speaker = np.unique([clip.speaker for clip in clips], return_inverse=True)
        self._peers = [np.flatnonzero(self._speaker == index) for index in range(self._speaker.max() + 1)]
        self._warps = warp_matrices(self.bank.front_end, reach=self.draw.warp) if self.draw.warp else None

    def _moments(self, version: int) -> tuple[Floats, Floats, Floats]:
        """Frame count, sum and sum of squares of each member's speech in one version."""
        speech = []
        for member, index in enumerate(self.members):
            start, stop = self._speech(version, member)
            speech.append(self.bank.frames[version][index][start:stop].astype(np.float32))
        count = np.array([len(frames) for frames in speech], dtype=np.float32)
        total = np.stack([frames.sum(axis=0) for frames in speech])
        square = np.stack([(frames**2).sum(axis=0) for frames in speech])
        return count, total, square

    def _speech(self, version: int, member: int) -> tuple[int, int]:
        """First and one-past-last frame of a member's speech in one version."""
        length = len(self.bank.frames[version][self.members[member]])
        start, stop = self._spans[member]
        first = min(int(start * length), length - 1)
        return first, max(first + 1, round(stop * length))

    def _part(self, version: int, member: int, rng: np.random.Generator) -> _Part:
        length = len(self.bank.frames[version][self.members[member]])
        start, stop = self._speech(version, member)
        start = max(0, start - int(rng.integers(MARGIN_FRAMES + 1)))
        stop = min(length, stop + int(rng.integers(MARGIN_FRAMES + 1)))
        tempo = rng.uniform(1 - self.draw.stretch, 1 + self.draw.stretch)
        return _Part(member, start, stop, max(1, round((stop - start) * tempo)))

    def _draw_example(self, member: int, rng: np.random.Generator) -> _Example:
        draw = self.draw
        version = 0 if rng.random() < draw.clean else int(rng.integers(1, self.bank.versions))
        parts = [self._part(version, member, rng)]
        if rng.random() < draw.joined:
            peers = self._peers[self._speaker[member]]
            parts.append(self._part(version, int(rng.choice(peers)), rng))
        length = sum(part.length for part in parts)
        wanted = min(length, MAX_FRAMES)
        if len(parts) == 1 and rng.random() < draw.crop and length > MIN_FRAMES:
            wanted = int(rng.integers(MIN_FRAMES, wanted + 1))
        # Too long a pair loses its ends, not its boundary.
        middle = parts[0].length - wanted // 2
        first = int(rng.integers(length - wanted + 1)) if len(parts) == 1 else middle
        first = min(max(first, 0), length - wanted)
        return _Example(version, rng.random() < draw.alone, tuple(parts), (first, first + wanted))

    def plan(self, epoch: int) -> None:
        """Draw the examples of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        count = self.batch_size * self.batches_per_epoch
        members = rng.choice(len(self.members), size=count, p=self._draw_weight)
        examples = [self._draw_example(int(member), rng) for member in members]
        examples.sort(key=lambda example: example.length)
        batches = [examples[start : start + self.batch_size] for start in range(0, count, self.batch_size)]
        self._plan = [batches[index] for index in rng.permutation(len(batches))]
        self._epoch = epoch

    def _frames(self, example: _Example, rng: np.random.Generator) -> Floats:
        """What the network hears of an example, shape (frames, 2 * n_mfcc)."""
        frames = np.concatenate([self._tempo(example.version, part) for part in example.parts])
        offset = self.draw.equalizer * EQUALIZER_STD * rng.normal(size=len(EQUALIZER_STD))
        if example.alone:
            if self._warps is not None:
                frames = frames @ self._warps[int(rng.integers(len(self._warps)))]
            mean, std = frames.mean(axis=0), frames.std(axis=0)
        else:
            member = example.parts[0].member
            peers = self._peers[self._speaker[member]]
            some = np.append(rng.choice(peers, size=min(len(peers), int(rng.integers(2, 16)))), member)
            count, total, square = (moment[some].sum(axis=0) for moment in self._sums[example.version])
            mean = total / count
            std = np.sqrt(np.maximum(square / count - mean**2, 0.0))
        for reference in (frames, mean):
            reference[..., : len(offset)] += offset
        hide(frames, mean, self.draw.masks, rng)
        return network_input(frames[slice(*example.crop)], mean, std)

    def _tempo(self, version: int, part: _Part) -> Floats:
        """Frames of a part at its new tempo, by linear interpolation; shape (part.length, n_mfcc)."""
        frames = self.bank.frames[version][self.members[part.member]][part.start : part.stop]
        frames = frames.astype(np.float32)
        if part.length == len(frames):
            return np.asarray(frames)
        at = np.linspace(0, len(frames) - 1, part.length, dtype=np.float32)
        low = np.minimum(at.astype(int), max(len(frames) - 2, 0))
        share = (at - low)[:, None]
        return np.asarray(frames[low] * (1 - share) + frames[np.minimum(low + 1, len(frames) - 1)] * share)

    def batch(self, epoch: int, index: int) -> tuple[tuple[Floats, Floats], Floats, Floats]:
        """(frames, spans), targets, embeddings of one batch; see `callmood.emotion.network`.

        Targets have the shape (batch, spans, 7) and embeddings (batch, spans, d), NaN where the teacher knows nothing;
        the targets of the last `draw.details` are zero.
        """
        if epoch != self._epoch:
            self.plan(epoch)
        rng = np.random.default_rng((self.seed, epoch, index))
        examples = self._plan[index]
        stretches = [self._spans_of(example, rng) for example in examples]
        frames, spans = collate(
            [self._frames(example, rng) for example in examples],
            stretches,
            # Keras takes the shapes that it expects from the first two batches: were these of one length by
            # chance, any other length would be refused. No batch is as long as this one.
            at_least=MAX_FRAMES + STRIDE if index == 0 else 0,
        )
        pairs = np.array([[example.parts[0].member, example.parts[-1].member] for example in examples])
        targets = np.pad(self.targets[pairs], ((0, 0), (0, self.draw.details), (0, 0)))
        embeddings = np.stack(
            [
                [self._embedding(example, start, stop) for start, stop in rows]
                for example, rows in zip(examples, stretches, strict=True)
            ]
        )
        if rng.random() < self.draw.mixup:
            share = np.float32(rng.beta(0.4, 0.4))
            other = rng.permutation(len(examples))
            frames = share * frames + (1 - share) * frames[other]
            spans = np.maximum(spans, spans[other])
            targets = share * targets + (1 - share) * targets[other]
            embeddings = share * embeddings + (1 - share) * embeddings[other]
        return (frames, spans), targets, embeddings

    def _spans_of(self, example: _Example, rng: np.random.Generator) -> list[tuple[int, int]]:
        """First and one-past-last frame of each span of an example."""

        def window(shortest: int, longest: int) -> tuple[int, int]:
            width = int(rng.integers(min(shortest, length), min(longest, length) + 1))
            start = int(rng.integers(length - width + 1))
            return start, start + width

        length = example.length
        labelled = [(0, length), window(MIN_FRAMES, length)]
        if len(example.parts) == 2:
            boundary = min(max(example.parts[0].length - example.crop[0], 1), length - 1)
            labelled = [(0, boundary), (boundary, length)]
        return labelled + [window(*DETAIL_FRAMES) for _ in range(self.draw.details)]

    def _embedding(self, example: _Example, start: int, stop: int) -> Floats:
        """The teacher's mean over frames [start, stop) of what the network hears, shape (d,); NaN if not known."""
        total, steps = np.zeros(self.embeddings.size, dtype=np.float32), 0.0
        begin = -example.crop[0]
        for part in example.parts:
            first, last = (min(max(frame - begin, 0), part.length) for frame in (start, stop))
            begin += part.length
            if first < last:
                seconds = (
                    self._clip_s(example.version, part, first),
                    self._clip_s(example.version, part, last),
                )
                of_part, count = self.embeddings.total(part.member, *seconds)
                total, steps = total + of_part, steps + count
        return total / steps if steps > 1e-3 else np.full_like(total, np.nan)

    def _clip_s(self, version: int, part: _Part, frame: int) -> float:
        """Where in its clip, as it was recorded, a frame of a part lies, in seconds."""
        index = self.members[part.member]
        of_clip, heard = (len(self.bank.frames[which][index]) for which in (0, version))
        at = part.start + (part.stop - part.start) * frame / part.length
        return at * of_clip / heard / self.bank.front_end.frames_per_s


def hide(frames: Floats, mean: Floats, masks: int, rng: np.random.Generator) -> None:
    """Put the mean in place of up to `masks` stretches of time, and of a band of coefficients, of `frames`."""
    for _ in range(masks):
        width = int(rng.integers(0, max(2, len(frames) // 6)))
        start = int(rng.integers(len(frames) - width + 1))
        frames[start : start + width] = mean
    if masks:
        width = int(rng.integers(0, 6))
        start = int(rng.integers(1, frames.shape[1] - width + 1))
        frames[:, start : start + width] = mean[start : start + width]


def collate(
    examples: Sequence[Floats], spans: Sequence[Sequence[tuple[int, int]]], *, at_least: int = 0
) -> tuple[Floats, Floats]:
    """Zero-padded frames, shape (n, longest, inputs), and masks of the spans, shape (n, spans, longest / STRIDE);
    `longest` is no less than `at_least`."""
    longest = -(-max(at_least, *(len(frames) for frames in examples)) // STRIDE) * STRIDE
    frames = np.zeros((len(examples), longest, examples[0].shape[1]), dtype=np.float32)
    masks = np.zeros((len(examples), len(spans[0]), longest // STRIDE), dtype=np.float32)
    for row, (example, rows) in enumerate(zip(examples, spans, strict=True)):
        frames[row, : len(example)] = example
        for span, (first, last) in enumerate(rows):
            masks[row, span, first // STRIDE : -(-last // STRIDE)] = 1.0
    return frames, masks
