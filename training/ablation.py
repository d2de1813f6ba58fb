"""What each ingredient of the recipe brings: `python -m training.ablation --help`.

One short training per row, each with one thing taken away or added, on the same held-out speakers and the same
seed. Rows that differ by less than the spread of the seeds tell nothing. Options that are not known here go to
`training.train`.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from callmood.metrics import point_figures
from training import train
from training.corpora import SHARED, add_corpus_options, clips_from_options, label_indices
from training.crossval import Run, score_runs

log = logging.getLogger("training")

VARIATIONS: dict[str, tuple[str, ...]] = {
    "the recipe": (),
    "another seed": ("--seed", "2"),
    "no teacher": ("--no-teacher",),
    "no teacher's probabilities": ("--set", "teacher_share=0"),
    "no teacher's embedding": ("--set", "embedding_weight=0"),
    "relative MFCC only": ("--set", 'network.hears="relative"'),
    "absolute MFCC only": ("--set", 'network.hears="absolute"'),
    "clean clips only": ("--set", "draw.clean=1"),
    "no warped frequency": ("--set", "draw.warp=0"),
    "no changed tempo": ("--set", "draw.stretch=0"),
    "no equalizer": ("--set", "draw.equalizer=0"),
    "no masks": ("--set", "draw.masks=0"),
    "no crops": ("--set", "draw.crop=0"),
    "no joined utterances": ("--set", "draw.joined=0"),
    "with the teacher's short windows": ("--set", "draw.details=3"),
    "with mixup": ("--set", "draw.mixup=0.5"),
}
"""Options of `training.train` for each row."""
CONDITIONS = ("clean", "mulaw", "noise:10")


def as_markdown(result: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row per variation; UAR of each corpus and condition."""
    corpora = sorted({corpus for found in result.values() for corpus in found["clean"]})
    columns = [(corpus, condition) for corpus in corpora for condition in CONDITIONS]
    head = "| | " + " | ".join(f"{corpus} {condition}" for corpus, condition in columns) + " |"
    rows = [
        f"| {name} | " + " | ".join(f"{found[condition][corpus]:.3f}" for corpus, condition in columns) + " |"
        for name, found in result.items()
    ]
    return "\n".join([head, "| --- |" + " --- |" * len(columns), *rows])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.ablation", description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--hold-out", default="speakers:0/5")
    parser.add_argument(
        "--only", choices=list(VARIATIONS), action="append", help="rows (repeatable); default: all"
    )
    parser.add_argument("--noise", type=Path, default=SHARED / "noise")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; finished ones are kept")
    parser.add_argument("--json", type=Path, required=True, help="write the figures here, row by row")
    options, passed_on = parser.parse_known_args(arguments)
    naming = argparse.ArgumentParser(add_help=False)
    add_corpus_options(naming)
    clips = clips_from_options(naming.parse_known_args(passed_on)[0])
    result: dict[str, Any] = {}
    for name in options.only or VARIATIONS:
        folder = options.out / name.replace(" ", "-").replace("'", "")
        if not (folder / "done").exists():
            fixed = [
                "--epochs",
                str(options.epochs),
                "--hold-out",
                options.hold_out,
                "--jobs",
                str(options.jobs),
            ]
            train.main(
                [*fixed, "--noise", str(options.noise), "--out", str(folder), *VARIATIONS[name], *passed_on]
            )
            (folder / "done").touch()
        run = Run.read(folder, clips)
        result[name] = {
            condition: _uar(run, clips, condition, noise=options.noise, jobs=options.jobs)
            for condition in CONDITIONS
        }
        log.info("%s: %s", name, result[name])
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(as_markdown(result))


def _uar(run: Run, clips: Sequence[Any], condition: str, *, noise: Path, jobs: int) -> dict[str, float]:
    scored = score_runs([run], clips, condition, noise=noise, jobs=jobs)
    labels = label_indices(clips)[scored.rows]
    corpora = [clips[row].corpus for row in scored.rows.tolist()]
    found = {}
    for corpus in sorted(set(corpora)):
        own = [index for index, other in enumerate(corpora) if other == corpus]
        found[corpus] = point_figures(scored.probabilities[own], labels[own])["uar"]
    return found


if __name__ == "__main__":
    main()
