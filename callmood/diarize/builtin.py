"""The embedded diarizer for mono calls: no account, no download, no PyTorch.

Voice activity, then windows of 1.5 s with a speaker embedding (shifts of the means of a universal
background model, projected by LDA: `training/speaker.py`), k-means into speakers, and a re-segmentation in tenths
of a second that adds what each speaker's voice sounds like in this very call.
"""

from __future__ import annotations

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
from callmood.diarize.vad import RATE_HZ, speech_probability, speech_regions
from callmood.errors import ModelError
from callmood.model_files import SPEAKER, verified
from callmood.types import Audio, Floats, Turn

HOP_S = 0.01
_HOP = int(HOP_S * RATE_HZ)
N_FEATURES = 39
"""MFCC 1 to 19 (the zeroth is level, not voice) and the slopes of 0 to 19."""

_WINDOW = 150
"""Frames per window that speakers are found from: 1.5 s."""
_WINDOW_HOP = 50
_MIN_WINDOW = 80
"""Frames below which a region is too short to help in finding the speakers."""
_FINE_WINDOW = 150
"""Frames around each decision when boundaries are drawn,"""
_FINE_HOP = 10
"""with a decision each 0.1 s."""
_RELEVANCE = 2.0
"""Frames' worth of prior in the shift of a mean (MAP adaptation): short windows stay near zero."""
_SWITCH_COST = 10.0
"""What a change of speaker costs, in nats, when boundaries are drawn."""
_FRAME_WEIGHT = 0.1
"""Of a frame's log-likelihood: neighbouring frames say much the same."""
_MIN_VOICE_FRAMES = 200
"""Frames that a speaker needs for a Gaussian: 2 s."""
_COVARIANCE_PRIOR = 1000
_MIN_CLUSTER_WINDOWS = 2
"""A cluster of fewer windows is a cough or a laugh, not a party to the call."""
_TWO_SPEAKERS = 3.6
"""Least distance of two centroids for two speakers, where their number is to be found (see the card)."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SpeakerModel:
    """The trained part: K Gaussians over F features, and a projection to D dimensions."""

    mean: Floats
    """Shape (F,): centre of the features,"""
    scale: Floats
    """Shape (F,): and their spread, both over the training set."""
    weights: Floats
    """Shape (K,), sums to 1."""
    centers: Floats
    """Shape (K, F), of the scaled features."""
    variances: Floats
    """Shape (K, F)."""
    projection: Floats
    """Shape (K * F, D): within-speaker variance is about one in each of the D dimensions."""


def load_model(path: Path) -> SpeakerModel:
    """The weights in `path`. Raises ModelError where they are missing or damaged."""
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as arrays:
            model = SpeakerModel(**{name: arrays[name] for name in SpeakerModel.__dataclass_fields__})
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"The speaker model {path} is missing or damaged; reinstall callmood.") from error
    k, f = model.centers.shape
    shapes = (model.mean.shape, model.weights.shape, model.variances.shape, model.projection.shape[:1])
    if f != N_FEATURES or shapes != ((f,), (k,), (k, f), (k * f,)):
        raise ModelError(f"The speaker model {path} has other shapes than this version; reinstall callmood.")
    return model


class BuiltinDiarizer:
    """Speakers of a one-channel call by their voices."""

    name = "builtin 1"
    by_channel = False

    def __init__(self, *, speakers: int | None = 2, models: str | Path | None = None) -> None:
        """`speakers` is the number of people, None to tell one from two; `models` the folder of the models.

        Raises ModelError where the model is missing, damaged or not the recorded one.
        """
        self._speakers = speakers
        self._model = load_model(verified(SPEAKER, models))

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        """Turns ordered by start; all by one speaker where there is too little speech to tell."""
        require_telephone_rate(audio, RATE_HZ)
        samples = audio.samples[0]
        regions = speech_regions(speech_probability(samples), duration_s=audio.duration_s)
        if not len(regions):
            return ()
        spoken = [_Spoken.of(samples, region, self._model) for region in regions]
        return _turns(spoken, _centroids(spoken, self._model, self._speakers), self._model)


@dataclass(frozen=True)
class _Spoken:
    """One region of speech: shape (n, F) features and (n, K) posteriors of its frames."""

    start_s: float
    end_s: float
    frames: Floats
    posteriors: Floats

    @classmethod
    def of(cls, samples: Floats, region: Regions, model: SpeakerModel) -> _Spoken:
        start_s, end_s = float(region[0]), float(region[1])
        part = np.array(samples[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)], dtype=np.float32)
        frames = (speech_frames(part) - model.mean) / model.scale
        return cls(start_s, end_s, frames, posteriors(frames, model))


def speech_frames(samples: Floats) -> Floats:
    """Features of 8 kHz speech, one row per 10 ms: shape (n,) to (1 + n // 80, 39).

    MFCC of 25 ms in the telephone band, 30 mel bands from 80 to 3700 Hz (librosa's definition).
    """
    import librosa

    mfcc = librosa.feature.mfcc(
        y=samples,
        sr=RATE_HZ,
        n_mfcc=20,
        n_fft=256,
        win_length=200,
        hop_length=_HOP,
        n_mels=30,
        fmin=80,
        fmax=3700,
    ).T
    p = np.pad(mfcc, ((2, 2), (0, 0)), mode="edge")
    slope = (2 * (p[4:] - p[:-4]) + (p[3:-1] - p[1:-3])) / 10
    features: Floats = np.hstack((mfcc[:, 1:], slope)).astype(np.float32)
    return features


def posteriors(frames: Floats, model: SpeakerModel) -> Floats:
    """Probability of each Gaussian of the background model for each (scaled) frame: (n, F) to (n, K)."""
    precision = 1.0 / model.variances
    constant = np.log(model.weights) + 0.5 * np.sum(np.log(precision) - model.centers**2 * precision, axis=1)
    log_p = constant + frames @ (model.centers * precision).T - 0.5 * (frames**2) @ precision.T
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    normalized: Floats = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalized


def supervector(frames: Floats, posterior: Floats, model: SpeakerModel) -> Floats:
    """How far a window's speech shifts the Gaussians' means, in standard deviations: shape (K * F,).

    Comparing each kind of sound with itself is what makes it depend on the voice more than on the words
    (Reynolds et al. 2000, Campbell et al. 2006).
    """
    count = posterior.sum(axis=0)[:, None]
    shift = (posterior.T @ frames - count * model.centers) / (count + _RELEVANCE)
    deviations: Floats = (shift / np.sqrt(model.variances)).astype(np.float32).ravel()
    return deviations


def embed(frames: Floats, posterior: Floats, spans: Ints, model: SpeakerModel) -> Floats:
    """Speaker embeddings of the windows `spans` (w, 2: first and last + 1) of the frames: shape (w, D).

    Euclidean distance tells how different the voices are; any constant of the line is a mere shift.
    """
    shifts = [supervector(frames[a:b], posterior[a:b], model) for a, b in spans]
    embedding: Floats = np.array(shifts, dtype=np.float32) @ model.projection
    return embedding


def _spans(n: int, *, window: int, hop: int) -> Ints:
    """Windows that cover n frames: whole ones each `hop`, one more that ends with the last frame."""
    starts = np.unique(np.append(np.arange(0, max(n - window, 0) + 1, hop), max(n - window, 0)))
    return np.column_stack((starts, np.minimum(starts + window, n)))


def _centroids(spoken: list[_Spoken], model: SpeakerModel, speakers: int | None) -> Floats:
    """One embedding per speaker found, shape (k, D); k = 1 where more cannot be told apart."""
    windows = np.concatenate(
        [
            embed(
                part.frames, part.posteriors, _spans(len(part.frames), window=_WINDOW, hop=_WINDOW_HOP), model
            )
            for part in spoken
            if len(part.frames) >= _MIN_WINDOW
        ]
        or [np.zeros((0, model.projection.shape[1]), dtype=np.float32)]
    )
    wanted = 2 if speakers is None else speakers
    if not len(windows):
        return np.zeros((1, windows.shape[1]), dtype=np.float32)
    label = cluster(windows, wanted)
    centroids: Floats = np.array([windows[label == k].mean(axis=0) for k in range(label.max() + 1)])
    if speakers is None and len(centroids) == 2:
        distance = float(np.linalg.norm(centroids[0] - centroids[1]))
        return centroids if distance >= _TWO_SPEAKERS else windows.mean(axis=0, keepdims=True)
    return centroids


def cluster(windows: Floats, k: int) -> Ints:
    """k-means that does not spend a cluster on an outlier: labels 0..k-1 (-1: left out), shape (w,).

    A cluster of fewer than two windows is set aside and the rest clustered anew. Where too few windows
    are left for k clusters, all are one.
    """
    inside = np.arange(len(windows))
    while k > 1 and len(inside) >= k * _MIN_CLUSTER_WINDOWS:
        found = _kmeans(windows[inside], k)
        sizes = np.bincount(found, minlength=k)
        if sizes.min() >= _MIN_CLUSTER_WINDOWS:
            label = np.full(len(windows), -1)
            label[inside] = found
            return label
        kept = inside[sizes[found] >= _MIN_CLUSTER_WINDOWS]
        if len(kept) == len(inside):  # fewer than k different windows: an empty cluster
            break
        inside = kept
    return np.zeros(len(windows), dtype=np.int64)


def _kmeans(points: Floats, k: int) -> Ints:
    """The tightest of ten k-means clusterings, each begun from points far apart; deterministic."""
    best, least = np.zeros(len(points), dtype=np.int64), np.inf
    for seed in range(10):
        rng = np.random.default_rng(seed)
        centers = points[[rng.integers(len(points))]]
        while len(centers) < k:
            near = _squared_distances(points, centers).min(axis=1) + 1e-12
            centers = np.vstack((centers, points[rng.choice(len(points), p=near / near.sum())]))
        for _ in range(30):
            label = _squared_distances(points, centers).argmin(axis=1)
            centers = np.array(
                [points[label == i].mean(axis=0) if (label == i).any() else centers[i] for i in range(k)]
            )
        distances = _squared_distances(points, centers)
        inertia = float(distances.min(axis=1).sum())
        if inertia < least:
            best, least = distances.argmin(axis=1), inertia
    return best


def _squared_distances(points: Floats, centers: Floats) -> NDArray[np.float64]:
    """Shape (n, k)."""
    squared: NDArray[np.float64] = np.sum((points[:, None] - centers.astype(np.float64)) ** 2, axis=2)
    return squared


def _turns(spoken: list[_Spoken], centroids: Floats, model: SpeakerModel) -> tuple[Turn, ...]:
    """Speech given to the nearest centroid in spells, joined into turns, named by first speech."""
    spells: list[tuple[float, float, int]] = []
    log_p = [_log_likelihood(part, centroids, model) for part in spoken]
    nearness = np.concatenate(log_p)
    path = viterbi(nearness, _SWITCH_COST)
    voices = _voices(spoken, path)
    if voices.shape == nearness.shape:
        path = viterbi(nearness + voices, _SWITCH_COST)
    for part, states in zip(spoken, np.split(path, np.cumsum([len(p) for p in log_p])[:-1]), strict=True):
        changes = np.flatnonzero(np.diff(states)) + 1
        edges = [part.start_s, *(part.start_s + changes * _FINE_HOP * HOP_S), part.end_s]
        for index, state in enumerate(states[np.append(0, changes)]):
            spells.append((float(edges[index]), float(edges[index + 1]), int(state)))
    order = list(dict.fromkeys(state for _, _, state in spells))
    turns = []
    for rank, state in enumerate(order):
        regions = np.array([(a, b) for a, b, s in spells if s == state])
        for start_s, end_s in join_regions(regions, max_pause_s=MAX_PAUSE_S, min_s=MIN_TURN_S):
            turns.append(Turn(speaker=f"S{rank + 1}", channel=0, start_s=float(start_s), end_s=float(end_s)))
    return mark_overlap(turns)


def _log_likelihood(part: _Spoken, centroids: Floats, model: SpeakerModel) -> Floats:
    """Of each speaker for each 0.1 s of a region, from the window around it: shape (steps, k)."""
    n = len(part.frames)
    middle = np.arange(0, n, _FINE_HOP) + _FINE_HOP // 2
    starts = np.clip(middle - _FINE_WINDOW // 2, 0, max(n - _FINE_WINDOW, 0))
    spans = np.column_stack((starts, np.minimum(starts + _FINE_WINDOW, n)))
    away = embed(part.frames, part.posteriors, spans, model)[:, None] - centroids
    nearness: Floats = -0.5 * np.sum(away**2, axis=2)
    return nearness


def _voices(spoken: list[_Spoken], path: Ints) -> Floats:
    """Log-likelihood of each 0.1 s under one Gaussian per speaker of this call: shape (steps, k).

    The Gaussians are those of the frames that `path` gives to each speaker, so this knows line and voice
    as they are today. No columns where a speaker of the path has too few frames to tell.
    """
    steps = [-(-len(part.frames) // _FINE_HOP) for part in spoken]
    labels = [
        np.repeat(states, _FINE_HOP)[: len(part.frames)]
        for part, states in zip(spoken, np.split(path, np.cumsum(steps)[:-1]), strict=True)
    ]
    if np.bincount(np.concatenate(labels)).min() < _MIN_VOICE_FRAMES:
        return np.zeros((len(path), 0), dtype=np.float32)
    everyone = np.cov(np.concatenate([part.frames for part in spoken]).T, dtype=np.float32)
    voices = []
    for speaker in range(path.max() + 1):
        own = np.concatenate(
            [part.frames[label == speaker] for part, label in zip(spoken, labels, strict=True)]
        )
        # A thousand frames' worth of everyone's covariance keeps that of a short voice invertible.
        covariance = np.cov(own.T, dtype=np.float32) * len(own) + everyone * _COVARIANCE_PRIOR
        whiten = np.linalg.inv(np.linalg.cholesky(covariance / (len(own) + _COVARIANCE_PRIOR)))
        center, volume = own.mean(axis=0), np.log(np.diag(whiten)).sum()
        log_p = [volume - 0.5 * np.sum(((part.frames - center) @ whiten.T) ** 2, axis=1) for part in spoken]
        voices.append(
            np.concatenate([np.add.reduceat(p, np.arange(0, len(p), _FINE_HOP)) for p in log_p])
            * _FRAME_WEIGHT
        )
    return np.column_stack(voices).astype(np.float32)


def viterbi(log_p: Floats, switch_cost: float) -> Ints:
    """The best path through states whose change costs `switch_cost`: shape (n, k) to (n,)."""
    best = log_p[0].astype(np.float64)
    came_from = np.zeros(log_p.shape, dtype=np.int64)
    for step in range(1, len(log_p)):
        leader = int(best.argmax())
        stay = best >= best[leader] - switch_cost
        came_from[step] = np.where(stay, np.arange(len(best)), leader)
        best = np.where(stay, best, best[leader] - switch_cost) + log_p[step]
    path = np.empty(len(log_p), dtype=np.int64)
    path[-1] = best.argmax()
    for step in range(len(log_p) - 1, 0, -1):
        path[step - 1] = came_from[step, path[step]]
    return path
