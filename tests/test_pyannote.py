"""The pyannote engine, for real, on a pipeline directory that is built here from pyannote's own classes.

Its networks are random, but for a last layer that is fitted to tell two synthetic voices apart, so these tests
show that the engine works, and say nothing about how well pyannote's pretrained pipelines diarize speech.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib.metadata
import os
import shutil
import socket
import sys
import threading
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from numpy.typing import NDArray

from callmood.diarize.pyannote import DEFAULT_PIPELINE, PyannoteDiarizer
from callmood.diarize.pyannote import _import_pyannote as import_pyannote
from callmood.errors import EngineUnavailableError
from callmood.types import Audio

try:
    VERSION = importlib.metadata.version("pyannote.audio")
except importlib.metadata.PackageNotFoundError:
    VERSION = ""

needs_pyannote = pytest.mark.skipif(not VERSION, reason="pyannote.audio is not installed")

RATE_HZ = 16_000
CALL_RATE_HZ = 8_000
CHUNK_S = 5.0
"""Longer than any one span of speech: the network normalises each chunk, and needs to hear a change in it."""
BANDS_HZ = ((200, 900), (1500, 3500))
"""Where the two voices have their partials."""


def voice(speaker: int, duration_s: float) -> NDArray[np.float64]:
    """A steady buzz, shape (samples,)."""
    partials_hz = np.arange(*BANDS_HZ[speaker], 130)
    t = np.arange(round(duration_s * CALL_RATE_HZ)) / CALL_RATE_HZ
    phases = np.arange(len(partials_hz)) ** 2
    return 0.1 * np.sin(2 * np.pi * partials_hz[:, None] * t + phases[:, None]).sum(axis=0)


def call(*spans: tuple[int, float, float], duration_s: float) -> Audio:
    """A call in which each (speaker, start_s, end_s) is heard."""
    samples = np.random.default_rng(1).normal(0.0, 1e-3, (1, round(duration_s * CALL_RATE_HZ)))
    for speaker, start_s, end_s in spans:
        start = round(start_s * CALL_RATE_HZ)
        buzz = voice(speaker, end_s - start_s)
        samples[0, start : start + len(buzz)] += buzz
    return Audio(
        samples=samples.astype(np.float32),
        rate_hz=CALL_RATE_HZ,
        source_rate_hz=CALL_RATE_HZ,
        source_channels=1,
        codec="PCM_16",
    )


@pytest.fixture(autouse=True)
def tried_hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hosts that were looked up or connected to; only this machine answers."""
    hosts: list[str] = []
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def guarded_look_up(host: str, *args: Any, **options: Any) -> Any:
        hosts.append(host)
        if host != "127.0.0.1":
            raise socket.gaierror("no network in tests")
        return look_up(host, *args, **options)

    def guarded_connect(self: socket.socket, address: Any) -> None:
        hosts.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError("no network in tests")
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    return hosts


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory laid out as pyannote lays out its own."""
    import_pyannote(VERSION)
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34

    directory = tmp_path_factory.mktemp("pipeline")
    torch.manual_seed(0)
    save(segmentation_model(), directory / "segmentation")
    embedding = WeSpeakerResNet34()
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=CHUNK_S
    )
    save(embedding, directory / "embedding")

    (directory / "plda").mkdir()
    np.savez(
        directory / "plda" / "xvec_transform.npz",
        mean1=np.zeros(256),
        mean2=np.zeros(128),
        lda=np.eye(256, 128),
    )
    np.savez(
        directory / "plda" / "plda.npz", mu=np.zeros(128), tr=np.eye(128), psi=np.linspace(2.0, 1.0, 128)
    )
    write_config(directory)
    return directory


def write_config(directory: Path, **params: object) -> None:
    import yaml

    config = {
        "dependencies": {"pyannote.audio": "4.0.0"},
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "segmentation": "$model/segmentation",
                "segmentation_step": 0.2,
                "embedding": "$model/embedding",
                "embedding_exclude_overlap": True,
                "embedding_batch_size": 8,
                "plda": "$model/plda",
                "clustering": "AgglomerativeClustering",
                **params,
            },
        },
        "params": {
            "segmentation": {"min_duration_off": 0.2},
            "clustering": {"method": "average", "min_cluster_size": 1, "threshold": 0.5},
        },
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def segmentation_model() -> object:
    """A PyanNet with random weights, and a classifier fitted to them by least squares."""
    import soxr
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet
    from pyannote.audio.utils.powerset import Powerset

    model = PyanNet(lstm={"hidden_size": 128, "num_layers": 1}, linear={"num_layers": 0})
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=CHUNK_S,
        classes=["speaker#1", "speaker#2"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    model.build()
    model.eval()

    frames = model.receptive_field
    centre_s = frames.start + frames.duration / 2
    frame_s = centre_s + frames.step * np.arange(model.num_frames(round(CHUNK_S * RATE_HZ)))
    rng = np.random.default_rng(0)
    chunks, active = [], []
    for _ in range(100):
        starts_s = rng.uniform(-2.0, CHUNK_S, 2)
        ends_s = starts_s + rng.uniform(0.5, 3.0, 2)
        spans = [
            (speaker, max(starts_s[speaker], 0.0), min(ends_s[speaker], CHUNK_S))
            for speaker in (0, 1)
            if ends_s[speaker] > 0.0 and rng.random() < 0.75
        ]
        chunks.append(soxr.resample(call(*spans, duration_s=CHUNK_S).samples[0], CALL_RATE_HZ, RATE_HZ)[None])
        active.append(np.zeros((len(frame_s), 2), dtype=np.float32))
        for speaker, start_s, end_s in spans:
            active[-1][(frame_s >= start_s) & (frame_s < end_s), speaker] = 1.0

    with torch.inference_mode():
        features, _ = model.lstm(model.sincnet(torch.from_numpy(np.stack(chunks))).transpose(1, 2))
        features = torch.nn.functional.pad(features.reshape(-1, 256), (0, 1), value=1.0)
        classes = Powerset(2, 2).to_powerset(torch.from_numpy(np.stack(active))).reshape(-1, 4).float()
        weights = torch.linalg.lstsq(features, classes).solution
        model.classifier.weight.copy_(weights[:-1].T)
        model.classifier.bias.copy_(weights[-1])
    return model


def save(model: object, directory: Path) -> None:
    """Write a checkpoint the way pyannote's training does, through Lightning."""
    from lightning import Trainer

    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(directory / "pytorch_model.bin")


@pytest.fixture(scope="module")
def diarizer(pipeline: Path) -> PyannoteDiarizer:
    return PyannoteDiarizer(pipeline=str(pipeline), speakers=2)


@pytest.fixture
def copy(pipeline: Path, tmp_path: Path) -> Path:
    """A pipeline directory that a test may spoil."""
    return shutil.copytree(pipeline, tmp_path / "pipeline")


def refusal(pipeline: str | Path | None, *, device: str = "cpu") -> str:
    """The sentence with which the engine says that it cannot run."""
    diarize = PyannoteDiarizer(
        pipeline=None if pipeline is None else str(pipeline), speakers=2, device=device
    )
    with pytest.raises(EngineUnavailableError) as refused:
        diarize(call(duration_s=1.0))
    return str(refused.value)


@needs_pyannote
def test_turns_lie_where_the_voices_are_and_bear_their_speakers(
    diarizer: PyannoteDiarizer, pipeline: Path, tried_hosts: list[str]
) -> None:
    spoken = ((1, 0.5, 2.5), (0, 3.5, 6.0), (1, 6.5, 7.5))

    turns = diarizer(call(*spoken, duration_s=8.0))

    assert [turn.speaker for turn in turns] == ["S1", "S2", "S1"]
    for turn, (_, start_s, end_s) in zip(turns, spoken, strict=True):
        assert turn.start_s == pytest.approx(start_s, abs=0.15)
        assert turn.end_s == pytest.approx(end_s, abs=0.15)
    assert {turn.channel for turn in turns} == {0}
    assert all(turn.overlap_s == 0.0 for turn in turns)
    assert diarizer.name == f"pyannote.audio {VERSION} ({pipeline.name})"
    assert tried_hosts == []


@needs_pyannote
def test_two_at_once_are_two_turns_that_overlap(diarizer: PyannoteDiarizer) -> None:
    first, second = diarizer(call((0, 0.5, 3.0), (1, 2.0, 4.5), duration_s=6.0))

    assert (first.speaker, second.speaker) == ("S1", "S2")
    assert first.end_s - second.start_s == pytest.approx(1.0, abs=0.2)
    assert first.overlap_s == second.overlap_s == pytest.approx(first.end_s - second.start_s)


@needs_pyannote
@needs_pyannote
def test_the_number_of_speakers_is_the_one_given(pipeline: Path) -> None:
    alone = PyannoteDiarizer(pipeline=str(pipeline), speakers=1)

    turns = alone(call((0, 0.5, 2.5), (1, 3.0, 5.0), duration_s=6.0))

    assert [turn.speaker for turn in turns] == ["S1", "S1"]


@needs_pyannote
@pytest.mark.parametrize("duration_s", [0.0, 0.001])
def test_audio_too_short_to_hold_speech_has_no_turns(diarizer: PyannoteDiarizer, duration_s: float) -> None:
    assert diarizer(call(duration_s=duration_s)) == ()


@needs_pyannote
def test_nothing_is_reported_to_the_makers_of_pyannote(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyannote.audio.telemetry import metrics

    reported: list[str] = []

    class Tracer:
        def start_as_current_span(self, name: str) -> contextlib.nullcontext[MagicMock]:
            reported.append(name)
            return contextlib.nullcontext(MagicMock())

    monkeypatch.setattr(metrics, "tracer", Tracer())
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "1")

    PyannoteDiarizer(pipeline=str(pipeline), speakers=2)(call(duration_s=1.0))

    assert reported == []


@needs_pyannote
def test_by_default_the_cached_download_is_used_and_nothing_fetched(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried_hosts: list[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / f"models--{DEFAULT_PIPELINE.replace('/', '--')}"
    shutil.copytree(pipeline, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)

    turns = PyannoteDiarizer(pipeline=None, speakers=2)(call((0, 0.5, 2.5), duration_s=3.0))

    assert turns
    assert tried_hosts == []


@needs_pyannote
def test_without_a_cached_download_the_default_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tried_hosts: list[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    assert "not among the cached downloads; name a local pipeline directory" in refusal(None)
    assert tried_hosts == []


@needs_pyannote
def test_a_directory_that_needs_a_model_from_the_hub_does_not_fetch_it(
    copy: Path, tried_hosts: list[str]
) -> None:
    write_config(copy, segmentation="pyannote/segmentation-3.0")

    assert "not among the cached downloads" in refusal(copy)
    assert tried_hosts == []


@needs_pyannote
def test_a_gated_pipeline_is_asked_for_with_the_token_and_the_refusal_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    tokens: list[str | None] = []

    class Gate(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            tokens.append(self.headers["Authorization"])
            self.send_response(403)
            self.send_header("X-Error-Code", "GatedRepo")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Gate) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{hub.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
        sentence = refusal("someone/gated")
        hub.shutdown()

    assert tokens == ["Bearer hf_of_this_test"]
    assert sentence == (
        "The pyannote pipeline someone/gated (or a model it needs) is gated: accept its conditions on the "
        "Hugging Face hub and set HF_TOKEN to a token of that account."
    )


@needs_pyannote
def test_a_named_pipeline_that_cannot_be_fetched_says_that_the_hub_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # spares the retries of a failed look-up

    assert "someone/pipeline is neither a directory here nor cached whole" in refusal("someone/pipeline")


@needs_pyannote
def test_a_checkpoint_that_holds_code_does_not_run_it(copy: Path, tmp_path: Path) -> None:
    import torch

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": Payload()}, copy / "segmentation" / "pytorch_model.bin")

    assert "is damaged or holds more than weights" in refusal(copy)
    assert not (tmp_path / "ran").exists()


@needs_pyannote
@pytest.mark.parametrize(
    "config",
    [
        {"pipeline": {"name": "subprocess.Popen", "params": {"args": ["true"]}}},
        {"pipeline": {"name": "pyannote.audio.pipelines.pyannoteai.sdk.SDK"}},
        {
            "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization"},
            "preprocessors": {"x": {"name": "subprocess.Popen", "params": {"args": ["true"]}}},
        },
        {
            "pipeline": {
                "name": "pyannote.audio.pipelines.SpeakerDiarization",
                "params": {"embedding": "speechbrain/spkrec-ecapa-voxceleb"},
            }
        },
    ],
    ids=["a program", "a service", "a preprocessor", "another toolkit"],
)
def test_a_configuration_that_asks_for_other_code_is_refused(tmp_path: Path, config: object) -> None:
    import yaml

    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    assert "asks for code other than pyannote's" in refusal(tmp_path)


@needs_pyannote
@pytest.mark.parametrize("text", ["", "pipeline: 3", "pipeline: {name: [", "\x00"])
def test_a_broken_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")

    assert f"{tmp_path / 'config.yaml'} is not the configuration of a pyannote pipeline" in refusal(tmp_path)


@needs_pyannote
def test_a_missing_checkpoint_is_named(copy: Path) -> None:
    (copy / "embedding" / "pytorch_model.bin").unlink()

    assert "pytorch_model.bin" in refusal(copy)


@needs_pyannote
def test_a_directory_that_is_missing_or_holds_no_pipeline_is_named(tmp_path: Path) -> None:
    assert f"directory {tmp_path / 'gone'} does not exist" in refusal(tmp_path / "gone")
    assert f"{tmp_path} holds no config.yaml" in refusal(tmp_path)


@needs_pyannote
def test_a_gpu_that_is_not_there_is_refused(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert "finds no GPU" in refusal(pipeline, device="gpu")


@needs_pyannote
def test_a_torchaudio_that_imports_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import_pyannote(VERSION)
    monkeypatch.delitem(sys.modules, "torchaudio._extension")

    import_pyannote(VERSION)

    assert "torchaudio._extension" not in sys.modules


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)

    assert refusal(None) == (
        'The diarizer pyannote needs a package that is not installed: pip install "callmood[pyannote]".'
    )
