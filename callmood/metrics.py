"""Accuracy figures of predicted probabilities, with intervals from a bootstrap over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.types import Floats

BOOTSTRAPS = 1000
ECE_BINS = 15


def expected_calibration_error(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017), weighted by size."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = [
        abs(confidence[bins == b].mean() - correct[bins == b].mean()) * np.mean(bins == b)
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def point_figures(probabilities: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, UAR and macro-F1 over the classes present, and ECE; all seven outputs compete for every clip."""
    from sklearn.metrics import f1_score, recall_score

    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    return {
        "accuracy": float(np.mean(predicted == labels)),
        "uar": float(recall_score(labels, predicted, labels=present, average="macro", zero_division=0)),
        "macro_f1": float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0)),
        "ece": expected_calibration_error(probabilities, labels),
    }


def figures(
    probabilities: Floats, labels: NDArray[np.int64], speakers: Sequence[str], *, seed: int = 0
) -> dict[str, Any]:
    """Point figures with 95 % intervals, recall per class and the confusion matrix.

    The bootstrap draws speakers with replacement (clips where there is only one speaker).
    """
    from sklearn.metrics import confusion_matrix, recall_score

    names = np.array(speakers)
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    if len(groups) == 1:
        groups = [np.array([row]) for row in groups[0]]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(BOOTSTRAPS):
        rows = np.concatenate([groups[g] for g in rng.integers(len(groups), size=len(groups))])
        drawn.append(point_figures(probabilities[rows], labels[rows]))
    present = np.unique(labels)
    predicted = probabilities.argmax(axis=1)
    recalls = recall_score(labels, predicted, labels=present, average=None, zero_division=0)
    return {
        "clips": len(labels),
        "speakers": len(np.unique(names)),
        **point_figures(probabilities, labels),
        "interval_95": {
            name: [float(np.percentile([d[name] for d in drawn], q)) for q in (2.5, 97.5)]
            for name in drawn[0]
        },
        "recall": {EMOTIONS[c]: float(recall) for c, recall in zip(present, recalls, strict=True)},
        "confusion": confusion_matrix(labels, predicted, labels=range(len(EMOTIONS))).tolist(),
    }
