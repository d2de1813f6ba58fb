"""The parent's side: a process for each GPU, from before the first recording until after the last."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType

from callmood.errors import EngineUnavailableError
from callmood.gpu.client import Address
from callmood.gpu.server import READY
from callmood.settings import Settings
from callmood.stopping import Stopping

_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A device that a process of its own can run the networks on."""

    name: str
    """For sentences."""
    visible: str
    """The value of CUDA_VISIBLE_DEVICES that leaves this one alone."""
    device: str = "gpu"


def find_gpus() -> list[Gpu]:
    """The NVIDIA devices of this machine that CUDA_VISIBLE_DEVICES does not hide. Whether they work is not tried."""
    nodes = list(Path("/dev").glob("nvidia[0-9]*"))
    # CUDA counts the devices that it finds; the nodes of a container may have other numbers.
    named = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(str(number) for number in range(len(nodes))))
    visible = [name.strip() for name in named.split(",")]
    return [
        Gpu(name=f"GPU {name}", visible=name)
        for name in visible
        if nodes and name and not name.startswith("-")
    ]


class _Server:
    def __init__(self, gpu: Gpu, address: str, models: str | None, environment: Mapping[str, str]) -> None:
        self.gpu = gpu
        self.address: Address = (address, secrets.token_bytes(32))
        self.failure: str | None = None
        self.ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "callmood.gpu.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What the native libraries print.
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **environment, "CUDA_VISIBLE_DEVICES": gpu.visible},
        )
        path, key = self.address
        told = {"address": path, "key": key.hex(), "device": gpu.device, "models": models}
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it may have ended by now
            self.process.stdin.write(json.dumps(told).encode() + b"\n")

    def started(self, within_s: float) -> bool:
        """Whether it has said that it is ready or why it is not, waiting that long for it."""
        stdout = self.process.stdout
        assert stdout is not None
        if not wait([stdout.fileno()], within_s):
            return False
        said = stdout.readline().decode(errors="replace").strip()
        self.ready = said == READY
        if not self.ready:
            self.failure = said or self._how_it_ended()
        return True

    def end(self) -> None:
        """End the process; where it had ended by itself, `failure` says why."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        # After that it is ready it says nothing but why it ends.
        if self.ready and wait([stdout.fileno()], 0):
            self.failure = stdout.readline().decode(errors="replace").strip() or self._how_it_ended()
        self.process.kill()
        self.process.wait()
        stdin.close()
        stdout.close()

    def _how_it_ended(self) -> str:
        return f"its process ended with status {self.process.wait()}"


class Servers:
    """A process for each of some GPUs, within a `with` block. Trouble becomes a warning.

    `warnings` grows by at most a sentence for each GPU, at the end of the block.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        *,
        models: str | None,
        environment: Mapping[str, str],
        warnings: list[str],
    ) -> None:
        """`models` is the folder of the models; `environment` what the processes get besides this one's."""
        self._gpus = gpus
        self._models = models
        self._environment = environment
        self._warnings = warnings
        self._folder: Path | None = None
        self._servers: list[_Server] = []

    def __enter__(self) -> Servers:
        if self._gpus:
            # Nobody else can enter it.
            self._folder = Path(tempfile.mkdtemp(prefix="callmood-"))
        for number, gpu in enumerate(self._gpus):
            address = f"{self._folder}/{number}"
            self._servers.append(_Server(gpu, address, self._models, self._environment))
        return self

    def wait(self, stopping: Stopping) -> Iterator[None]:
        """Yields now and then until each process is ready or has failed, or `stopping` is due."""
        for server in self._servers:
            while not stopping.due and not server.started(_POLL_S):
                yield None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Of those that were ready after `wait`."""
        return tuple(server.address for server in self._servers if server.ready)

    def left_to_workers(self, settings: Settings) -> Settings:
        """What workers are to be told after `wait`: to leave GPUs alone where there are some and none works.

        Raises EngineUnavailableError where the settings insist on one.
        """
        if not self._servers or self.addresses:
            return settings
        if settings.device == "gpu":
            failed = [f"{server.gpu.name}: {server.failure}" for server in self._servers if server.failure]
            raise EngineUnavailableError("; ".join(failed) or "No GPU was ready before the run was to end.")
        return replace(settings, device="cpu")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.end()
            if server.failure is not None:
                self._warnings.append(
                    f"{server.gpu.name}: {server.failure.rstrip('.')}; its work was done without it."
                )
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
