"""What a worker of a cluster does with a task: it hands each recording to a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import platform
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import callmood
from callmood.errors import ClusterError, ModelError
from callmood.model_files import set_of_hash
from callmood.remote import RemotePath
from callmood.settings import Settings
from callmood.stopping import Stopping
from callmood.text import printable
from callmood.types import CallResult, Recording
from callmood.workers import IDLE_S, Work, alone, pool_options

if TYPE_CHECKING:
    from callmood.results.archive import Out

_own = threading.local()
"""The process of each thread of this worker."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Recordings that go to one worker together."""

    work: Work
    recordings: tuple[Recording, ...]
    settings: Settings
    model_hash: str
    version: str = callmood.__version__
    out: Out | None = None
    """Where results are written; None where they are sent back."""
    isolated: bool = True
    """Whether a recording is handed to a process of the worker's own, or the worker itself is one that may die."""


def carry_out_here(task: Task) -> list[CallResult]:
    """The results of a task, in the order of its recordings.

    Raises
    ------
    ClusterError
        This worker has another version of callmood or other models, or does not see the recordings.
    """
    settings = _settings_here(task.settings, task.model_hash, task.version)
    for recording in task.recordings:
        _check_seen(recording)
    if task.out is not None:
        _check_shared(task.out)
    do = _isolated if task.isolated else _here
    results = [do(recording, settings, task.work) for recording in task.recordings]
    if task.out is None:
        return results
    from callmood.results.archive import write_part

    return write_part(task.out, results)


@lru_cache(maxsize=1)
def _settings_here(settings: Settings, model_hash: str, version: str) -> Settings:
    """The settings, with the models of that hash as this machine names them."""
    if callmood.__version__ != version:
        raise ClusterError(
            f"{_worker()} has callmood {callmood.__version__} and the run {version}; install the same version there."
        )
    try:
        models = set_of_hash(model_hash, settings.models)
    except ModelError as error:
        raise ClusterError(f"{_worker()} {error}") from None
    return replace(settings, models=None if models is None else str(models))


def _check_seen(recording: Recording) -> None:
    for leg in recording.legs:
        if leg.has_content and not isinstance(leg.path, RemotePath) and not leg.path.parent.is_dir():
            raise ClusterError(
                f"{_worker()} does not see the folder of {recording.name}; mount it there, or name the recordings by "
                "a URL."
            )


def _check_shared(out: Out) -> None:
    from callmood.results.archive import Archive

    if not Archive(out.root).holds(f"runs/{out.name_of_run}"):
        raise ClusterError(
            f"{_worker()} does not see in {printable(out.root)} what the run put there; have --out name a folder that all "
            "machines share, or a URL."
        )


def _worker() -> str:
    return f"the worker on {platform.node()} (PID {os.getpid()})"


def _here(recording: Recording, settings: Settings, work: Work) -> CallResult:
    return work(recording, settings)


def _isolated(recording: Recording, settings: Settings, work: Work) -> CallResult:
    """The result from this thread's own process; where that dies, from another one that nothing else has touched."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    _allow_children()
    if not hasattr(_own, "process"):
        _own.process = ProcessPoolExecutor(max_workers=1, timeout=IDLE_S, **pool_options())
    try:
        result: CallResult = _own.process.submit(work, recording, settings).result()
    except BrokenProcessPool:
        _own.process.shutdown(kill_workers=True)
        del _own.process
        found = alone(recording, settings, work=work, stopping=Stopping())
        result = next(result for result in found if result is not None)
    return result


def _allow_children() -> None:
    # Dask's nanny makes its workers daemons, which multiprocessing forbids children, as they would be left behind
    # when the worker is killed. Ours end by themselves: see `callmood.limits.end_with_parent`.
    configuration: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    configuration["daemon"] = False
