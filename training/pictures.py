"""Pictures of a model's answers to labelled clips: confusion matrix and reliability diagram, as PNG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.metrics import calibration_bins, expected_calibration_error
from callmood.types import Floats

DOTS_PER_INCH = 150


def confusion_picture(path: Path, confusion: Sequence[Sequence[int]], *, title: str) -> None:
    """Draw a confusion matrix, shape (7, 7) of counts: colours are shares of each row, cells tell the counts.

    Rows are the labels that occur, columns all seven answers.
    """
    import seaborn  # type: ignore[import-untyped]

    counts = np.asarray(confusion)
    present = np.flatnonzero(counts.sum(axis=1))
    rows = counts[present]
    figure = _figure(7.0, 1.8 + 0.6 * len(present))
    axes = figure.add_subplot()
    seaborn.heatmap(
        rows / rows.sum(axis=1, keepdims=True),
        annot=rows,
        fmt="d",
        vmin=0.0,
        vmax=1.0,
        cmap="Blues",
        xticklabels=EMOTIONS,
        yticklabels=[EMOTIONS[c] for c in present],
        cbar_kws={"label": "share of the label's clips"},
        ax=axes,
    )
    axes.set(title=title, xlabel="answer", ylabel="label")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def reliability_picture(path: Path, probabilities: Floats, labels: NDArray[np.int64], *, title: str) -> None:
    """Draw accuracy against confidence in the bins of the calibration error; areas are numbers of clips."""
    confidence, accuracy, clips = calibration_bins(probabilities, labels)
    figure = _figure(5.0, 5.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="calibrated")
    axes.plot(confidence, accuracy, color="C0")
    axes.scatter(
        confidence, accuracy, s=600 * clips / clips.sum(), color="C0", alpha=0.6, label="clips", clip_on=False
    )
    error = expected_calibration_error(probabilities, labels)
    axes.set(
        title=f"{title}, ECE {error:.3f}",
        xlabel="confidence",
        ylabel="share of right answers",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def file_name(kind: str, corpus: str) -> str:
    """Name of a corpus' picture; what a manifest calls a corpus need not be fit for one."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '_', corpus)}.png"


def _figure(width_in: float, height_in: float) -> Any:
    """An empty figure that needs neither a display nor pyplot's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
