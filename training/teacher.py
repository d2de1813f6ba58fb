"""Knowledge distilled from Whisper-small activations; a tool of training, nothing of it ships."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.errors import UsageError
from callmood.types import Floats
from training.cache import built_whole
from training.corpora import Clip, label_indices

log = logging.getLogger("training")

EMBEDDING_SIZE = 128
WHOLE_S = 30.0
"""Step of a file that holds one mean over each clip: no clip is longer than Whisper's window."""


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """What the teacher says along each of n clips, d numbers in every step of `step_s` seconds."""

    sums: tuple[Floats, ...]
    """Of each clip, shape (steps + 1, d): sums of its first 0, 1, ... steps; no steps where nothing is known."""
    step_s: float

    @classmethod
    def of_steps(cls, steps: Sequence[Floats], *, step_s: float) -> Tracks:
        """From the values themselves, shape (steps, d) for each clip."""
        sums = tuple(np.cumsum(np.pad(rows, ((1, 0), (0, 0))), axis=0, dtype=np.float32) for rows in steps)
        return cls(sums=sums, step_s=step_s)

    @classmethod
    def unknown(cls, clips: int) -> Tracks:
        """Of no teacher at all; d = 1."""
        return cls.of_steps([np.zeros((0, 1), dtype=np.float32)] * clips, step_s=WHOLE_S)

    @property
    def size(self) -> int:
        """d."""
        return int(self.sums[0].shape[1])

    def total(self, clip: int, start_s: float, stop_s: float) -> tuple[Floats, float]:
        """Integral of a clip's values from `start_s` to `stop_s`, shape (d,), and over how many steps."""
        sums = self.sums[clip]
        first, last = (min(time / self.step_s, len(sums) - 1) for time in (start_s, stop_s))
        return self._at(sums, last) - self._at(sums, first), last - first

    @staticmethod
    def _at(sums: Floats, step: float) -> Floats:
        low = min(int(step), max(len(sums) - 2, 0))
        if low == len(sums) - 1:
            return np.asarray(sums[low])
        return np.asarray(sums[low] + (step - low) * (sums[low + 1] - sums[low]))


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What the teacher knows of n clips."""

    probabilities: Floats
    """Shape (n, 7), from a classifier that never heard the clip's fold; NaN for clips without activations."""
    embeddings: Tracks
    """EMBEDDING_SIZE principal components of the activations; means over clips have the mean variance 1."""


def learn_teacher(
    clips: Sequence[Clip],
    activations: Path,
    *,
    speech_s: Sequence[tuple[float, float]],
    fold_of: NDArray[np.int64],
    cache: Path,
) -> Teacher:
    """Fit logistic regressions on the activations of training clips, and tell each clip's probabilities
    by the one that was fitted without the clip's fold.

    Parameters
    ----------
    clips
        Training clips only; the teacher learns from nothing else.
    activations
        `.npz` of `training.activations`, or one with `clip` (manifest file names), `layer6_mean` and `layer8_mean`,
        shape (n, 768).
    speech_s
        Where the speech of each clip begins and ends, in seconds.
    fold_of
        Shape (len(clips),): the fold of each clip's speaker.
    """
    if not activations.is_file():
        raise UsageError(
            f"{activations}: not there; name the teacher's activations with --teacher, or do without with --no-teacher."
        )
    sources = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (activations, Path(__file__))]
    key = json.dumps([[(clip.file, clip.emotion) for clip in clips], speech_s, fold_of.tolist(), sources])
    stored = cache / f"teacher-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not stored.exists():
        _learn(clips, activations, speech_s, fold_of, stored)
    with np.load(stored, allow_pickle=False) as arrays:
        steps = np.split(arrays["embeddings"], np.cumsum(arrays["steps"])[:-1])
        return Teacher(
            probabilities=arrays["probabilities"],
            embeddings=Tracks.of_steps(steps, step_s=float(arrays["step_s"])),
        )


def _read(activations: Path, clips: Sequence[Clip]) -> tuple[list[NDArray[np.float16]], float]:
    """Activations of each clip, shape (steps, width), without steps where there are none; seconds of a step."""
    try:
        with np.load(activations, allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["clip"]]
            if "steps" in arrays:
                values, counts, step_s = arrays["activations"], arrays["steps"], float(arrays["step_s"])
            else:
                values = np.concatenate([arrays["layer6_mean"], arrays["layer8_mean"]], axis=1)
                counts, step_s = np.ones(len(values), dtype=np.int64), WHOLE_S
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{activations}: holds no activations ({error}); make the file with training.activations."
        ) from error
    rows = dict(zip(names, np.split(values, np.cumsum(counts)[:-1]), strict=True))
    nothing = np.zeros((0, values.shape[1]), dtype=np.float16)
    return [rows.get(clip.file, nothing) for clip in clips], step_s


def _learn(
    clips: Sequence[Clip],
    activations: Path,
    speech_s: Sequence[tuple[float, float]],
    fold_of: NDArray[np.int64],
    stored: Path,
) -> None:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps, step_s = _read(activations, clips)
    known = np.array([len(rows) > 0 for rows in steps])
    for corpus in sorted({clip.corpus for clip in clips}):
        own = np.array([clip.corpus == corpus for clip in clips])
        log.info("%s: the teacher knows %d of %d clips", corpus, known[own].sum(), own.sum())
    if known.sum() < 2 * EMBEDDING_SIZE or len(np.unique(fold_of[known])) < 2:
        raise UsageError(
            f"{activations}: holds {known.sum()} of the training clips, of {len(np.unique(fold_of[known]))} folds of "
            "speakers, which is too few to learn from; train with --no-teacher."
        )
    labels = label_indices(clips)
    means = np.zeros((len(clips), steps[0].shape[1]), dtype=np.float32)
    for clip in np.flatnonzero(known).tolist():
        track = Tracks.of_steps([steps[clip].astype(np.float32)], step_s=step_s)
        total, count = track.total(0, *speech_s[clip])
        means[clip] = total / count
    probabilities = np.full((len(clips), len(EMOTIONS)), np.nan, dtype=np.float32)
    for fold in np.unique(fold_of):
        learn, tell = known & (fold_of != fold), known & (fold_of == fold)
        if not tell.any():
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=200, tol=1e-3))
        model.fit(means[learn], labels[learn])
        row = np.zeros((int(tell.sum()), len(EMOTIONS)), dtype=np.float32)
        row[:, model.classes_] = model.predict_proba(means[tell])
        probabilities[tell] = row
    components = make_pipeline(StandardScaler(), PCA(EMBEDDING_SIZE, random_state=0))
    scale = components.fit_transform(means[known]).std()
    embeddings = [
        components.transform(rows) / scale if len(rows) else np.zeros((0, EMBEDDING_SIZE)) for rows in steps
    ]
    with built_whole(stored) as partial:
        np.savez(
            partial,
            probabilities=probabilities,
            embeddings=np.concatenate(embeddings).astype(np.float32),
            steps=[len(rows) for rows in embeddings],
            step_s=step_s,
        )
