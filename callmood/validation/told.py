"""A validation as a table, as one JSON object, and in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from callmood.emotions import EMOTIONS
from callmood.validation.result import EmotionFigures, EscalationFigures, Figure, Validation

COLUMNS = ("about", "figure", "kind", "value", "low", "high", "after", "after_low", "after_high")
"""`about` is emotion or escalation, `kind` count or figure; `after` is with the refit, on the same calls."""

_NAMES = {
    "uar": "UAR",
    "macro_f1": "macro-F1",
    "kappa": "Cohen's kappa",
    "auc": "AUC",
    "auc_angry": "AUC of anger",
    "ece": "ECE",
    "balanced_accuracy": "balanced accuracy",
}

_Figures = EmotionFigures | EscalationFigures


def rows(validation: Validation) -> Iterator[tuple[Any, ...]]:
    """Rows of `COLUMNS`."""
    refit = validation.refit
    if validation.emotions is not None:
        yield from _part("emotion", validation.emotions, refit.emotions if refit else None)
    if validation.escalation is not None:
        yield from _part("escalation", validation.escalation, refit.escalation if refit else None)


def as_record(validation: Validation) -> dict[str, Any]:
    """Everything, with the order of the confusion matrix."""
    return {"order": list(EMOTIONS), **asdict(validation)}


def sentences(validation: Validation) -> Iterator[str]:
    """What the table does not tell, and what to do next."""
    if validation.skipped:
        yield f"skipped {validation.skipped} labels that name none of {', '.join(EMOTIONS)}"
    if validation.unknown:
        yield f"left out {validation.unknown} labels of calls that the database does not hold"
    if validation.not_reproduced:
        yield (
            f"warning: {validation.not_reproduced} calls hold other escalations than this version of callmood finds "
            "in them, so that no threshold is fitted; analyze them again with `callmood analyze --force`"
        )
    if (emotions := validation.emotions) and emotions.covered < emotions.labels:
        yield f"{emotions.labels - emotions.covered} of {emotions.labels} labelled stretches hold no scored speech"
    if (escalation := validation.escalation) and escalation.covered < escalation.calls:
        yield f"{escalation.calls - escalation.covered} of {escalation.calls} calls hold no scored speech"
    refit = validation.refit
    if refit is None:
        return
    yield (
        f"fitted on {refit.calls} calls ({refit.labels} labelled stretches); all figures are those of the other "
        f"{refit.calls_left_out} calls"
    )
    if refit.temperature is not None:
        yield f"temperature: {refit.temperature:.4g} times the present one"
    if refit.at_limit:
        yield "warning: that is the limit of what is tried; use neither it nor a threshold fitted with it, and label more calls"
    if refit.threshold is not None:
        yield f"escalation threshold: {refit.threshold:.6g} (it was {refit.threshold_before:.6g})"
    elif refit.threshold_before is not None and not validation.not_reproduced:
        yield "no escalation threshold is fitted: calls that escalated and calls that did not are needed for it"
    options = [f"--models {refit.models}"] if refit.models else []
    if refit.threshold is not None and not refit.at_limit:
        options.append(f"--escalation-threshold {refit.threshold:.6g}")
    if options:
        yield f"use them with `callmood analyze PATHS --force {' '.join(options)}`"
    if options and refit.temperature is not None and not refit.models:
        yield "the threshold goes with that temperature; write the models for it with --write-models DIR"


def _part(about: str, before: _Figures, after: _Figures | None) -> Iterator[tuple[Any, ...]]:
    counts = (
        ("labels", "calls", "covered")
        if isinstance(before, EmotionFigures)
        else ("calls", "covered", "escalated")
    )
    for name in counts:
        yield about, name, "count", getattr(before, name), None, None, None, None, None
    later = {} if after is None else _all(after)
    for name, figure in _all(before).items():
        then = later.get(name)
        yield (
            about,
            name,
            "figure",
            figure.value,
            figure.low,
            figure.high,
            then and then.value,
            then and then.low,
            then and then.high,
        )


def _all(found: _Figures) -> dict[str, Figure]:
    figures = {_NAMES.get(name, name): figure for name, figure in found.figures.items()}
    if isinstance(found, EmotionFigures):
        figures |= {f"recall of {name}": figure for name, figure in found.recall.items()}
    return figures
