"""Dask against loky: the same calls on the same two processes, in CPU-seconds of all processes and by the clock.

    python -m benchmarks.cluster                            8 and 72 calls of two minutes, two channels
    python -m benchmarks.cluster --few 8 --many 200 --rounds 3

Each backend does the few calls and then the many, into new databases, with two workers; what counts is the difference,
so that starting (TensorFlow, models, the scheduler) is left out. CPU-seconds are those of all processes: the run, the
scheduler, the workers and their processes, or loky's. Scheduler and workers have the settings that docs/scaling.md advises.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_ROOT = Path(__file__).resolve().parents[1]
_START_S = 30.0
QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
}
"""What docs/scaling.md advises: Dask otherwise looks a hundred times a second at what its workers are doing."""
_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _end_with_parent() -> None:
    """Have the system kill this process when the thread that started it ends, killed or not (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class DaskProcesses:
    """A scheduler of Dask and workers, each a process of its own, that talk over TCP on 127.0.0.1."""

    def __init__(self, *, workers: int, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: further variables of the workers."""
        self._environment = environment or {}
        self._folder = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = self.start_scheduler()
        self.workers = [self.start_worker() for _ in range(workers)]

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Begin a scheduler at `address`, where none is."""
        arguments = ("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        self.scheduler = self._start(*arguments)
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
                return self.scheduler
            time.sleep(0.05)
        raise RuntimeError("the scheduler of dask does not start")

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Begin a worker of one slot, in one process."""
        return self._start(
            "worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1",
            "--local-directory", self._folder.name, "--death-timeout", "60", environment=environment,
        )  # fmt: skip

    def _start(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "tests")]),
                **QUIET,
                **self._environment,
                **(environment or {}),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_end_with_parent,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self._folder.cleanup()


_MINUTES = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")


def make_long_calls(folder: Path, *, count: int) -> None:
    """Calls of two minutes in two channels, each of its own content, from the example calls."""
    import numpy as np
    import soundfile

    folder.mkdir(parents=True)
    examples = _ROOT / "examples" / "calls"
    samples, rate_hz = soundfile.read(examples / "delivery-0418.wav", dtype="float32")
    wanted = int(_MINUTES * 60 * rate_hz)
    for number in range(count):
        repeated = np.roll(np.resize(samples, (wanted, samples.shape[1])), number * 997, axis=0)
        soundfile.write(folder / f"call-{number}.wav", repeated, rate_hz)


def cpu_s(pid: int) -> float:
    """CPU-seconds of a process and of all its descendants, ended ones that were waited for among them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS + sum(cpu_s(child) for child in children)


def measure(calls: Path, *, backend: str) -> tuple[float, float]:
    """CPU-seconds of all processes and seconds by the clock that a run takes, start included."""
    own_s, started_s = sum(os.times()[:4]), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "callmood", "analyze", str(calls), "--quiet", "--device", "cpu"]
        command += ["--db", str(Path(folder, "x.duckdb")), "--snapshot-every", "0"]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        if backend == "loky":
            subprocess.run([*command, "--jobs", "2"], check=True, env=environment)
            return sum(os.times()[:4]) - own_s, time.monotonic() - started_s
        with DaskProcesses(workers=2) as cluster:
            options = ["--backend", backend, "--scheduler", cluster.address]
            subprocess.run([*command, *options], check=True, env=environment)
            cluster_s = sum(cpu_s(process.pid) for process in (*cluster.workers, cluster.scheduler))
            return sum(os.times()[:4]) - own_s + cluster_s, time.monotonic() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--many", type=int, default=72)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few"), Path(folder, "many")
        make_long_calls(few, count=given.few)
        make_long_calls(many, count=given.many)
        spent: dict[str, list[tuple[float, float]]] = {"loky": [], "dask": []}
        for _ in range(given.rounds):
            for backend, found in spent.items():
                little, much = measure(few, backend=backend), measure(many, backend=backend)
                found.append((much[0] - little[0], much[1] - little[1]))
                audio_s = (given.many - given.few) * _MINUTES * 60
                print(
                    f"{backend}: start and {given.few} calls {little[0]:.1f} CPU-s, {little[1]:.1f} s; "
                    f"{given.many - given.few} calls more {found[-1][0]:.2f} CPU-s "
                    f"({audio_s / found[-1][0]:.0f} x real time per core), {found[-1][1]:.2f} s",
                    flush=True,
                )
    loky, dask = (min(found) for found in spent.values())
    print(f"dask over loky, least of {given.rounds}: {dask[0] / loky[0] - 1:+.1%} CPU", flush=True)
    loky_s, dask_s = (min(wall for _, wall in found) for found in spent.values())
    print(f"dask over loky, least of {given.rounds}: {dask_s / loky_s - 1:+.1%} by the clock")


if __name__ == "__main__":
    main()
