"""Several trained networks as one, whose log probabilities are averaged: `python -m training.join --help`.

The runs heard, and held out, the same clips and differ in their recipe or seed alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from callmood.emotion.network import NetworkConfig, build_network, load_weights, member
from callmood.errors import CallmoodError, UsageError
from callmood.model_files import WEIGHTS
from training.export import write_models
from training.splits import RECIPE, SPLIT


def join(runs: Sequence[Path], out: Path) -> None:
    """Write a run folder whose network has those of `runs` as its members.

    Raises `UsageError` where their networks, front ends or splits differ, or `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out}: is there already; name a new folder with --out.")
    records = [_read(run) for run in runs]
    for run, record in zip(runs[1:], records[1:], strict=True):
        for name in ("network", "front_end", SPLIT):
            if record[name] != records[0][name]:
                raise UsageError(f"{run} and {runs[0]}: differ in their {name}; join runs that differ in nothing of it.")
    config = replace(NetworkConfig(**records[0]["network"]), members=len(runs))
    network = build_network(config)
    for index, run in enumerate(runs):
        load_weights(network.get_layer(member(index)), run / "models" / WEIGHTS)
    split = records[0][SPLIT]
    recipe = {
        "network": {**records[0]["network"], "members": len(runs)},
        "front_end": records[0]["front_end"],
        "seed": records[0]["seed"],
        "members": [
            {name: value for name, value in record.items() if name not in ("network", "front_end", SPLIT)}
            for record in records
        ],
    }
    models = out / "models"
    models.mkdir(parents=True)
    (out / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    (out / SPLIT).write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    network.save_weights(models / WEIGHTS)
    write_models(
        models, weights=models / WEIGHTS, recipe=recipe, corpora=split["corpora_heard"], temperature=1.0
    )


def _read(run: Path) -> dict[str, Any]:
    recipe, split = (json.loads((run / name).read_text(encoding="utf-8")) for name in (RECIPE, SPLIT))
    return {**recipe, SPLIT: split}


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
