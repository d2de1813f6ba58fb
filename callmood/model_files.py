"""Where the models lie, what is recorded of them, and whether they are what was recorded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from callmood.errors import ModelError

MANIFEST = "manifest.json"
CONFIG = "emotion.json"
WEIGHTS = "emotion.weights.h5"
SPEAKER = "speaker/speaker.npz"
NEEDED = (CONFIG, WEIGHTS, SPEAKER)
"""What a folder of models holds, so that everything can run."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of the manifest."""

    name: str
    path: Path
    sha256: str
    """As recorded."""
    licence: str
    ok: bool
    """Whether the file is there and has the recorded SHA-256."""


def models_folder(models: str | Path | None = None) -> Path:
    """`models`, or the folder that callmood ships: inside the installed package, else in the repository."""
    if models is not None:
        return Path(models)
    package = Path(__file__).resolve().parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def describe_models(models: str | Path | None = None) -> list[ModelFile]:
    """Every file of the manifest, checked.

    Raises
    ------
    ModelError
        There is no readable manifest.
    """
    folder = models_folder(models)
    manifest = folder / MANIFEST
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return [
            ModelFile(
                name=name,
                path=folder / name,
                sha256=entry["sha256"],
                licence=entry["licence"],
                ok=_sha256(folder / name) == entry["sha256"],
            )
            for name, entry in files.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{manifest}: no readable model manifest ({error}); reinstall callmood or name another folder "
            "with --models."
        ) from error


def verified(name: str, models: str | Path | None = None) -> Path:
    """Path of one model file, after checking it against its recorded SHA-256.

    Raises
    ------
    ModelError
        The file is missing, not recorded, or differs from the record.
    """
    for file in describe_models(models):
        if file.name == name:
            if file.ok:
                return file.path
            raise ModelError(
                f"{file.path}: missing or not the file that was recorded (SHA-256 differs); reinstall callmood "
                "or name another folder with --models."
            )
    raise ModelError(
        f"{models_folder(models) / MANIFEST}: does not record {name}; name another folder with --models."
    )


def models_hash(models: str | Path | None = None) -> str:
    """16 hex digits that change with any model file."""
    described = sorted((file.name, file.sha256) for file in describe_models(models))
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
