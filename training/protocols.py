"""Protocols of evaluation, one command each: `python -m training.protocols NAME --json FILE`.

Trains the runs of a protocol that `--out` does not hold yet, one after the other, and scores what each held out. A
protocol that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from callmood.errors import CallmoodError
from callmood.model_files import MANIFEST
from training import crossval, train
from training.corpora import CORPORA, SHARED
from training.join import join
from training.splits import RECIPE

SEED = "2"
MEMBERS = ("", "--set draw.masks=0")
"""Options that differ between the networks that ship as one: with stretches hidden in time and coefficients, and
without."""
SHIPPED = tuple(f"--seed 1 {options}" for options in MEMBERS)
"""Options of the training on all speakers."""
_SMALL = {"crema-d": (20, 80), "ravdess": (24, 25), "tess": (24, 20), "savee": (24, 8)}
"""Epochs of training on one corpus alone, and batches of each: 20 to 60 times each clip."""
_RANDOM = {"crema-d": (20, 80), "ravdess": (40, 25), "tess": (24, 25), "savee": (40, 6)}
"""Likewise for random splits, which learn from labels alone: the teacher tells of unheard speakers. CREMA-D, whose
labels the ear cannot tell from the voice of a heard speaker either, keeps the teacher."""
_WITHOUT = {"crema-d": 65, "ravdess": 140, "tess": 115, "savee": 160}
"""Batches of each of 12 epochs without a corpus, in proportion to the clips that are left."""


def _one_corpus(corpus: str, folds: int) -> dict[str, tuple[str, ...]]:
    epochs, batches = _SMALL[corpus]
    # Two speakers, or 128 clips, are too few for a teacher that never heard the fold of a clip.
    teacher = "--no-teacher " if corpus in ("tess", "savee") else ""
    return {
        f"{corpus}-{fold}-of-{folds}": (
            f"--corpus {corpus} --hold-out speakers:{fold}/{folds} {teacher}--epochs {epochs} "
            f"--set batches_per_epoch={batches}",
        )
        for fold in range(folds)
    }


def _random_split(corpus: str) -> dict[str, tuple[str, ...]]:
    epochs, batches = _RANDOM[corpus]
    teacher = "" if corpus == "crema-d" else "--no-teacher "
    return {
        f"random-{corpus}": (
            f"--corpus {corpus} --hold-out random:0/5 {teacher}--epochs {epochs} --set batches_per_epoch={batches}",
        )
    }


PROTOCOLS: dict[str, dict[str, tuple[str, ...]]] = {
    "speakers": {
        f"fold{fold}": tuple(f"--hold-out speakers:{fold}/5 {options}" for options in MEMBERS)
        for fold in range(5)
    },
    "speakers-crema-d": _one_corpus("crema-d", 5),
    "speakers-ravdess": _one_corpus("ravdess", 5),
    "speakers-ravdess-6": _one_corpus("ravdess", 6),
    "speakers-tess": _one_corpus("tess", 2),
    "speakers-savee": _one_corpus("savee", 3),
    "random": {
        "random-three": (
            "--corpus ravdess --corpus tess --corpus savee --hold-out random:0/5 --no-teacher "
            "--epochs 80 --set batches_per_epoch=70",
        )
    },
    **{f"random-{corpus}": _random_split(corpus) for corpus in CORPORA},
    "leave-one-out": {
        f"without-{corpus}": (f"--hold-out corpus:{corpus} --epochs 12 --set batches_per_epoch={batches}",)
        for corpus, batches in _WITHOUT.items()
    },
}
"""Of each protocol the folders of its runs, and the options of `training.train` for each network that is joined to
one."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.protocols", description=__doc__)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--noise", type=Path, default=SHARED / "noise")
    parser.add_argument("--condition", action="append", help="default: those of training.crossval")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--json", type=Path, required=True, help="write the figures here")
    parser.add_argument(
        "--ship",
        type=Path,
        metavar="MODELS",
        help="train on all speakers as well, and write that network, calibrated on the runs of `speakers`, to MODELS",
    )
    options = parser.parse_args(arguments)
    if options.ship and options.protocol != "speakers":
        parser.error("--ship: goes with the protocol speakers, whose recipe is the one that ships.")
    common = ["--noise", str(options.noise), "--jobs", str(options.jobs)]
    conditions = [word for name in options.condition or () for word in ("--condition", name)]
    shipped = []
    try:
        folders = [
            str(trained(options.out / name, of_networks, common))
            for name, of_networks in PROTOCOLS[options.protocol].items()
        ]
        if options.ship:
            every = trained(options.out / "all", SHIPPED, common)
            shipped = ["--ship", str(every), "--models", str(options.ship)]
    except CallmoodError as error:
        parser.error(str(error))
    crossval.main([*folders, *common, *conditions, *shipped, "--json", str(options.json)])


def trained(run: Path, of_networks: Sequence[str], common: Sequence[str]) -> Path:
    """The folder `run`, in which a network is that was trained with those options, or several as one."""
    parts = [run]
    if len(of_networks) > 1:
        parts = [run.with_name(f"{run.name}-{number}") for number in range(len(of_networks))]
    for part, of_network in zip(parts, of_networks, strict=True):
        if not (part / "models" / MANIFEST).exists():
            train.main(["--seed", SEED, *of_network.split(), "--out", str(part), *common])
    if len(parts) > 1 and not _joined(run, len(parts)):
        join(parts, run)
    return run


def _joined(run: Path, members: int) -> bool:
    """Whether the folder `run` holds so many networks as one already."""
    if not (run / "models" / MANIFEST).exists():
        return False
    recipe = json.loads((run / RECIPE).read_text(encoding="utf-8"))
    return bool(recipe["network"].get("members") == members)


if __name__ == "__main__":
    main()
