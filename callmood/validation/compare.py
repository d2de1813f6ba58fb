"""Figures of a database against labels, and what to change so that it answers better for them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.errors import ModelError, UsageError
from callmood.metrics import (
    LOG_TEMPERATURES,
    all_figures,
    area_under_curve,
    best_temperature,
    interval_95,
    rates,
)
from callmood.model_files import (
    check_new_folder,
    models_folder,
    models_hash,
    temperature_of,
    write_with_temperature,
)
from callmood.results.schema import Connection
from callmood.validation.labels import Label, Labels
from callmood.validation.result import EmotionFigures, EscalationFigures, Figure, Refit, Validation
from callmood.validation.scored import Answers, ScoredCall, answers_for, read_calls


def compare(
    connection: Connection,
    labels: Labels,
    *,
    refit: float | None = None,
    seed: int = 0,
    models: str | Path | None = None,
    write_models: Path | None = None,
) -> Validation:
    """Hold a database against labels; see `callmood.validate`."""
    if refit is not None and not 0.0 < refit < 1.0:
        raise UsageError(f"refit is {refit:g}; it must be a share of the calls above 0 and below 1.")
    if write_models is not None:
        if refit is None:
            raise UsageError("Models are written after a refit only; give --refit SHARE with --write-models.")
        check_new_folder(write_models)
    named = {label.call_id for label in labels.stretches} | set(labels.escalated)
    calls = read_calls(connection, sorted(named))
    if not calls:
        raise UsageError(
            "The labels are about no call that the database holds; call_id must be as `callmood report` shows it."
        )
    held = _Held(
        stretches=tuple(label for label in labels.stretches if label.call_id in calls),
        escalated={name: value for name, value in labels.escalated.items() if name in calls},
        calls=calls,
    )
    strange = sum(not calls[name].is_reproduced() for name in held.escalated)
    fitted: Refit | None = None
    told = held
    if refit is not None:
        if write_models is not None:
            _check_models_of(held, models)
        learn, told = held.split(refit, seed=seed)
        fitted = _refit(learn, told, share=refit, seed=seed, fit_threshold=strange == 0)
        if write_models is not None:
            _write(fitted, models, write_models)
            fitted = replace(fitted, models=write_models)
    return Validation(
        skipped=labels.skipped,
        unknown=len(labels.stretches)
        - len(held.stretches)
        + len(labels.escalated.keys() - held.escalated.keys()),
        not_reproduced=strange,
        emotions=_emotions(told, seed=seed),
        escalation=_escalation(told, seed=seed),
        refit=fitted,
    )


@dataclass(frozen=True, kw_only=True)
class _Held:
    """Labels of calls that the database holds."""

    stretches: tuple[Label, ...]
    escalated: Mapping[str, bool]
    calls: Mapping[str, ScoredCall]

    @property
    def call_ids(self) -> list[str]:
        return sorted({label.call_id for label in self.stretches} | set(self.escalated))

    @cached_property
    def answers(self) -> Answers:
        return answers_for(self.stretches, self.calls)

    @property
    def escalated_covered(self) -> dict[str, bool]:
        return {name: value for name, value in self.escalated.items() if self.calls[name].scored}

    def of(self, call_ids: Iterable[str]) -> _Held:
        """The labels of some of the calls."""
        chosen = set(call_ids)
        return replace(
            self,
            stretches=tuple(label for label in self.stretches if label.call_id in chosen),
            escalated={name: value for name, value in self.escalated.items() if name in chosen},
        )

    def split(self, share: float, *, seed: int) -> tuple[_Held, _Held]:
        """A share of the calls, drawn at random, and the others; at least one each."""
        if len(self.call_ids) < 2:
            raise UsageError(
                "A refit needs labels of two calls at least: some to fit on, others to tell figures of."
            )
        drawn = np.random.default_rng(seed).permutation(self.call_ids).tolist()
        first = min(max(round(share * len(drawn)), 1), len(drawn) - 1)
        return self.of(drawn[:first]), self.of(drawn[first:])


def _refit(learn: _Held, rest: _Held, *, share: float, seed: int, fit_threshold: bool) -> Refit:
    """Fit on `learn`, and tell the figures of `rest` with it."""
    if len({call.model_hash for call in (*_used(learn), *_used(rest))}) > 1:
        raise UsageError(
            "The labelled calls were analyzed with different models, so that no one temperature fits them; analyze "
            "them again with `callmood analyze --force`."
        )
    answers = learn.answers
    truth = learn.escalated_covered
    if not len(answers.labels) and not truth:
        raise UsageError(
            "There is no scored speech under the labels of the calls to fit on; label more, or try another --seed."
        )
    temperature: float | None = None
    if len(answers.labels):
        temperature = best_temperature(answers.spans, answers.labels, pooled=answers.pooled)
    threshold: float | None = None
    present: float | None = None
    if truth:
        present = Counter(learn.calls[name].threshold_s for name in truth).most_common(1)[0][0]
        if fit_threshold:
            evidence = np.array([learn.calls[name].evidence(temperature) for name in truth])
            threshold = best_threshold(evidence, np.array(list(truth.values())), present)
    return Refit(
        share=share,
        seed=seed,
        calls=len(learn.call_ids),
        calls_left_out=len(rest.call_ids),
        labels=len(answers.labels),
        temperature=temperature,
        at_limit=temperature is not None
        and bool(np.isclose(abs(math.log(temperature)), LOG_TEMPERATURES[1], atol=1e-3)),
        threshold_before=present,
        threshold=threshold,
        emotions=_emotions(rest, seed=seed, temperature=temperature),
        escalation=_escalation(
            rest, seed=seed, temperature=temperature, threshold=present if threshold is None else threshold
        ),
    )


def best_threshold(evidence: NDArray[np.float64], true: NDArray[np.bool_], present: float) -> float | None:
    """The threshold of best balanced accuracy where calls with no less evidence than it are taken to escalate.

    Tried are the present one and the middles between neighbouring values of the evidence; of several that do
    equally well, the nearest to the present one is taken. None where the calls are all of one kind.
    """
    if true.all() or not true.any():
        return None
    levels = np.unique([0.0, *evidence])
    candidates = [present, *((levels[1:] + levels[:-1]) / 2).tolist()]
    accuracies = [rates(evidence >= candidate, true)["balanced_accuracy"] for candidate in candidates]
    best = max(accuracies)
    equal = [c for c, accuracy in zip(candidates, accuracies, strict=True) if accuracy >= best - 1e-9]
    return float(min(equal, key=lambda candidate: abs(math.log(candidate / present))))


def _emotions(held: _Held, *, seed: int, temperature: float | None = None) -> EmotionFigures | None:
    if not held.stretches:
        return None
    answers = held.answers
    figures: dict[str, Figure] = {}
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    if len(answers.labels):
        probabilities = answers.probabilities(temperature)
        figures = _with_intervals(
            lambda rows: all_figures(probabilities[rows], answers.labels[rows]), answers.call_ids, seed=seed
        )
        np.add.at(confusion, (answers.labels, probabilities.argmax(axis=1)), 1)
    recall = "recall_"
    return EmotionFigures(
        labels=len(held.stretches),
        calls=len({label.call_id for label in held.stretches}),
        covered=len(answers.labels),
        figures={name: figure for name, figure in figures.items() if not name.startswith(recall)},
        recall={
            name.removeprefix(recall): figure for name, figure in figures.items() if name.startswith(recall)
        },
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _escalation(
    held: _Held, *, seed: int, temperature: float | None = None, threshold: float | None = None
) -> EscalationFigures | None:
    """Figures with a temperature and a threshold, or without a threshold those of what the database holds."""
    if not held.escalated:
        return None
    truth = held.escalated_covered
    true = np.array(list(truth.values()), dtype=bool)
    evidence = np.array([held.calls[name].evidence(temperature) for name in truth])
    if threshold is None:
        decided = np.array([held.calls[name].escalated for name in truth], dtype=bool)
    else:
        decided = evidence >= threshold

    def point(rows: NDArray[np.intp]) -> dict[str, float]:
        return {
            "auc": area_under_curve(evidence[rows], true[rows]),
            **rates(decided[rows], true[rows]),
        }

    return EscalationFigures(
        calls=len(held.escalated),
        covered=len(truth),
        escalated=int(true.sum()),
        figures=_with_intervals(point, list(truth), seed=seed) if truth else {},
    )


def _with_intervals(
    point: Callable[[NDArray[np.intp]], Mapping[str, float]], groups: Sequence[str], *, seed: int
) -> dict[str, Figure]:
    intervals = interval_95(point, groups, seed=seed)
    nothing = (math.nan, math.nan)
    return {
        name: Figure(value=_defined(value), low=_defined(low), high=_defined(high))
        for name, value in point(np.arange(len(groups))).items()
        for low, high in (intervals.get(name, nothing),)
    }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _used(held: _Held) -> list[ScoredCall]:
    """Calls that scores were taken from."""
    names = {*held.answers.call_ids, *held.escalated_covered}
    return [held.calls[name] for name in sorted(names)]


def _check_models_of(held: _Held, models: str | Path | None) -> None:
    """Refuse to change the temperature of other models than those that scored the calls."""
    if any(call.model_hash != models_hash(models) for call in _used(held)):
        raise ModelError(
            f"{models_folder(models)}: not the models that the labelled calls were analyzed with, so that the "
            "temperature does not apply to them; name those with --models, or analyze the calls again with "
            "`callmood analyze --force`."
        )


def _write(fitted: Refit, models: str | Path | None, folder: Path) -> None:
    if fitted.temperature is None:
        raise UsageError(
            "No emotion label is covered, so that there is no temperature to write; leave --write-models out."
        )
    if fitted.at_limit:
        raise UsageError(
            "The fitted temperature is the lowest or highest that is tried, so that no models are written with it; "
            "label more calls, or leave --write-models out to see the figures."
        )
    before = temperature_of(models)
    write_with_temperature(
        folder,
        models,
        temperature=before * fitted.temperature,
        refit={
            "temperature_before": before,
            "calls": fitted.calls,
            "labels": fitted.labels,
            "share": fitted.share,
            "seed": fitted.seed,
        },
    )
