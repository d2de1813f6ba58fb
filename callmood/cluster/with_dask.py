"""A cluster of Dask: `dask scheduler` and `dask worker`."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from callmood.cluster import WorkerLostError
from callmood.cluster.on_worker import Task, carry_out_here
from callmood.errors import ClusterError, EngineUnavailableError
from callmood.text import printable
from callmood.types import CallResult

_CONNECT_S = 10.0


class DaskCluster:
    """See `callmood.cluster.Cluster`; Dask calls a slot a thread."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise EngineUnavailableError(
                'the backend dask is not installed; `pip install "callmood[dask]"` brings it.'
            ) from error
        self._address = address
        # What it has to say of a lost connection is said in our one sentence.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            self._client: Any = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"{printable(address)}: no scheduler of dask answers there; start one with `dask scheduler`, or correct "
                "--scheduler."
            ) from error
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._running: set[Any] = set()

    def slots(self) -> int:
        if self._client.status != "running":
            raise self._lost()
        try:
            return sum(self._client.nthreads().values())
        except (OSError, ValueError, AttributeError) as error:  # the connection broke meanwhile
            raise self._lost() from error

    def submit(self, task: Task) -> Hashable:
        try:
            future = self._client.submit(carry_out_here, task, pure=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._lost() from error
        self._running.add(future)
        future.add_done_callback(self._ended.put)
        return future  # type: ignore[no-any-return]

    def finished(self, *, wait_s: float) -> Sequence[Hashable]:
        found: list[Hashable] = []
        with suppress(Empty):
            found.append(self._ended.get(timeout=wait_s))
            while True:
                found.append(self._ended.get_nowait())
        if not found and self._client.status != "running":
            raise self._lost()
        return found

    def results(self, submitted: Hashable) -> Sequence[CallResult]:
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        self._running.discard(submitted)
        future: Any = submitted
        try:
            results: Sequence[CallResult] = future.result()
            return results
        except KilledWorker as error:
            raise WorkerLostError from error
        except (FutureCancelledError, OSError) as error:
            raise self._lost() from error

    def close(self) -> None:
        if self._client.status == "running":
            self._client.cancel(list(self._running))
        self._client.close(timeout=_CONNECT_S)

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"{printable(self._address)}: the scheduler of dask was lost; finished recordings are kept, run again to go "
            "on when it is back."
        )
