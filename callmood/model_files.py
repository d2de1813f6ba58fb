"""Where the models lie, what is recorded of them, and whether they are what was recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from callmood.errors import ModelError

MANIFEST = "manifest.json"
CONFIG = "emotion.json"
WEIGHTS = "emotion.weights.h5"
VOICE_CONFIG = "speaker/voice.json"
VOICE_WEIGHTS = "speaker/voice.weights.h5"
CAMPPLUS = "speaker/campplus.onnx"
"""A set may leave this one out: then that of the default set serves."""
NEEDED = (CONFIG, WEIGHTS, VOICE_CONFIG, VOICE_WEIGHTS, CAMPPLUS)
"""What a folder of models holds, so that everything can run."""
DEFAULT = "default"
"""How the set that callmood uses where none is named is called in lists."""
COMMERCIAL = "commercial"
"""The word that names the other shipped set, which lies in the folder of that name inside the first."""

State = Literal["ok", "missing", "changed", "not recorded"]


_WRONG: dict[State, str] = {
    "missing": "missing",
    "changed": "not the file that was recorded (SHA-256 differs)",
    "not recorded": f"needed, and {MANIFEST} does not record it",
}


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a set of models."""

    name: str
    path: Path
    sha256: str
    """As recorded; empty where it is not."""
    licence: str
    """As recorded; empty where it is not."""
    size_bytes: int | None
    """None where the file is missing."""
    state: State
    """`ok`: the file has the recorded SHA-256; `changed`: it has another; `not recorded`: it is needed, and the
    manifest does not name it."""

    @property
    def ok(self) -> bool:
        return self.state == "ok"


def models_folder(models: str | Path | None = None) -> Path:
    """`models`, or the folder that callmood ships: inside the installed package, else in the repository.

    The word `commercial` names the second shipped set; a folder of that name is given as `./commercial`, or as
    a `Path`.
    """
    if models == COMMERCIAL:
        return models_folder() / COMMERCIAL
    if models is not None:
        return Path(models)
    package = Path(__file__).resolve().parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def describe_set(models: str | Path | None = None) -> list[ModelFile]:
    """Every file of the manifest, checked, and every needed one that it does not name.

    Raises
    ------
    ModelError
        There is no readable manifest.
    """
    folder = models_folder(models)
    files = describe_models(models)
    unnamed = sorted(set(NEEDED) - {file.name for file in files})
    return files + [
        ModelFile(
            name=name,
            path=folder / name,
            sha256="",
            licence="",
            size_bytes=_size(folder / name),
            state="not recorded",
        )
        for name in unnamed
    ]


def list_sets(models: str | Path | None = None) -> tuple[list[tuple[str, ModelFile]], list[str]]:
    """Each file of the shipped sets, or of `models`, after the name of its set; and what is wrong, in sentences."""
    files: list[tuple[str, ModelFile]] = []
    problems: list[str] = []
    for name in (DEFAULT, COMMERCIAL) if models is None else (str(models),):
        source = None if models is None and name == DEFAULT else models or name
        try:
            found = describe_set(source)
        except ModelError as error:
            problems.append(str(error))
            continue
        files += [(name, file) for file in found]
        problems += [
            f"{file.path}: {_WRONG[file.state]}; reinstall callmood or name another folder with --models."
            for file in found
            if not file.ok
        ]
    return files, problems


def describe_models(models: str | Path | None = None) -> list[ModelFile]:
    """Every file of the manifest, checked, and `CAMPPLUS` of the default set where the manifest does not name one.

    Raises
    ------
    ModelError
        There is no readable manifest.
    """
    folder = models_folder(models)
    if models == COMMERCIAL and not folder.is_dir():
        raise ModelError(
            f"{folder}: this installation does not have the {COMMERCIAL} models; reinstall callmood, or give a "
            f"folder of your own of that name as --models ./{COMMERCIAL}."
        )
    manifest = folder / MANIFEST
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        described = [_described(folder, name, entry) for name, entry in files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{manifest}: no readable model manifest ({error}); reinstall callmood or name another folder "
            "with --models."
        ) from error
    if CAMPPLUS not in files and folder != models_folder():
        described += [file for file in describe_models() if file.name == CAMPPLUS]
    return described


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


def set_of_hash(wanted: str, models: str | Path | None = None) -> str | Path | None:
    """What names the set of models on this machine that has the hash `wanted`: `models`, or one of the shipped ones.

    Raises
    ------
    ModelError
        None has it.
    """
    found = []
    for name in (models, None, COMMERCIAL):
        try:
            have = models_hash(name)
        except ModelError:
            continue
        if have == wanted and all(file.ok for file in describe_models(name)):
            return name
        found.append(have)
    raise ModelError(
        f"needs models of hash {wanted} and finds {', '.join(dict.fromkeys(found)) or 'none'}; install the same callmood "
        "there, or put the folder of --models at the same path."
    )


def temperature_of(models: str | Path | None = None) -> float:
    """The temperature that the emotion model's logits are divided by."""
    return float(_config(models)["temperature"])


def check_new_folder(folder: Path) -> None:
    """Refuse a folder for new models that holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder}: exists and is not empty; name a new folder for the models.")


def write_with_temperature(
    folder: Path, models: str | Path | None = None, *, temperature: float, refit: Mapping[str, Any]
) -> None:
    """Copy the recorded files of `models` to a new folder, with another temperature and a manifest of their own.

    Licences stay as they are. `refit` says in the copy's parameters where the temperature comes from.

    Raises
    ------
    ModelError
        A file of `models` is missing or changed, or the folder is not empty or cannot be written.
    """
    check_new_folder(folder)
    config = {**_config(models), "temperature": temperature, "refit": dict(refit)}
    files = describe_models(models)
    for file in files:
        verified(file.name, models)
        if not (folder / file.name).resolve().is_relative_to(folder.resolve()):
            raise ModelError(
                f"{models_folder(models) / MANIFEST}: names {file.name}, which lies outside its folder; name "
                "another folder with --models."
            )
    entries = {}
    try:
        for file in files:
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.name == CONFIG:
                target.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            else:
                shutil.copyfile(file.path, target)
            entries[file.name] = {"sha256": _sha256(target), "licence": file.licence}
        manifest = json.dumps({"files": entries}, indent=2, sort_keys=True) + "\n"
        (folder / MANIFEST).write_text(manifest, encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{folder}: the models cannot be written there ({error}); name another folder."
        ) from error


def _config(models: str | Path | None) -> dict[str, Any]:
    path = verified(CONFIG, models)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        float(config["temperature"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: does not hold a model's parameters ({error}); name another folder with --models."
        ) from error
    return dict(config)


def _described(folder: Path, name: str, entry: Mapping[str, str]) -> ModelFile:
    path = folder / name
    found = _sha256(path)
    return ModelFile(
        name=name,
        path=path,
        sha256=entry["sha256"],
        licence=entry["licence"],
        size_bytes=_size(path),
        state="missing" if found is None else "ok" if found == entry["sha256"] else "changed",
    )


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
