"""Many machines: recordings go to the workers of a cluster, and results come back as they are done.

A worker of Dask hands each recording to a process of its own, as one machine does, and Ray's worker is one: what kills
that process is tried once more alone and then quarantined, and limits of time and memory hold. A worker that is lost, with
its machine perhaps, has its recordings done again by others; that is the scheduler's own doing, and one whose workers are
lost again and again, alone at last, is quarantined too. There are never more than `AHEAD` tasks for each slot of a worker
on their way, so that a writer slower than the workers holds them back, and memory is bounded.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from callmood.cluster.on_worker import Task
from callmood.errors import ClusterError
from callmood.model_files import models_hash
from callmood.settings import Settings
from callmood.stopping import Stopping
from callmood.types import CallResult, Recording
from callmood.workers import Work, quarantined

if TYPE_CHECKING:
    from callmood.results.archive import Out

AHEAD = 2
"""Tasks for each slot, so that none waits for the writer."""
WORKERLESS_S = 60.0
"""How long a run waits for a first worker, or for another one when all are gone."""
_LOOK_EVERY_S = 2.0
_POLL_S = 0.5


class WorkerLostError(Exception):
    """The workers that had a task died, as often as the scheduler tries."""


class Cluster(Protocol):
    """Scheduler and workers, by whatever program."""

    def slots(self) -> int:
        """How many tasks the workers that are there now do at a time.

        Raises ClusterError where the scheduler was lost.
        """
        ...

    def submit(self, task: Task) -> Hashable:
        """Have a task done by any worker; what is returned stands for it."""
        ...

    def finished(self, *, wait_s: float) -> Sequence[Hashable]:
        """Tasks that ended since; waits for the first of them, but no longer than `wait_s`."""
        ...

    def results(self, submitted: Hashable) -> Sequence[CallResult] | None:
        """What came of a task that ended, which is forgotten; None where its worker took that along, so that it is done
        again and will be among those that ended once more.

        Raises WorkerLostError, ClusterError where the scheduler was lost, and what the task itself raised.
        """
        ...

    def close(self) -> None:
        """Drop the tasks that have not ended, and leave the cluster."""
        ...


def connect(settings: Settings) -> Cluster:
    """The cluster that the settings name.

    Raises
    ------
    ClusterError
        Nobody answers at the address.
    EngineUnavailableError
        The program's package is not installed.
    """
    assert settings.scheduler is not None
    if settings.backend == "ray":
        from callmood.cluster.with_ray import RayCluster

        return RayCluster(settings.scheduler)
    from callmood.cluster.with_dask import DaskCluster

    return DaskCluster(settings.scheduler)


def cluster_results(
    waiting: Sequence[Recording], settings: Settings, *, work: Work, stopping: Stopping, out: Out | None
) -> Iterator[CallResult | None]:
    """Results as they come, in no order, and None while none comes; what is not begun when `stopping` is due, or not finished when it is
    overdue, has none. With `out` workers write them there, in parts, and what comes has no turns."""
    if not waiting:
        return
    model_hash = models_hash(settings.models)
    if settings.rttm is not None:  # workers have working folders of their own
        settings = replace(settings, rttm=str(Path(settings.rttm).absolute()))
    cluster = connect(settings)
    try:
        tasks = deque(
            Task(
                work=work,
                recordings=tuple(together),
                settings=settings,
                model_hash=model_hash,
                out=out and out.only(together),
            )
            for together in _portions(waiting, slots=cluster.slots(), parts=out is not None)
        )
        yield from carry_out(tasks, cluster, stopping=stopping)
    finally:
        cluster.close()


def _portions(waiting: Sequence[Recording], *, slots: int, parts: bool) -> Iterator[Sequence[Recording]]:
    """What goes to a worker together: single recordings or, to be written as parts, some of one date."""
    if not parts:
        yield from ((recording,) for recording in waiting)
        return
    from callmood.results.archive import PART_CALLS, by_date

    # Small enough that every slot has several of them.
    size = max(1, min(PART_CALLS, len(waiting) // (4 * max(1, slots))))
    for of_date in by_date(waiting):
        yield from (of_date[start : start + size] for start in range(0, len(of_date), size))


def carry_out(tasks: deque[Task], cluster: Cluster, *, stopping: Stopping) -> Iterator[CallResult | None]:
    """The results of tasks, a bounded number of which are on their way at any time."""
    running: dict[Hashable, Task] = {}
    slots = 0
    looked_s = seen_s = time.monotonic()
    while running or (tasks and not stopping.due):
        now_s = time.monotonic()
        if not slots or now_s - looked_s >= _LOOK_EVERY_S:
            slots, looked_s = cluster.slots(), now_s
            if slots:
                seen_s = now_s
            elif now_s - seen_s > WORKERLESS_S:
                raise ClusterError(
                    f"no worker is there, {WORKERLESS_S:.0f} s long; start workers and run again to go on."
                )
        while tasks and len(running) < AHEAD * slots and not stopping.due:
            submitted = cluster.submit(tasks[0])
            running[submitted] = tasks.popleft()
        if not running:
            time.sleep(_POLL_S)
            yield None
            continue
        ended = cluster.finished(wait_s=_POLL_S)
        if not ended:
            if stopping.overdue:
                return
            yield None
        for submitted in ended:
            task = running.pop(submitted)
            try:
                results: Sequence[CallResult] | None = cluster.results(submitted)
            except WorkerLostError:
                if len(task.recordings) > 1:  # to find the one that workers die of
                    tasks.extend(replace(task, recordings=(recording,)) for recording in task.recordings)
                    continue
                results = [quarantined(recording) for recording in task.recordings]
                if task.out is not None:
                    from callmood.results.archive import write_part

                    results = write_part(task.out, results)
            if results is None:
                running[submitted] = task
            else:
                yield from results
