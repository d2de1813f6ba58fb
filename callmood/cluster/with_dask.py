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
from callmood.remote import why
from callmood.text import printable
from callmood.types import CallResult

_CONNECT_S = 10.0
_FETCH_S = 30.0
"""How long to wait for results that are there: for ever where their worker is not any more, and was the last."""

_QUIET = {"distributed.admin.tick.interval": "500ms"}
"""A client otherwise looks fifty times a second whether its event loop still turns."""


class DaskCluster:
    """See `callmood.cluster.Cluster`; Dask calls a slot a thread."""

    def __init__(self, address: str) -> None:
        try:
            import dask.config
            from distributed import Client
        except ImportError as error:
            raise EngineUnavailableError(
                'the backend dask is not installed; `pip install "callmood[dask]"` brings it.'
            ) from error
        self._address = address
        # What it has to say of a lost connection is said in our one sentence.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            with dask.config.set(_QUIET):
                self._client: Any = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"{printable(address)}: no scheduler of dask answers there; start one with `dask scheduler`, or correct "
                "--scheduler."
            ) from error
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._running: set[Any] = set()
        self._again: list[Any] = []
        """Tasks that ended, and are done again as their worker went before it was asked for the results."""

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
        found: list[Any] = []
        with suppress(Empty):
            found.append(self._ended.get(timeout=wait_s))
            while True:
                found.append(self._ended.get_nowait())
        found += self._again
        self._again = [future for future in found if future.status in ("lost", "pending")]
        found = [future for future in found if future not in self._again]
        if not found and self._client.status != "running":
            raise self._lost()
        return found

    def results(self, submitted: Hashable) -> Sequence[CallResult] | None:
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        self._running.discard(submitted)
        future: Any = submitted
        try:
            results: Sequence[CallResult] = future.result(timeout=_FETCH_S)
        except KilledWorker as error:
            raise WorkerLostError from error
        except FutureCancelledError as error:
            raise self._lost() from error
        except OSError as error:
            if self._client.status != "running":
                raise self._lost() from error
            if isinstance(error, TimeoutError) and future.status != "error":
                self._running.add(future)
                self._again.append(future)
                return None
            raise ClusterError(
                f"a worker of dask cannot do its work ({why(error)}); see to it and run again to go on."
            ) from error
        return results

    def close(self) -> None:
        if self._client.status == "running":
            self._client.cancel(list(self._running))
        self._client.close(timeout=_CONNECT_S)

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"{printable(self._address)}: the scheduler of dask was lost; finished recordings are kept, run again to go "
            "on when it is back."
        )
