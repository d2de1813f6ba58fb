"""What a validation tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with its 95 % interval from a bootstrap over calls; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class EmotionFigures:
    """How the emotions of the labelled stretches were told; figures are over the covered stretches."""

    labels: int
    """Labelled stretches."""
    calls: int
    """Calls that they lie in."""
    covered: int
    """Stretches in which speech was scored."""
    figures: Mapping[str, Figure]
    """`accuracy`, `uar`, `macro_f1`, `kappa`, `auc`, `auc_angry` and `ece`; empty where nothing is covered."""
    recall: Mapping[str, Figure]
    """By emotion, of those that were labelled."""
    confusion: tuple[tuple[int, ...], ...]
    """Shape (7, 7), in the order of `callmood.emotions.EMOTIONS`: row the label, column the answer."""


@dataclass(frozen=True, kw_only=True)
class EscalationFigures:
    """How the calls that escalated were told; figures are over the covered calls."""

    calls: int
    """Calls of which the labels say whether they escalated."""
    covered: int
    """Those of them in which somebody other than the agent was scored."""
    escalated: int
    """Those of the covered ones that escalated, by the labels."""
    figures: Mapping[str, Figure]
    """`auc` of the evidence, and `balanced_accuracy`, `sensitivity` and `specificity` of what was decided."""


@dataclass(frozen=True, kw_only=True)
class Refit:
    """What was fitted on some of the calls, and the figures of the other calls with it."""

    share: float
    seed: int
    calls: int
    """Calls that it was fitted on."""
    calls_left_out: int
    labels: int
    """Covered stretches that the temperature was fitted on."""
    temperature: float | None
    """What to multiply the model's temperature with; None where no stretch was covered."""
    at_limit: bool
    """Whether the temperature is the lowest or highest that is tried: then it is not to be trusted."""
    threshold_before: float | None
    threshold: float | None
    """`escalation_threshold` to use with the temperature; None where the labels do not tell."""
    emotions: EmotionFigures | None
    escalation: EscalationFigures | None
    models: Path | None = None
    """Folder that the models with the temperature were written to."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A database held against labels: of all labelled calls, or of those left out where there is a refit."""

    skipped: int
    """Stretches labelled with something other than the seven emotions."""
    unknown: int
    """Labels (of stretches, and of whole calls) about calls that the database does not hold."""
    not_reproduced: int
    """Calls whose escalations, found again from what the database holds, are others than those it holds."""
    emotions: EmotionFigures | None
    """None where no stretch is labelled."""
    escalation: EscalationFigures | None
    """None where the labels do not say which calls escalated."""
    refit: Refit | None = None
