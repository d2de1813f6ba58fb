"""What each ingredient of the recipe brings: `python -m training.ablation --help`.

One short training per row, each with one thing taken away or added, on the same held-out speakers and the same
seed. Rows that differ by less than the spread of the seeds tell nothing. Options that are not known here go to
`training.train`.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from callmood.emotion.network import NetworkConfig, build_network, load_weights, predict_spans
from callmood.features import FrontEnd
from callmood.model_files import CONFIG, WEIGHTS
from training import beside
from training.conditions import make_condition
from training.corpora import SHARED, Clip, add_corpus_options, clips_from_options, label_indices
from training.crossval import Run
from training.evaluate import Heard, hear_clips, whole_spans

log = logging.getLogger("training")

BESIDE = "... and chroma and log-mel levels beside MFCC"
"""This row is trained by `training.beside`."""
VARIATIONS: dict[str, tuple[str, ...]] = {
    "the recipe": (),
    "another seed": ("--seed", "2"),
    "half of the voices": ("--one-in", "2"),
    "a quarter of the voices": ("--one-in", "4"),
    "no teacher": ("--no-teacher",),
    "no teacher's probabilities": ("--set", "teacher_share=0"),
    "no teacher's embedding": ("--set", "embedding_weight=0"),
    "with the crowd's votes": ("--set", "votes_share=0.3"),
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
    "with averaged weights": ("--set", "average=0.99"),
    "four blocks": ("--set", "network.blocks=4"),
    "twelve blocks": ("--set", "network.blocks=12"),
    "width 192": ("--set", "network.width=192"),
    "neither warped frequency nor equalizer": ("--set", "draw.warp=0", "--set", "draw.equalizer=0"),
    BESIDE: (),
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
    fixed = f"--epochs {options.epochs} --hold-out {options.hold_out} --jobs {options.jobs}".split()
    folders = {}
    for name in options.only or VARIATIONS:
        folder = folders[name] = options.out / re.sub(r"[^a-zA-Z-]+", "-", name).strip("-")
        if not (folder / "done").exists():
            # In a process of its own: a training leaves gigabytes of features behind.
            program = [sys.executable, "-m", "training.beside" if name == BESIDE else "training.train"]
            of_row = ["--noise", str(options.noise), "--out", str(folder), *VARIATIONS[name], *passed_on]
            subprocess.run([*program, *fixed, *of_row], check=True)
            (folder / "done").touch()
    result: dict[str, Any] = {name: {} for name in folders}
    for condition in CONDITIONS:
        heard: dict[FrontEnd, list[Heard]] = {}
        for name, folder in folders.items():
            held_out = [clips[index] for index in Run.read(folder, clips).held_out]
            config = json.loads((folder / "models" / CONFIG).read_text(encoding="utf-8"))
            front_end = beside.front_end_of(config)
            if front_end not in heard:
                change = make_condition(
                    condition, noise=options.noise, rir=options.noise, rate_hz=front_end.rate_hz
                )
                heard[front_end] = hear_clips(held_out, front_end, change, jobs=options.jobs)
            network = build_network(NetworkConfig(**config["network"]))
            load_weights(network, folder / "models" / WEIGHTS)
            result[name][condition] = _uar(network, heard[front_end], held_out)
            log.info("%s, %s: %s", name, condition, result[name][condition])
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(as_markdown(result))


def _uar(network: Any, heard: Sequence[Heard], clips: Sequence[Clip]) -> dict[str, float]:
    """UAR of each corpus; what is heard of each clip, and the clips."""
    from sklearn.metrics import recall_score

    rows = predict_spans(network, [one.frames for one in heard], whole_spans(heard))
    logits = np.concatenate(rows)
    labels = label_indices(clips)
    corpora = np.array([clip.corpus for clip in clips])
    found = {}
    for corpus in np.unique(corpora):
        truth = labels[corpora == corpus]
        guess = logits[corpora == corpus].argmax(axis=1)
        found[str(corpus)] = float(
            recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0)
        )
    return found


if __name__ == "__main__":
    main()
