"""The pyannote.audio engine: pyannote's own pretrained diarization pipelines behind our interface."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from callmood.diarize.turns import mark_overlap
from callmood.errors import EngineUnavailableError
from callmood.types import Audio, Turn

DEFAULT_PIPELINE = "pyannote/speaker-diarization-community-1"

RATE_HZ = 16_000
"""What pyannote's pretrained models listen at."""

_PIPELINE_CLASSES = (
    "pyannote.audio.pipelines.SpeakerDiarization",
    "pyannote.audio.pipelines.speaker_diarization.SpeakerDiarization",
)


class PyannoteDiarizer:
    """Speaker turns from a pretrained pyannote.audio pipeline, which is loaded at the first call and kept.

    `pipeline` is a local directory with a `config.yaml`, or the id of a pipeline on the Hugging Face hub,
    which is downloaded where it is not cached yet, with the token in `HF_TOKEN`. None means the cached
    download of `DEFAULT_PIPELINE`. The network is touched only where a hub id was named.

    `speakers` is the number of speakers, or None to let the pipeline find it; `device` is `cpu` or `gpu`.
    """

    def __init__(self, *, pipeline: str | None, speakers: int | None, device: str = "cpu") -> None:
        self.name = f"pyannote.audio {_version()} ({Path(pipeline or DEFAULT_PIPELINE).name})"
        """Engine, version and, in brackets, the pipeline."""
        self.by_channel = False
        self._source = pipeline
        self._speakers = speakers
        self._device = device
        self._pipeline: Any = None

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        """Return the turns of all speakers in a one-channel call, by time.

        Turns may overlap. Speakers are `S1`, `S2`, ... by order of first speech. The confidence stays None:
        the pipeline states none. Raises EngineUnavailableError where the engine cannot run here.
        """
        if not audio.samples.size:
            return ()
        if self._pipeline is None:
            self._pipeline = _load(self._source, self._device)

        import soxr
        import torch

        # Resampled once here: pyannote would resample each of its overlapping chunks by itself.
        mono = soxr.resample(audio.samples[0], audio.rate_hz, RATE_HZ)
        file = {"waveform": torch.from_numpy(mono)[None], "sample_rate": RATE_HZ, "uri": "call"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = self._pipeline(file, num_speakers=self._speakers)
        # Pipelines that are configured as `legacy` return the annotation itself.
        return _turns(getattr(output, "speaker_diarization", output), audio)


def _turns(annotation: Any, audio: Audio) -> tuple[Turn, ...]:
    """Return the tracks of a pyannote annotation as turns that lie within the audio."""
    from pyannote.core import Segment

    whole = Segment(0.0, audio.duration_s)
    speakers: dict[str, str] = {}
    turns = []
    for track, _, label in annotation.itertracks(yield_label=True):  # by time
        span = track & whole
        if not span:
            continue
        turns.append(
            Turn(
                speaker=speakers.setdefault(label, f"S{len(speakers) + 1}"),
                channel=0,
                start_s=span.start,
                end_s=span.end,
            )
        )
    return mark_overlap(turns)


def _version() -> str | None:
    try:
        return importlib.metadata.version("pyannote.audio")
    except importlib.metadata.PackageNotFoundError:
        return None


def _load(source: str | None, device: str) -> Any:
    """Return the pipeline on its device, or raise EngineUnavailableError with the reason."""
    version = _version()
    if version is None:
        raise EngineUnavailableError(
            'The diarizer pyannote needs a package that is not installed: pip install "callmood[pyannote]".'
        )
    checkpoint = source or DEFAULT_PIPELINE
    directory = Path(checkpoint).expanduser()
    is_local = directory.is_dir()
    if is_local:
        checkpoint = str(directory)
    elif not _is_hub_id(checkpoint):
        raise EngineUnavailableError(
            f"The pyannote pipeline directory {checkpoint} does not exist; name a directory that holds a "
            "config.yaml, or the id of a pipeline on the Hugging Face hub."
        )
    _import_pyannote(version)
    import torch
    from pyannote.audio import Pipeline

    if device == "gpu" and not torch.cuda.is_available():
        raise EngineUnavailableError(
            f"PyTorch {torch.__version__} finds no GPU for pyannote.audio; use the CPU, or install a PyTorch "
            "that is built for this machine's GPU."
        )
    torch.set_num_threads(1)

    may_download = source is not None and not is_local
    with (
        contextlib.nullcontext() if may_download else _hub_offline(),
        _weights_only(),
        warnings.catch_warnings(),
        # pyannote prints its advice about tokens, which the sentences below give as well.
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            _check_config(directory / "config.yaml" if is_local else _fetch_config(checkpoint))
            pipeline = Pipeline.from_pretrained(checkpoint)
        except EngineUnavailableError:
            raise
        except Exception as error:  # whatever a pipeline of unknown make raises, the user gets a sentence
            raise EngineUnavailableError(_why(error, checkpoint, may_download=may_download)) from error
    return pipeline.to(torch.device("cuda" if device == "gpu" else "cpu"))


def _import_pyannote(version: str) -> None:
    """Import pyannote.audio with its telemetry off, or raise EngineUnavailableError."""
    # Read when pyannote.audio is imported and again at each event; without it, each run is reported.
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # It warns that torchcodec cannot read files; it gets samples from us, never files.
        warnings.simplefilter("ignore")
        try:
            _import_torchaudio()
            importlib.import_module("pyannote.audio")
        except (ImportError, OSError, RuntimeError) as error:
            raise EngineUnavailableError(
                f"pyannote.audio {version} is installed but cannot be imported ({_first_line(error)}); install "
                "releases of torch, torchaudio and pyannote.audio that belong together."
            ) from error


def _import_torchaudio() -> None:
    """Import torchaudio, without its compiled library where that cannot be loaded.

    The builds on the package index are linked against CUDA and raise OSError beside a CPU-only PyTorch. What
    pyannote.audio uses of torchaudio (Kaldi filter banks, resampling) is Python on top of PyTorch, and
    torchaudio runs without its library where it finds none. So it is told that there is none; a torchaudio
    that loads is left as it is.
    """
    try:
        importlib.import_module("torchaudio")
    except OSError:
        no_library = types.ModuleType("torchaudio._extension")
        no_library.__dict__.update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            fail_if_no_align=lambda function: function,
        )
        sys.modules["torchaudio._extension"] = no_library
        importlib.import_module("torchaudio")


@contextlib.contextmanager
def _hub_offline() -> Iterator[None]:
    """Keep huggingface_hub to its cache, also for models that a local config.yaml names by hub id."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Let `torch.load` build tensors and plain values only, so that no checkpoint runs code.

    pyannote.audio 4.0 asks for `weights_only=False` throughout; PyTorch's environment variable overrules
    it. The classes allowed are those that pyannote writes into its checkpoints: plain data, all four.
    """
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    allowed = [torch.torch_version.TorchVersion, Specifications, Problem, Resolution]
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with torch.serialization.safe_globals(allowed):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _is_hub_id(text: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text) is not None


def _fetch_config(hub_id: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(hub_id, "config.yaml"))


def _check_config(path: Path) -> None:
    """Refuse a configuration that names anything but pyannote's own diarization pipeline and models.

    pyannote.audio would import and call any class that the file names, be it one that runs a program or
    one that sends the audio to a service.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = config["pipeline"]["name"]
        embedding = str(config["pipeline"].get("params", {}).get("embedding"))
    except FileNotFoundError:
        raise EngineUnavailableError(
            f"{path.parent} holds no config.yaml, so it is not a pyannote pipeline; name the directory that "
            "does."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise EngineUnavailableError(
            f"{path} is not the configuration of a pyannote pipeline ({_first_line(error)}); fetch it anew."
        ) from error
    foreign = "preprocessors" in config or "speechbrain" in embedding or "nvidia" in embedding
    if name not in _PIPELINE_CLASSES or foreign:
        raise EngineUnavailableError(
            f"{path} asks for code other than pyannote's SpeakerDiarization pipeline and models, which is not "
            "run; name another pipeline."
        )


def _why(error: Exception, checkpoint: str, *, may_download: bool) -> str:
    """Say in one sentence why the pipeline could not be loaded, and the way out."""
    from pickle import UnpicklingError

    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    match error:
        case GatedRepoError():
            return (
                f"The pyannote pipeline {checkpoint} (or a model it needs) is gated: accept its conditions on "
                "the Hugging Face hub and set HF_TOKEN to a token of that account."
            )
        case HfHubHTTPError():
            return (
                f"The Hugging Face hub does not hand out the pyannote pipeline {checkpoint} (or a model it "
                "needs): check the name, and set HF_TOKEN to a token that may read it."
            )
        case LocalEntryNotFoundError() | ConnectionError() if may_download:
            return (
                f"The pyannote pipeline {checkpoint} is neither a directory here nor cached whole, and the "
                "Hugging Face hub cannot be reached; go online once, or name a local directory."
            )
        case LocalEntryNotFoundError() | ConnectionError():
            return (
                f"The pyannote pipeline {checkpoint}, or a model it needs, is not among the cached downloads; "
                f"name a local pipeline directory, or name {DEFAULT_PIPELINE} as the pipeline to download it "
                "with the token in HF_TOKEN."
            )
        case UnpicklingError():
            return (
                f"A checkpoint of the pyannote pipeline {checkpoint} is damaged or holds more than weights, "
                "which is not loaded; fetch it anew, or name another pipeline."
            )
    return (
        f"The pyannote pipeline {checkpoint} cannot be loaded ({type(error).__name__}: {_first_line(error)}); "
        "check that it is complete and made for the installed pyannote.audio."
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
