"""Speaker-independent figures of a recipe, and the calibrated model to ship: `python -m training.crossval --help`.

Reads runs of `training.train --fold K` (the figures, on speakers that the run never heard) and one run on all
speakers (the weights to ship).
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.model import EmotionModel
from callmood.model_files import WEIGHTS
from callmood.types import Floats
from training.conditions import make_condition
from training.corpora import label_indices
from training.evaluate import score_clips
from training.export import write_models
from training.metrics import figures
from training.train import SHARED, all_clips, fold_of_clips

log = logging.getLogger("training")

CONDITIONS = ("clean", "telephone", "mulaw", "gsm", "noise:20", "noise:10", "noise:5", "noise:0", "reverb")


def with_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities of a model of temperature 1 as a model of another temperature gives them."""
    powered = np.maximum(probabilities, 1e-12) ** (1.0 / temperature)
    return np.asarray(powered / powered.sum(axis=1, keepdims=True), dtype=np.float32)


def best_temperature(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        calibrated = with_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(calibrated[np.arange(len(labels)), labels] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x))


def as_markdown(result: dict[str, Any]) -> str:
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.crossval", description=__doc__)
    parser.add_argument("--fold-run", type=Path, action="append", required=True, metavar="RUN:FOLD")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument(
        "--all-run", type=Path, help="run on all speakers; its model is calibrated and shipped"
    )
    parser.add_argument("--corpora", type=Path, default=SHARED / "corpora")
    parser.add_argument("--noise", type=Path, default=SHARED / "noise")
    parser.add_argument("--condition", action="append", help=f"default: {', '.join(CONDITIONS)}")
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare the clips")
    parser.add_argument("--json", type=Path, required=True, help="write the figures here")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the models to ship")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    if len(options.fold_run) < 2:
        parser.error("give at least two folds: each is calibrated on the others")
    clips = all_clips(options.corpora)
    fold_of = fold_of_clips(clips, folds=options.folds)
    runs = [str(run).rpartition(":") for run in options.fold_run]
    held_out = {int(fold): np.flatnonzero(fold_of == int(fold)) for _, _, fold in runs}
    rows = np.concatenate(list(held_out.values()))
    labels = label_indices(clips)
    corpora = np.array([clip.corpus for clip in clips])
    speakers = np.array([clip.speaker for clip in clips])
    for folder, _, fold in runs:
        heard = set(json.loads((Path(folder) / "speakers.json").read_text(encoding="utf-8")))
        if heard & set(speakers[held_out[int(fold)]]):
            parser.error(f"{folder} was trained on speakers of fold {fold}")

    result: dict[str, Any] = {"protocol": f"speaker-independent, {len(runs)} of {options.folds} folds"}
    temperatures: dict[int, float] = {}
    scored = np.zeros((len(clips), 7), dtype=np.float32)
    # Clean first: temperatures are fitted there.
    for name in ("clean", *(name for name in options.condition or CONDITIONS if name != "clean")):
        for folder, _, fold in runs:
            model = EmotionModel(Path(folder) / "models")
            condition = make_condition(
                name, noise=options.noise, rir=options.noise, rate_hz=model.front_end.rate_hz
            )
            members = held_out[int(fold)]
            scored[members], _ = score_clips(
                [clips[index] for index in members], model, condition, jobs=options.jobs
            )
        if not temperatures:
            # Each fold is calibrated on the speakers of the other folds, so that no figure is fitted to itself.
            for fold_number, members in held_out.items():
                learn = np.setdiff1d(rows, members)
                temperatures[fold_number] = best_temperature(scored[learn], labels[learn])
            shipped = best_temperature(scored[rows], labels[rows])
        calibrated = scored.copy()
        for fold_number, members in held_out.items():
            calibrated[members] = with_temperature(scored[members], temperatures[fold_number])
        result[name] = {}
        for corpus in np.unique(corpora[rows]):
            own = rows[corpora[rows] == corpus]
            result[name][str(corpus)] = figures(calibrated[own], labels[own], speakers[own].tolist())
            log.info("%s %s: UAR %.3f", name, corpus, result[name][str(corpus)]["uar"])
    result["temperature"] = shipped
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_markdown(result))
    if options.all_run:
        recipe = json.loads((options.all_run / "recipe.json").read_text(encoding="utf-8"))
        weights = options.all_run / "models" / WEIGHTS
        write_models(options.models, weights=weights, recipe=recipe, temperature=shipped)


if __name__ == "__main__":
    main()
