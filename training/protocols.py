"""Protocols of evaluation, one command each: `python -m training.protocols NAME --json FILE`.

Trains the runs of a protocol that `--out` does not hold yet, one after the other, and scores what each held out. A
protocol that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from training import crossval, train
from training.corpora import CORPORA, SHARED

SEED = "2"
_SMALL = {"crema-d": (20, 80), "ravdess": (24, 25), "tess": (24, 20), "savee": (24, 8)}
"""Epochs of training on one corpus alone, and batches of each: 20 to 60 times each clip."""
_RANDOM = {"crema-d": (20, 80), "ravdess": (40, 25), "tess": (24, 25), "savee": (40, 6)}
"""Likewise for random splits, which learn from labels alone: the teacher tells of unheard speakers. CREMA-D, whose
labels the ear cannot tell from the voice of a heard speaker either, keeps the teacher."""
_WITHOUT = {"crema-d": 65, "ravdess": 140, "tess": 115, "savee": 160}
"""Batches of each of 12 epochs without a corpus, in proportion to the clips that are left."""


def _one_corpus(corpus: str, folds: int) -> dict[str, str]:
    epochs, batches = _SMALL[corpus]
    # Two speakers, or 128 clips, are too few for a teacher that never heard the fold of a clip.
    teacher = "--no-teacher " if corpus in ("tess", "savee") else ""
    return {
        f"{corpus}-{fold}-of-{folds}": f"--corpus {corpus} --hold-out speakers:{fold}/{folds} {teacher}--epochs {epochs} "
        f"--set batches_per_epoch={batches}"
        for fold in range(folds)
    }


def _random_split(corpus: str) -> dict[str, str]:
    epochs, batches = _RANDOM[corpus]
    teacher = "" if corpus == "crema-d" else "--no-teacher "
    return {
        f"random-{corpus}": f"--corpus {corpus} --hold-out random:0/5 {teacher}--epochs {epochs} "
        f"--set batches_per_epoch={batches}"
    }


PROTOCOLS: dict[str, dict[str, str]] = {
    "speakers": {f"fold{fold}": f"--hold-out speakers:{fold}/5" for fold in range(5)},
    "speakers-crema-d": _one_corpus("crema-d", 5),
    "speakers-ravdess": _one_corpus("ravdess", 5),
    "speakers-ravdess-6": _one_corpus("ravdess", 6),
    "speakers-tess": _one_corpus("tess", 2),
    "speakers-savee": _one_corpus("savee", 3),
    "random": {
        "random-three": "--corpus ravdess --corpus tess --corpus savee --hold-out random:0/5 --no-teacher "
        "--epochs 80 --set batches_per_epoch=70"
    },
    **{f"random-{corpus}": _random_split(corpus) for corpus in CORPORA},
    "leave-one-out": {
        f"without-{corpus}": f"--hold-out corpus:{corpus} --epochs 12 --set batches_per_epoch={batches}"
        for corpus, batches in _WITHOUT.items()
    },
}
"""Of each protocol the folders of its runs, and the options of `training.train` for each."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.protocols", description=__doc__)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--noise", type=Path, default=SHARED / "noise")
    parser.add_argument("--condition", action="append", help="default: those of training.crossval")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--json", type=Path, required=True, help="write the figures here")
    options = parser.parse_args(arguments)
    common = ["--noise", str(options.noise), "--jobs", str(options.jobs)]
    folders = []
    for name, of_run in PROTOCOLS[options.protocol].items():
        folder = options.out / name
        folders.append(str(folder))
        if not (folder / "models" / "manifest.json").exists():
            train.main([*of_run.split(), "--seed", SEED, "--out", str(folder), *common])
    conditions = [word for name in options.condition or () for word in ("--condition", name)]
    crossval.main([*folders, *common, *conditions, "--json", str(options.json)])


if __name__ == "__main__":
    main()
