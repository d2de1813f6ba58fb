"""A cluster of Ray: `ray start --head` and `ray start --address`."""

from __future__ import annotations

import os
import socket
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from callmood.cluster import WorkerLostError
from callmood.cluster.on_worker import Task, carry_out_here
from callmood.errors import ClusterError, EngineUnavailableError, UsageError
from callmood.text import printable
from callmood.types import CallResult
from callmood.workers import pool_options

_RETRIES = 1
"""How often Ray does a task again whose worker was lost."""
_CONNECT_S = 10.0
_FIRST_ANSWER_S = 30.0
"""For the first word of how many slots there are, on which the size of parts depends: a process has to start for it."""


class RayCluster:
    """See `callmood.cluster.Cluster`; Ray calls a slot a CPU.

    Ray gives each task a process of its own, in which loky's do not come up; a recording that kills it is tried once
    more and then quarantined, with those of its part where results are Parquet.
    """

    def __init__(self, address: str) -> None:
        if address.startswith("ray://"):
            raise UsageError(
                f"{printable(address)}: Ray's client has no way here; give the head's HOST:PORT."
            )
        # Ray reads it on import, and would send what it does to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise EngineUnavailableError(
                'the backend ray is not installed; `pip install "callmood[ray]"` brings it.'
            ) from error
        self._ray: Any = ray
        self._address = address
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="error",
                configure_logging=False,
                runtime_env={"env_vars": pool_options()["env"]},
            )
            host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
            self._head = (host.strip("[]"), int(port))
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise ClusterError(
                f"{printable(address)}: no cluster of ray answers there; start one with `ray start --head`, or correct "
                "--scheduler."
            ) from error
        self._carry_out = ray.remote(max_retries=_RETRIES)(carry_out_here)
        self._count_slots = ray.remote(num_cpus=0, max_retries=-1)(_count_slots)
        self._running: set[Any] = set()
        self._slots = 0
        self._asked: Any = None

    def slots(self) -> int:
        # Ray waits a minute for a head that went while it was asked, and then ends the process that asked: so that is one
        # of Ray's own, and its answer is taken at a later look.
        ray = self._ray
        try:
            socket.create_connection(self._head, timeout=_CONNECT_S).close()
            if self._asked is None:
                self._asked = self._count_slots.remote()
            answered, _ = ray.wait([self._asked], timeout=0.0 if self._slots else _FIRST_ANSWER_S)
            if answered:
                self._slots, self._asked = ray.get(self._asked), None
        except ray.exceptions.RayTaskError as error:
            reason = str(error.cause).partition("\n")[0]
            raise ClusterError(
                f"{printable(self._address)}: a worker of ray cannot run callmood ({printable(reason)}); install this version "
                "there."
            ) from error
        except (OSError, RuntimeError, ray.exceptions.RayError) as error:
            raise self._lost() from error
        return self._slots

    def submit(self, task: Task) -> Hashable:
        try:
            reference = self._carry_out.remote(replace(task, isolated=False))
        except (OSError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise self._lost() from error
        self._running.add(reference)
        return reference  # type: ignore[no-any-return]

    def finished(self, *, wait_s: float) -> Sequence[Hashable]:
        try:
            ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=wait_s)
        except (OSError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise self._lost() from error
        return list(ended)

    def results(self, submitted: Hashable) -> Sequence[CallResult]:
        exceptions = self._ray.exceptions
        self._running.discard(submitted)
        try:
            results: Sequence[CallResult] = self._ray.get(submitted)
            return results
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.OutOfMemoryError,
        ) as error:
            raise WorkerLostError from error
        except (OSError, RuntimeError, exceptions.RayError) as error:
            raise self._lost() from error

    def close(self) -> None:
        self._ray.shutdown()

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"{printable(self._address)}: the cluster of ray was lost; finished recordings are kept, run again to go on "
            "when it is back."
        )


def _count_slots() -> int:
    """How many the cluster has, asked by a task of it."""
    import ray

    return int(ray.cluster_resources().get("CPU", 0))
