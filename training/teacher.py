"""Knowledge distilled from Whisper-small activations; a tool of training, nothing of it ships."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.errors import UsageError
from callmood.types import Floats
from training.corpora import Clip, label_indices

EMBEDDING_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What the teacher knows of n clips; rows are NaN for clips without activations."""

    probabilities: Floats
    """Shape (n, 7), from a classifier that never heard the clip's fold."""
    embeddings: Floats
    """Shape (n, EMBEDDING_SIZE): principal components of the activations, of mean variance 1."""


def learn_teacher(
    clips: Sequence[Clip], activations: Path, *, fold_of: NDArray[np.int64], cache: Path
) -> Teacher:
    """Fit logistic regressions on the activations of training clips, and tell each clip's probabilities
    by the one that was fitted without the clip's fold.

    Parameters
    ----------
    clips
        Training clips only; the teacher learns from nothing else.
    activations
        `.npz` with `clip` (manifest file names), `layer6_mean` and `layer8_mean`, shape (n, 768).
    fold_of
        Shape (len(clips),): the fold of each clip's speaker.
    """
    if not activations.is_file():
        raise UsageError(
            f"{activations}: not there; name the teacher's activations with --teacher, or do without with --no-teacher."
        )
    source = hashlib.sha256(activations.read_bytes()).hexdigest()
    key = json.dumps(
        [[(clip.file, clip.emotion) for clip in clips], fold_of.tolist(), EMBEDDING_SIZE, source]
    )
    stored = cache / f"teacher-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not stored.exists():
        teacher = _learn(clips, activations, fold_of)
        partial = stored.with_suffix(".partial.npz")
        np.savez(partial, probabilities=teacher.probabilities, embeddings=teacher.embeddings)
        partial.replace(stored)
    with np.load(stored, allow_pickle=False) as arrays:
        return Teacher(probabilities=arrays["probabilities"], embeddings=arrays["embeddings"])


def _learn(clips: Sequence[Clip], activations: Path, fold_of: NDArray[np.int64]) -> Teacher:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with np.load(activations, allow_pickle=False) as arrays:
        row_of = {str(name): row for row, name in enumerate(arrays["clip"])}
        layers = np.concatenate([arrays["layer6_mean"], arrays["layer8_mean"]], axis=1).astype(np.float32)
    rows = np.array([row_of.get(clip.file, -1) for clip in clips])
    known = rows >= 0
    if known.sum() < 2 * EMBEDDING_SIZE or len(np.unique(fold_of[known])) < 2:
        raise UsageError(
            f"{activations}: holds {known.sum()} of the training clips, of {len(np.unique(fold_of[known]))} folds of "
            "speakers, which is too few to learn from; train with --no-teacher."
        )
    labels = label_indices(clips)
    probabilities = np.full((len(clips), len(EMOTIONS)), np.nan, dtype=np.float32)
    for fold in np.unique(fold_of):
        learn, tell = known & (fold_of != fold), known & (fold_of == fold)
        if not tell.any():
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=200, tol=1e-3))
        model.fit(layers[rows[learn]], labels[learn])
        row = np.zeros((int(tell.sum()), len(EMOTIONS)), dtype=np.float32)
        row[:, model.classes_] = model.predict_proba(layers[rows[tell]])
        probabilities[tell] = row
    embeddings = np.full((len(clips), EMBEDDING_SIZE), np.nan, dtype=np.float32)
    components = make_pipeline(StandardScaler(), PCA(EMBEDDING_SIZE, random_state=0))
    projected = components.fit_transform(layers[rows[known]])
    embeddings[known] = projected / projected.std()
    return Teacher(probabilities=probabilities, embeddings=embeddings)
