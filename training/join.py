"""Several trained networks as one, whose log probabilities are averaged: `python -m training.join --help`.

The runs heard, and held out, the same clips and differ in their recipe or seed alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from callmood.emotion.network import NetworkConfig, build_network, load_weights, member
from callmood.errors import CallmoodError, UsageError
from callmood.features import FrontEnd
from callmood.model_files import WEIGHTS
from training.cache import built_whole
from training.export import write_models
from training.splits import RECIPE, SPLIT


def join(runs: Sequence[Path], out: Path) -> None:
    """Write a run folder whose network has those of `runs` as its members.

    Raises `UsageError` where their networks, front ends or splits differ, or `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out}: is there already; name a new folder with --out.")
    if len(runs) < 2:
        raise UsageError("joining takes two runs or more; name them all.")
    recipes, splits = zip(*(_read(run) for run in runs), strict=True)
    for run, recipe, split in zip(runs, recipes, splits, strict=True):
        differs = [name for name in ("network", "front_end") if recipe[name] != recipes[0][name]]
        if differs or split != splits[0]:
            raise UsageError(
                f"{run} and {runs[0]}: differ in their {(differs or ['split'])[0]}; "
                "join runs of one network that heard the same clips."
            )
    one = NetworkConfig(**recipes[0]["network"])
    if one.members > 1:
        raise UsageError(f"{runs[0]}: is joined already; name the runs that it was made of.")
    config = replace(one, members=len(runs))
    network = build_network(config)
    for index, run in enumerate(runs):
        load_weights(network.get_layer(member(index)), run / "models" / WEIGHTS)
    recipe = {
        "network": asdict(config),
        "front_end": recipes[0]["front_end"],
        "seed": recipes[0]["seed"],
        "members": [
            {name: value for name, value in recipe.items() if name not in ("network", "front_end")}
            for recipe in recipes
        ],
    }
    with built_whole(out) as partial:
        models = partial / "models"
        models.mkdir(parents=True)
        (partial / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        (partial / SPLIT).write_text(json.dumps(splits[0], indent=1) + "\n", encoding="utf-8")
        network.save_weights(models / WEIGHTS)
        corpora = splits[0]["corpora_heard"]
        write_models(models, weights=models / WEIGHTS, recipe=recipe, corpora=corpora, temperature=1.0)


def _read(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Recipe and split of a run, with what it does not say of its network and front end filled in."""
    recipe, split = (json.loads((run / name).read_text(encoding="utf-8")) for name in (RECIPE, SPLIT))
    network, front_end = NetworkConfig(**recipe["network"]), FrontEnd(**recipe["front_end"])
    return {**recipe, "network": asdict(network), "front_end": asdict(front_end)}, split


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.join", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of training runs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the joined run")
    options = parser.parse_args(arguments)
    try:
        join(options.runs, options.out)
    except (CallmoodError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
