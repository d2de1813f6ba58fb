"""Dask against loky: the same calls on the same two processes, in CPU-seconds of all processes and by the clock."""

from __future__ import annotations

import os
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


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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

    def _start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "tests")]),
                **self._environment,
                **(environment or {}),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
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
