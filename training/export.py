"""A trained network as a folder of models that callmood loads: weights, parameters and their SHA-256."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from callmood.emotions import EMOTIONS
from callmood.model_files import CONFIG, MANIFEST, WEIGHTS

DATA_LICENCES = {
    "ravdess": "RAVDESS (CC BY-NC-SA 4.0)",
    "tess": "TESS (CC BY-NC-ND 4.0)",
    "savee": "SAVEE (research)",
    "crema-d": "CREMA-D (ODbL 1.0)",
}
"""The corpora and their licences."""
COMMERCIAL = frozenset({"crema-d"})
"""Corpora whose licence allows commercial use."""


def licence(corpora: Collection[str]) -> str:
    """What may be done with a model trained on `corpora`."""
    use = "commercial use allowed" if COMMERCIAL.issuperset(corpora) else "non-commercial use only"
    return f"{use}: trained on {', '.join(text for name, text in DATA_LICENCES.items() if name in corpora)}"


def write_models(
    out: Path, *, weights: Path, recipe: Mapping[str, Any], corpora: Collection[str], temperature: float
) -> None:
    """Write `weights`, trained on `corpora`, and their parameters to `out`, and record them in its manifest.

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
    record(out, dict.fromkeys((WEIGHTS, CONFIG), licence(corpora)))


def record(folder: Path, licences: Mapping[str, str]) -> None:
    """Enter files of `folder` into its manifest, each with its SHA-256 and licence; others stay as they are."""
    manifest = folder / MANIFEST
    entries = json.loads(manifest.read_text(encoding="utf-8"))["files"] if manifest.exists() else {}
    for name, licence in licences.items():
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        entries[name] = {"sha256": digest, "licence": licence}
    manifest.write_text(json.dumps({"files": entries}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
