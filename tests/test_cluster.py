"""A cluster: a real scheduler of Dask and workers in processes of their own, over TCP on 127.0.0.1."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import callmood
from benchmarks.cluster import DaskProcesses, free_port
from benchmarks.kills import differences, make_calls, stand_in_work
from callmood import cluster as clusters
from callmood import workers
from callmood.cluster import with_dask
from callmood.cluster.on_worker import Task
from callmood.discover import discover
from callmood.errors import ClusterError, UsageError
from callmood.model_files import models_hash
from callmood.results import connect
from callmood.run import Progress, RunSummary
from callmood.settings import Settings
from callmood.types import CallResult, Recording

pytest.importorskip("distributed")
ROOT = Path(__file__).resolve().parents[1]


def slow_work(recording: Recording, settings: Settings) -> CallResult:
    """As `stand_in_work`, and so slow that a worker can be killed in the middle; `poison` kills its process."""
    time.sleep(0.2)
    if recording.path.stem == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return stand_in_work(recording, settings)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "calls"
    make_calls(folder, count=14)
    hour_ago = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (hour_ago, hour_ago))
    return folder


@pytest.fixture(scope="module")
def on_one_machine(calls: Path) -> Path:
    """The database that a run on this machine makes of the calls."""
    database = calls.with_name("one.duckdb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_work", stand_in_work)
        callmood.analyze(calls, db=str(database), jobs=1)
    return database


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskProcesses]:
    monkeypatch.setattr(workers, "_work", slow_work)
    with DaskProcesses(workers=2) as processes:
        yield processes


def run(
    calls: Path, database: Path, address: str, then: Callable[[Progress], None] | None = None, **options: Any
) -> RunSummary:
    return callmood.analyze(
        calls, db=str(database), backend="dask", scheduler=address, progress=then, **options
    )


def test_a_lost_worker_and_an_added_one_change_nothing(
    calls: Path, on_one_machine: Path, cluster: DaskProcesses, tmp_path: Path
) -> None:
    def disturb(progress: Progress) -> None:
        if progress.done == 1:  # written at once; later ones come together
            cluster.workers[0].kill()
            cluster.workers.append(cluster.start_worker())

    database = tmp_path / "many.duckdb"
    summary = run(calls, database, cluster.address, disturb)

    assert (summary.analyzed, summary.left) == (14, 0)
    assert differences(database, on_one_machine) == []


def test_results_that_went_with_their_worker_before_they_were_fetched_are_made_again(
    calls: Path, cluster: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_dask, "_FETCH_S", 1.0)
    settings = Settings()
    (recording,) = discover([calls / "call-0.wav"]).recordings
    task = Task(work=workers._work, recordings=(recording,), settings=settings, model_hash=models_hash(None))
    connected = with_dask.DaskCluster(cluster.address)
    submitted = connected.submit(task)
    (ended,) = until(lambda: connected.finished(wait_s=0.5))
    for process in cluster.workers:
        process.kill()
    until(lambda: connected.slots() == 0)
    assert connected.results(ended) is None
    assert connected.finished(wait_s=0.1) == []
    cluster.workers.append(cluster.start_worker())
    assert list(until(lambda: connected.finished(wait_s=0.5))) == [submitted]
    (result,) = connected.results(submitted) or ()
    connected.close()

    assert result.status == "ok"


def until(look: Callable[[], Any], *, wait_s: float = 60.0) -> Any:
    """What a look answers, once it answers something."""
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError


def test_a_lost_scheduler_ends_the_run_and_the_next_one_goes_on(
    calls: Path, on_one_machine: Path, cluster: DaskProcesses, tmp_path: Path
) -> None:
    def lose(progress: Progress) -> None:
        if progress.done == 1:
            cluster.scheduler.kill()

    database = tmp_path / "many.duckdb"
    with pytest.raises(ClusterError, match="scheduler of dask was lost; finished recordings are kept"):
        run(calls, database, cluster.address, lose)
    for process in cluster.workers:
        process.kill()
    cluster.scheduler.wait()
    cluster.start_scheduler()
    cluster.workers = [cluster.start_worker()]
    summary = run(calls, database, cluster.address)

    assert summary.already_known >= 1
    assert summary.analyzed == 14 - summary.already_known
    assert differences(database, on_one_machine) == []


def test_a_recording_that_kills_its_process_is_quarantined_and_the_worker_lives_on(
    calls: Path, cluster: DaskProcesses, tmp_path: Path
) -> None:
    (tmp_path / "calls").mkdir()
    for name, source in (("poison", "call-0"), ("good", "call-1")):
        (tmp_path / "calls" / f"{name}.wav").write_bytes((calls / f"{source}.wav").read_bytes())
    summary = run(tmp_path / "calls", tmp_path / "x.duckdb", cluster.address)

    assert summary.analyzed == 2
    (failure,) = summary.failures
    assert (failure.status, failure.recording.path.stem) == ("quarantined", "poison")
    assert all(process.poll() is None for process in cluster.workers)


def test_a_worker_with_other_models_refuses_in_one_sentence(
    calls: Path, cluster: DaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callmood.cluster.models_hash", lambda _: "0123456789abcdef")
    with pytest.raises(
        ClusterError, match=r"the worker on .* needs models of hash 0123456789abcdef and finds "
    ):
        run(calls, tmp_path / "x.duckdb", cluster.address)


def test_nobody_at_the_address_is_told(calls: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--scheduler"):
        callmood.analyze(calls, db=str(tmp_path / "x.duckdb"), backend="dask")
    with pytest.raises(ClusterError, match="no scheduler of dask answers there"):
        run(calls, tmp_path / "x.duckdb", "tcp://127.0.0.1:1")


@dataclass(frozen=True, kw_only=True)
class RayProcesses:
    """A cluster of Ray on 127.0.0.1, of one node and two slots."""

    address: str
    folder: Path

    def pids(self) -> list[int]:
        """Processes whose command line names its folder: its head and what that started, but not its workers."""
        own = str(self.folder).encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if own in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found

    def signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@pytest.fixture
def ray_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayProcesses]:
    pytest.importorskip("ray")
    # A token of this test's own, for the cluster and for the run, which is a process of its own as Ray reads it
    # but once.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests"))))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))  # its sockets' paths must be short
    processes = RayProcesses(address=f"127.0.0.1:{port}", folder=folder)
    try:
        subprocess.run(
            [
                sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port", str(port),
                "--node-ip-address", "127.0.0.1", "--num-cpus", "2", "--include-dashboard", "false",
                "--disable-usage-stats", "--temp-dir", str(folder), "--object-store-memory", "100000000",
            ],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        yield processes
    finally:
        processes.signal(signal.SIGTERM)  # so that they end what they started
        with suppress(AssertionError):
            until(lambda: not processes.pids(), wait_s=5.0)
        processes.signal(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


ANALYZE = """
import os
import sys
import callmood
import test_cluster
from callmood import workers
from callmood.errors import ClusterError

workers._work = test_cluster.slow_work
calls, database, address = sys.argv[1:]
progress = test_cluster.losing_ray(address) if "TO_BE_LOST" in os.environ else print
try:
    callmood.analyze(
        calls,
        db=database,
        backend="ray",
        scheduler=address,
        progress=lambda given: progress(given.result.status),
    )
except ClusterError as error:
    print(error)
"""


def losing_ray(address: str) -> Callable[[str], None]:
    """Progress that prints, and has the cluster of Ray killed after the first result: at the worst moment, when it was
    just seen to be there."""
    processes = RayProcesses(address=address, folder=Path(os.environ["TO_BE_LOST"]))
    connect_to = socket.create_connection
    results: list[str] = []

    def look(*where: Any, **options: Any) -> socket.socket:
        connected = connect_to(*where, **options)
        if results:
            processes.signal(signal.SIGKILL)
        return connected

    def progress(status: str) -> None:
        print(status)
        results.append(status)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "create_connection", look)
    patch.setattr(clusters, "_LOOK_EVERY_S", 0.0)
    return progress


def run_on_ray(calls: Path, database: Path, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ANALYZE, str(calls), str(database), address],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_ray_does_the_same_work_and_a_recording_that_kills_its_process_is_quarantined(
    calls: Path, on_one_machine: Path, ray_processes: RayProcesses, tmp_path: Path
) -> None:
    database = tmp_path / "many.duckdb"
    said, _ = run_on_ray(calls, database, ray_processes.address).communicate(timeout=300)
    assert differences(database, on_one_machine) == [], said

    folder = tmp_path / "calls"
    folder.mkdir()
    for name, source in (("poison", "call-0"), ("good", "call-1")):
        (folder / f"{name}.wav").write_bytes((calls / f"{source}.wav").read_bytes())
    said, _ = run_on_ray(folder, tmp_path / "x.duckdb", ray_processes.address).communicate(timeout=300)
    statuses = [line for line in said.splitlines() if line in ("ok", "quarantined")]
    assert sorted(statuses) == ["ok", "quarantined"], said


def test_a_lost_head_of_ray_ends_the_run_and_what_was_finished_is_kept(
    calls: Path, ray_processes: RayProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TO_BE_LOST", str(ray_processes.folder))
    database = tmp_path / "many.duckdb"
    process = run_on_ray(calls, database, ray_processes.address)
    said, _ = process.communicate(timeout=300)

    assert process.returncode == 0, said
    assert "the cluster of ray was lost; finished recordings are kept" in said, said
    with connect(database) as connection:
        (kept,) = connection.execute("SELECT count(*) FROM calls").fetchall()
    assert 1 <= kept[0] < 14
