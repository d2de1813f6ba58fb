"""A trained network as a folder of models that callmood loads: weights, parameters and their SHA-256."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callmood.emotions import EMOTIONS
from callmood.model_files import CONFIG, MANIFEST, WEIGHTS

LICENCE = (
    "non-commercial use only: trained on RAVDESS (CC BY-NC-SA 4.0), TESS (CC BY-NC-ND 4.0), SAVEE (research) and "
    "CREMA-D (ODbL 1.0)"
)
"""Of everything that is trained on all four corpora."""


def write_models(out: Path, *, weights: Path, recipe: Mapping[str, Any], temperature: float) -> None:
    """Write `weights` and their parameters to `out`, and record them in its manifest.

    `recipe` is `dataclasses.asdict` of a `training.train.Recipe`, as `recipe.json` of a run holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    if weights.resolve() != (out / WEIGHTS).resolve():
        shutil.copyfile(weights, out / WEIGHTS)
    config = {
        "emotions": list(EMOTIONS),
        "front_end": recipe["front_end"],
        "network": recipe["network"],
        "temperature": temperature,
        "recipe": {name: value for name, value in recipe.items() if name not in ("front_end", "network")},
    }
    (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    record(out, {WEIGHTS: LICENCE, CONFIG: LICENCE})


def record(folder: Path, licences: Mapping[str, str]) -> None:
    """Enter files of `folder` into its manifest, each with its SHA-256 and licence; others stay as they are."""
    manifest = folder / MANIFEST
    entries = json.loads(manifest.read_text(encoding="utf-8"))["files"] if manifest.exists() else {}
    for name, licence in licences.items():
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        entries[name] = {"sha256": digest, "licence": licence}
    manifest.write_text(json.dumps({"files": entries}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
