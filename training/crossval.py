"""Figures of a recipe on clips that its runs never heard, and the calibrated model to ship:
`python -m training.crossval --help`.

Reads runs of `training.train --hold-out ...`, each with a record of what it held out, and scores exactly that. Runs of
several folds make one figure; runs of several seeds tell the spread.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.model import EmotionModel
from callmood.errors import UsageError
from callmood.metrics import best_temperature, point_figures, with_temperature
from callmood.model_files import WEIGHTS
from callmood.types import Floats
from training.conditions import make_condition
from training.corpora import (
    SHARED,
    Clip,
    Traits,
    add_corpus_options,
    clips_from_options,
    label_indices,
    official_folders,
    speaker_traits,
)
from training.evaluate import corpus_figures, score_clips
from training.export import write_models
from training.splits import RECIPE, SPLIT

log = logging.getLogger("training")

CONDITIONS = ("clean", "telephone", "mulaw", "gsm", "noise:20", "noise:10", "noise:5", "noise:0", "reverb")


@dataclass(frozen=True)
class Run:
    """A training run and the clips that it held out."""

    folder: Path
    hold_out: str
    """In the notation of `training.splits.HoldOut`."""
    seed: int
    held_out: NDArray[np.int64]
    """Indices into all clips."""

    @classmethod
    def read(cls, folder: Path, clips: Sequence[Clip]) -> Run:
        """Raises `UsageError` where the run heard a speaker that it claims to hold out."""
        split = json.loads((folder / SPLIT).read_text(encoding="utf-8"))
        recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        wanted = set(split["held_out"])
        held_out = np.array([i for i, clip in enumerate(clips) if clip.file in wanted], dtype=np.int64)
        if len(held_out) != len(wanted) or not wanted:
            raise UsageError(f"{folder}: held out {len(wanted)} clips, of which {len(held_out)} are here.")
        heard = set(split["speakers_heard"]) & {clips[i].speaker for i in held_out}
        if heard and not split["hold_out"].startswith("random"):
            raise UsageError(
                f"{folder}: was trained on {', '.join(sorted(heard))}, whom it claims to hold out."
            )
        return cls(folder, split["hold_out"], recipe["seed"], held_out)


def check_apart(runs: Sequence[Run]) -> None:
    """Raises `UsageError` where two runs of one seed held out the same clip."""
    taken: dict[tuple[int, int], Path] = {}
    for run in runs:
        for index in run.held_out.tolist():
            other = taken.setdefault((run.seed, index), run.folder)
            if other != run.folder:
                raise UsageError(
                    f"{run.folder} and {other}: held out some of the same clips with the same seed."
                )


@dataclass(frozen=True)
class Scored:
    """Probabilities of the held-out clips of the runs of one seed, each calibrated on the other runs' clips."""

    rows: NDArray[np.int64]
    """Indices into all clips."""
    fold: NDArray[np.int64]
    """Which run each row belongs to."""
    probabilities: Floats


def calibrate(scored: Scored, temperatures: Mapping[int, float]) -> Floats:
    """Probabilities at each run's temperature, shape (n, 7)."""
    calibrated = scored.probabilities.copy()
    for fold, temperature in temperatures.items():
        calibrated[scored.fold == fold] = with_temperature(
            scored.probabilities[scored.fold == fold], temperature
        )
    return calibrated


def cross_temperatures(scored: Scored, labels: NDArray[np.int64]) -> dict[int, float]:
    """A temperature for each run, fitted on the other runs' clips, so that no figure is fitted to itself; 1 where
    there is only one run."""
    found = {}
    for fold in np.unique(scored.fold):
        others = scored.fold != fold
        found[int(fold)] = (
            best_temperature(scored.probabilities[others], labels[scored.rows[others]])
            if others.any()
            else 1.0
        )
    return found


def as_markdown(result: Mapping[str, Any]) -> str:
    """The figures as the table of the model card: a row per condition and corpus."""
    lines = [
        "| condition | corpus | speakers | clips | UAR | accuracy | macro-F1 | ECE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for condition in (name for name in CONDITIONS if name in result):
        for corpus, found in result[condition].items():
            low, high = found["interval_95"]["uar"]
            lines.append(
                f"| {condition} | {corpus} | {found['speakers']} | {found['clips']} "
                f"| {found['uar']:.3f} ({low:.3f} to {high:.3f}) | {found['accuracy']:.3f} "
                f"| {found['macro_f1']:.3f} | {found['ece']:.3f} |"
            )
    return "\n".join(lines)


def score_runs(
    runs: Sequence[Run], clips: Sequence[Clip], condition: str, *, noise: Path, jobs: int
) -> Scored:
    """What each run says of the clips that it held out."""
    rows, folds, probabilities = [], [], []
    for fold, run in enumerate(runs):
        model = EmotionModel(run.folder / "models")
        change = make_condition(condition, noise=noise, rir=noise, rate_hz=model.front_end.rate_hz)
        scored, _ = score_clips([clips[i] for i in run.held_out], model, change, jobs=jobs)
        rows.append(run.held_out)
        folds.append(np.full(len(scored), fold))
        probabilities.append(scored)
    return Scored(np.concatenate(rows), np.concatenate(folds), np.concatenate(probabilities))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.crossval", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of training runs")
    parser.add_argument("--ship", type=Path, help="run on all speakers; its model is calibrated and shipped")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the models to ship")
    add_corpus_options(parser)
    parser.add_argument("--noise", type=Path, default=SHARED / "noise")
    parser.add_argument("--condition", action="append", help=f"default: {', '.join(CONDITIONS)}")
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare the clips")
    parser.add_argument("--json", type=Path, required=True, help="write the figures here")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    try:
        clips = clips_from_options(options)
        runs = [Run.read(folder, clips) for folder in options.runs]
        check_apart(runs)
    except (UsageError, OSError) as error:
        parser.error(str(error))
    labels = label_indices(clips)
    folders = [options.corpora or SHARED / "corpora", *official_folders(options).values()]
    traits = speaker_traits({clip.speaker for clip in clips}, *folders)
    by_seed = {seed: [run for run in runs if run.seed == seed] for seed in sorted({run.seed for run in runs})}
    result: dict[str, Any] = {
        "hold_out": {seed: [run.hold_out for run in of_seed] for seed, of_seed in by_seed.items()}
    }
    temperatures: dict[int, dict[int, float]] = {}
    # Clean first: temperatures are fitted there.
    for name in ("clean", *(name for name in options.condition or CONDITIONS if name != "clean")):
        scored = {
            seed: score_runs(of_seed, clips, name, noise=options.noise, jobs=options.jobs)
            for seed, of_seed in by_seed.items()
        }
        if not temperatures:
            temperatures = {seed: cross_temperatures(found, labels) for seed, found in scored.items()}
            result["temperature"] = best_temperature(
                np.concatenate([found.probabilities for found in scored.values()]),
                labels[np.concatenate([found.rows for found in scored.values()])],
            )
        result[name] = condition_figures(
            [
                (found.rows, found.fold, calibrate(found, temperatures[seed]))
                for seed, found in scored.items()
            ],
            clips,
            traits,
        )
        for corpus, found in result[name].items():
            log.info("%s %s: UAR %.3f, ECE %.3f", name, corpus, found["uar"], found["ece"])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(as_markdown(result))
    if options.ship:
        write_models(
            options.models,
            weights=options.ship / "models" / WEIGHTS,
            recipe=json.loads((options.ship / RECIPE).read_text(encoding="utf-8")),
            corpora=json.loads((options.ship / SPLIT).read_text(encoding="utf-8"))["corpora_heard"],
            temperature=result["temperature"],
        )


def condition_figures(
    seeds: Iterable[tuple[NDArray[np.int64], NDArray[np.int64], Floats]],
    clips: Sequence[Clip],
    traits: Mapping[str, Traits],
) -> dict[str, Any]:
    """`training.evaluate.corpus_figures` of the first seed, with the UAR of each fold and of each seed beside them.

    Each seed comes as rows (indices into `clips`), fold of each row and probabilities.
    """
    labels = label_indices(clips)
    corpus_of = np.array([clip.corpus for clip in clips])
    speakers = np.array([clip.speaker for clip in clips])
    found: dict[str, Any] = {}
    for rows, fold, probabilities in seeds:
        for corpus in np.unique(corpus_of[rows]):
            own = corpus_of[rows] == corpus
            truth = labels[rows[own]]
            uar = point_figures(probabilities[own], truth)["uar"]
            if str(corpus) in found:
                found[str(corpus)]["uar_by_seed"].append(uar)
                continue
            by_fold = [
                point_figures(probabilities[own & (fold == k)], labels[rows[own & (fold == k)]])["uar"]
                for k in np.unique(fold[own])
            ]
            found[str(corpus)] = {
                **corpus_figures(probabilities[own], truth, speakers[rows[own]].tolist(), traits),
                "uar_by_fold": by_fold,
                "uar_by_seed": [uar],
            }
    return found


if __name__ == "__main__":
    main()
