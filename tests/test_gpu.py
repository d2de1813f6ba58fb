"""Processes that run the networks for the workers. Real ones, on which a CPU device stands in for each GPU."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import cloudpickle
import duckdb
import numpy as np
import pytest

import callmood
from benchmarks.calls import EXAMPLES
from callmood import workers
from callmood.diarize.voice import VoiceModel
from callmood.emotion.model import EmotionModel
from callmood.emotions import PROBABILITY_COLUMNS
from callmood.errors import EngineUnavailableError
from callmood.gpu import client, servers
from callmood.gpu.client import Address, predict, use_servers
from callmood.gpu.servers import Gpu, Servers, find_gpus
from callmood.pipeline import analyze_recording, load_engines
from callmood.settings import Settings
from callmood.stopping import Stopping
from callmood.types import CallResult, Floats, Recording

Work = Callable[[Recording, Settings], CallResult]
STAND_INS = [Gpu(name=f"CPU standing in for GPU {number}", visible="-1", device="cpu") for number in (0, 1)]
BROKEN = Gpu(name="GPU 7", visible="-1")
"""A device that CUDA does not find, as where its driver fails."""


@contextmanager
def serving(gpus: list[Gpu], warnings: list[str]) -> Iterator[tuple[Address, ...]]:
    with Servers(gpus, models=None, environment={}, warnings=warnings) as running:
        for _ in running.wait(Stopping(max_runtime_s=120)):
            pass
        yield running.addresses


@pytest.fixture
def client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_servers", None)


def process_of(address: Address) -> int:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(address[0])
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    return int(pid)


def speech(n: int, inputs: int) -> Floats:
    return np.random.default_rng(n).normal(size=(n, inputs)).astype(np.float32)


def test_two_servers_share_the_work_and_one_does_all_when_the_other_has_gone(
    client_of_its_own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    emotion, voice = EmotionModel(), VoiceModel(device="cpu")
    lengths = (41, 203, 798)
    spans = [np.array([[0, n], [n // 4, n // 2]]) for n in lengths]
    heard, voices = ([speech(n, inputs) for n in lengths] for inputs in (80, 40))
    own = [*emotion.probabilities(heard, spans), *voice.embed(voices, spans)]
    asked: list[str] = []
    connect = client.Client

    def spy(address: str, *args: object, **options: object) -> object:
        asked.append(address)
        return connect(address, *args, **options)  # type: ignore[arg-type]

    with serving(STAND_INS, []) as addresses:
        monkeypatch.setattr(client, "Client", spy)
        use_servers(addresses)
        for _ in range(2):
            theirs = [*emotion.probabilities(heard, spans), *voice.embed(voices, spans)]
            np.testing.assert_allclose(np.concatenate(theirs[:3]), np.concatenate(own[:3]), atol=1e-5)
            np.testing.assert_allclose(np.concatenate(theirs[3:]), np.concatenate(own[3:]), atol=1e-5)
        first, second = (path for path, _ in addresses)
        assert asked == [first, second] * 2

        os.kill(process_of(addresses[0]), signal.SIGKILL)
        asked.clear()
        emotion.probabilities(heard, spans)
        emotion.probabilities(heard, spans)
        assert asked == [first, second, second]


def test_a_run_that_fails_ends_the_server_with_its_reason_and_leaves_the_request_to_the_worker(
    client_of_its_own: None,
) -> None:
    class Own:
        output_shape = (None, None, 1)

        def predict_on_batch(self, inputs: list[Floats]) -> Floats:
            return np.full((1, 1, 1), 5.0, np.float32)

    warnings: list[str] = []
    with serving(STAND_INS[:1], warnings) as addresses:
        use_servers(addresses)
        # What the network of the server cannot take, as a stand-in for a driver that fails.
        (found,) = predict("emotion", Own, [speech(40, 3)], [np.array([[0, 40]])])

    assert found.tolist() == [[5.0]]
    (warning,) = warnings
    assert warning.startswith("CPU standing in for GPU 0: ValueError: ")
    assert warning.endswith("; its work was done without it.")


def test_a_run_that_hangs_ends_its_process() -> None:
    program = "import time; from callmood.gpu.server import _ends_within as w\nwith w(0.1): time.sleep(60)"

    assert subprocess.run([sys.executable, "-c", program], timeout=50).returncode == 1


def test_requests_that_wait_go_through_the_network_together() -> None:
    from callmood.gpu.server import run
    from callmood.gpu.wire import Request

    class Network:
        output_shape = (None, None, 1)

        def __init__(self) -> None:
            self.batches: list[int] = []

        def predict_on_batch(self, inputs: list[Floats]) -> Floats:
            """Of each span, the first input of its row's first frame."""
            frames, spans = inputs
            self.batches.append(len(frames))
            return np.repeat(frames[:, :1, :1], spans.shape[1], axis=1)

    def request(*values: float) -> Request:
        return Request(
            network="emotion",
            stretches=[np.full((100, 2), value, np.float32) for value in values],
            spans=[np.array([[0, 100]])] * len(values),
        )

    network = Network()
    answers = run([request(1, 2), request(3)], {"emotion": network})

    assert network.batches == [3]
    assert [[rows.tolist() for rows in answer] for answer in answers] == [[[[1.0]], [[2.0]]], [[[3.0]]]]


def without_tensorflow(recording: Recording, settings: Settings) -> CallResult:
    """What a worker does; fails where it needed a network of its own."""
    result = analyze_recording(recording, load_engines(settings))
    assert "tensorflow" not in sys.modules
    return result


def killing_the_server(recording: Recording, settings: Settings) -> CallResult:
    """What a worker does, its server being killed while it works on the first request about `billing-0417`."""
    engines = load_engines(settings)
    receive = client.receive_answer

    def kill_and_receive(connection: Connection) -> list[Floats]:
        assert client._servers
        os.kill(process_of(client._servers[0]), signal.SIGKILL)
        return receive(connection)

    if recording.legs[0].path.stem == "billing-0417":
        client.receive_answer = kill_and_receive
    return analyze_recording(recording, engines)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Work], None]]:
    """Gives workers something else to do. They cannot import this file, so it travels by value."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield lambda function: monkeypatch.setattr(workers, "_work", function)
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def analyzed(database: Path, *, jobs: int = 2, device: str = "auto") -> tuple[Floats, tuple[str, ...]]:
    """Emotion probabilities of the windows of the examples, and the warnings of the run."""
    summary = callmood.analyze(EXAMPLES, db=str(database), jobs=jobs, device=device, snapshot_every=0)
    assert not summary.failures
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(PROBABILITY_COLUMNS)} FROM windows ORDER BY call_id, turn_index, start_s"
        ).fetchall()
    return np.array(rows, dtype=np.float32), summary.warnings


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Floats:
    """Probabilities without any server, which --device cpu never starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "find_gpus", lambda: STAND_INS)
        patch.setattr(servers, "_Server", None)
        found, warnings = analyzed(tmp_path_factory.mktemp("cpu") / "calls.duckdb", device="cpu")
    assert warnings == ()
    return found


def test_a_batch_has_the_same_results_with_a_cpu_standing_in_for_each_of_two_gpus(
    on_cpu: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Work], None]
) -> None:
    monkeypatch.setattr(servers, "find_gpus", lambda: STAND_INS)
    work(without_tensorflow)

    served, warnings = analyzed(tmp_path / "calls.duckdb")

    np.testing.assert_allclose(served, on_cpu, atol=1e-5)
    assert warnings == ()


def test_a_server_that_is_killed_leaves_its_work_to_the_cpu_and_a_warning(
    on_cpu: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Work], None]
) -> None:
    monkeypatch.setattr(servers, "find_gpus", lambda: STAND_INS[:1])
    work(killing_the_server)

    found, warnings = analyzed(tmp_path / "calls.duckdb", jobs=1)

    np.testing.assert_allclose(found, on_cpu, atol=1e-5)
    assert warnings == (
        "CPU standing in for GPU 0: its process ended with status -9; its work was done without it.",
    )


def test_where_no_gpu_works_the_cpu_does_it_all_and_a_warning_says_so(
    on_cpu: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "find_gpus", lambda: [BROKEN])

    found, warnings = analyzed(tmp_path / "calls.duckdb")

    np.testing.assert_array_equal(found, on_cpu)
    (warning,) = warnings
    assert warning.startswith("GPU 7: TensorFlow sees no GPU")

    with pytest.raises(EngineUnavailableError, match="GPU 7: TensorFlow sees no GPU"):
        analyzed(tmp_path / "others.duckdb", device="gpu")


def test_the_variable_of_cuda_says_which_gpus_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a container, the nodes may have numbers of the machine that CUDA does not know them by.
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia3"), Path("/dev/nvidia5")]))

    def visible(value: str | None) -> list[str]:
        if value is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        return [gpu.visible for gpu in find_gpus()]

    assert visible(None) == ["0", "1"]
    assert visible("1, GPU-8932f937") == ["1", "GPU-8932f937"]
    assert visible("-1") == visible("") == []

    monkeypatch.setattr(Path, "glob", lambda *_: iter([]))
    assert visible("0") == []
