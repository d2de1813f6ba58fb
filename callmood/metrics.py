"""Accuracy figures of predicted probabilities, with intervals from a bootstrap over speakers or calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.types import Floats

FOUR_CLASSES = ("angry", "happy", "neutral", "sad")
"""The classes that most published figures of speech emotion are about."""
BOOTSTRAPS = 1000
ECE_BINS = 15
LOG_TEMPERATURES = (-1.5, 1.5)
"""Natural logarithms of the lowest and the highest temperature that is tried."""


def expected_calibration_error(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017), weighted by size."""
    confidence, accuracy, clips = calibration_bins(probabilities, labels)
    return float(np.abs(confidence - accuracy) @ clips / clips.sum())


def calibration_bins(
    probabilities: Floats, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Mean confidence, accuracy and number of clips of each of the `ECE_BINS` bins that holds any, in order."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    clips = np.bincount(bins)
    held = clips > 0
    confidences, hits = np.bincount(bins, weights=confidence), np.bincount(bins, weights=correct)
    return confidences[held] / clips[held], hits[held] / clips[held], clips[held]


def restricted(probabilities: Floats, classes: Sequence[int]) -> Floats:
    """Probabilities if the answer is known to be one of `classes`, shape (n, 7): the others are 0, rows sum to 1."""
    kept = np.zeros_like(probabilities)
    # The least that can be, so that the answer is one of `classes` even where all of them have 0.
    kept[:, classes] = np.maximum(probabilities[:, classes], np.finfo(np.float32).tiny)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True), dtype=np.float32)


def point_figures(probabilities: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, UAR and macro-F1 over the classes present, and ECE; all seven outputs compete for every clip."""
    classes = probabilities.shape[1]
    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    truths, guesses = np.bincount(labels, minlength=classes), np.bincount(predicted, minlength=classes)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    return {
        "accuracy": float(np.mean(predicted == labels)),
        "uar": float(np.mean((hits / np.maximum(truths, 1))[present])),
        "macro_f1": float(np.mean((2 * hits / np.maximum(truths + guesses, 1))[present])),
        "ece": expected_calibration_error(probabilities, labels),
    }


def all_figures(probabilities: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """`point_figures`, and Cohen's kappa, the areas under the curve and the recall of each class present.

    `auc` is the mean of the areas of the classes present, each against all others (`auc_angry` that of anger
    alone); `recall_angry`, ... are there for the classes present. What is not defined, such as an area where
    there is one class only, is NaN.
    """
    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    areas = [area_under_curve(probabilities[:, c], labels == c) for c in present]
    anger = EMOTIONS.index("angry")
    return {
        **point_figures(probabilities, labels),
        "kappa": cohens_kappa(predicted, labels),
        "auc": float(np.mean(areas)),
        "auc_angry": area_under_curve(probabilities[:, anger], labels == anger),
        **{f"recall_{EMOTIONS[c]}": float(np.mean(predicted[labels == c] == c)) for c in present},
    }


def area_under_curve(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, a tie counting half; NaN without either.

    Examples
    --------
    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    from scipy.stats import rankdata

    positives = int(positive.sum())
    pairs = positives * (len(positive) - positives)
    if pairs == 0:
        return float("nan")
    above = rankdata(scores)[positive].sum() - positives * (positives + 1) / 2
    return float(above / pairs)


def cohens_kappa(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Agreement beyond chance (Cohen 1960); NaN where both name the same single class throughout."""
    classes = int(max(predicted.max(), labels.max())) + 1
    chance = float(
        np.bincount(predicted, minlength=classes) @ np.bincount(labels, minlength=classes) / len(labels) ** 2
    )
    return float((np.mean(predicted == labels) - chance) / (1.0 - chance)) if chance < 1.0 else float("nan")


def rates(decided: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Sensitivity, specificity and their mean, the balanced accuracy; NaN where a class is absent."""
    sensitivity = float(np.mean(decided[true])) if true.any() else float("nan")
    specificity = float(np.mean(~decided[~true])) if (~true).any() else float("nan")
    return {
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }


def interval_95(
    point: Callable[[NDArray[np.intp]], Mapping[str, float]], groups: Sequence[str], *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the figures that `point` gives of rows, from a bootstrap over groups of rows.

    It draws groups with replacement (rows where there is only one group). A figure is left out of the draws in
    which it is not defined; one that no draw defines has the interval (NaN, NaN).
    """
    names = np.array(groups)
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    if len(members) == 1:
        members = [np.array([row]) for row in members[0]]
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(BOOTSTRAPS):
        rows = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        for name, value in point(rows).items():
            drawn.setdefault(name, []).append(value)
    return {name: _middle_95(np.array(values)) for name, values in drawn.items()}


def _middle_95(values: NDArray[np.float64]) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    return float(np.percentile(defined, 2.5)), float(np.percentile(defined, 97.5))


def with_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities of a model of temperature 1 as a model of another temperature gives them."""
    powered = np.maximum(probabilities, 1e-12) ** (1.0 / temperature)
    return np.asarray(powered / powered.sum(axis=1, keepdims=True), dtype=np.float32)


def best_temperature(
    probabilities: Floats, labels: NDArray[np.int64], *, pooled: Callable[[Floats], Floats] | None = None
) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017).

    Parameters
    ----------
    probabilities
        Shape (n, 7).
    labels
        Shape (m,); m = n unless `pooled` is given.
    pooled
        Makes the m answers, shape (m, 7), of the n rows with the temperature applied, where an answer is made of
        several rows.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        calibrated = with_temperature(probabilities, float(np.exp(log_temperature)))
        answers = calibrated if pooled is None else pooled(calibrated)
        return float(-np.log(answers[np.arange(len(labels)), labels] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def figures(
    probabilities: Floats, labels: NDArray[np.int64], speakers: Sequence[str], *, seed: int = 0
) -> dict[str, Any]:
    """Point figures with 95 % intervals, recall per class and the confusion matrix.

    The bootstrap draws speakers with replacement (clips where there is only one speaker).
    """
    drawn = interval_95(lambda rows: point_figures(probabilities[rows], labels[rows]), speakers, seed=seed)
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    return {
        "clips": len(labels),
        "speakers": len(set(speakers)),
        **point_figures(probabilities, labels),
        "interval_95": {name: list(interval) for name, interval in drawn.items()},
        "recall": {EMOTIONS[c]: float(confusion[c, c] / confusion[c].sum()) for c in np.unique(labels)},
        "confusion": confusion.tolist(),
    }
