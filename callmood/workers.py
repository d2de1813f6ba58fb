"""Worker processes: recordings in, results out, whatever a recording does to its worker."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from callmood.emotion.device import own_process
from callmood.limits import LimitExceeded, check_memory_limit, end_with_parent, limited
from callmood.settings import Settings
from callmood.stopping import Stopping
from callmood.threads import one_thread
from callmood.types import CallResult, Recording

IDLE_S = 300.0
"""Workers without work end after this long; another run in the same process can use them until then."""
_POLL_S = 0.5

if TYPE_CHECKING:
    from callmood.gpu.client import Address
    from callmood.results.archive import Out

Work = Callable[[Recording, Settings], CallResult]
"""What a worker process does with a recording."""


def results(
    recordings: Sequence[Recording],
    settings: Settings,
    *,
    stopping: Stopping | None = None,
    out: Out | None = None,
    warnings: list[str] | None = None,
) -> Iterator[CallResult | None]:
    """Results as they come, in no order, from as many worker processes as the settings ask for; None now and then,
    while none comes.

    A worker that dies takes the others of its pool along. Those recordings that it may have been working on
    are then analyzed alone, each in a process of its own; one that kills that too is quarantined. What is not
    begun when `stopping` is due, or not finished when it is overdue, has no result. Where the settings name a
    cluster, its workers are asked instead; see `callmood.cluster`. `out`: where they write what they found.

    Where this machine has GPUs, a process for each runs the networks of all workers; `warnings` grows by a sentence for
    each that fails.
    """
    from callmood.gpu.servers import Servers, find_gpus

    check_memory_limit(settings.max_memory_per_worker)
    stopping = stopping or Stopping()
    # Largest first, so that the last worker is not left alone with the longest call.
    waiting = deque(sorted(recordings, key=_size, reverse=True))
    if settings.backend != "loky":
        from callmood.cluster import cluster_results

        yield from cluster_results(waiting, settings, work=_work, stopping=stopping, out=out)
        return
    workers = min(settings.worker_count, len(waiting))
    gpus = find_gpus() if waiting and settings.device != "cpu" else []
    environment = pool_options()["env"]
    warnings = [] if warnings is None else warnings
    with Servers(gpus, models=settings.models, environment=environment, warnings=warnings) as servers:
        yield from servers.wait(stopping)
        settings = servers.left_to_workers(settings)
        options = pool_options(servers.addresses)
        while waiting and not stopping.due:
            suspects = yield from _from_pool(
                waiting, settings, workers=workers, options=options, stopping=stopping
            )
            for recording in suspects:
                if not stopping.due:
                    yield from alone(recording, settings, work=_work, stopping=stopping, options=options)


def _from_pool(
    waiting: deque[Recording],
    settings: Settings,
    *,
    workers: int,
    options: dict[str, Any],
    stopping: Stopping,
) -> Generator[CallResult | None, None, list[Recording]]:
    """Results of the recordings taken from `waiting`; returns those that were under way when a worker died."""
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    executor = get_reusable_executor(max_workers=workers, timeout=IDLE_S, **options)
    running: dict[Future[CallResult], Recording] = {}
    suspects: list[Recording] = []
    try:
        while running or (waiting and not suspects and not stopping.due):
            # Submitted ahead of the workers, so that none waits for the writer.
            while waiting and len(running) < 2 * workers and not suspects and not stopping.due:
                try:
                    running[executor.submit(_work, waiting[0], settings)] = waiting[0]
                except BrokenProcessPool:
                    break
                waiting.popleft()
            if not running:
                break
            done, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            if not done:
                if stopping.overdue:
                    break
                yield None
            for future in done:
                recording = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    suspects.append(recording)
                else:
                    yield result
    finally:
        if running:
            executor.shutdown(kill_workers=True)
    return suspects


def alone(
    recording: Recording,
    settings: Settings,
    *,
    work: Work,
    stopping: Stopping,
    options: dict[str, Any] | None = None,
) -> Iterator[CallResult | None]:
    """The result from a process of its own, whose death becomes the recording's status.

    `options` of `pool_options`, where they are not the default.
    """
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    executor = ProcessPoolExecutor(max_workers=1, **(options or pool_options()))
    try:
        future = executor.submit(work, recording, settings)
        while not wait([future], timeout=_POLL_S).done:
            if stopping.overdue:
                return
            yield None
        yield future.result()
    except BrokenProcessPool:
        yield quarantined(recording)
    finally:
        executor.shutdown(kill_workers=True)


def quarantined(recording: Recording) -> CallResult:
    """The outcome for a recording whose worker died twice."""
    sentence = (
        f"{recording.name}: its worker process died twice (out of memory, perhaps); "
        "`callmood retry` tries it again."
    )
    return CallResult(recording=recording, status="quarantined", error=sentence)


def pool_options(servers: Sequence[Address] = ()) -> dict[str, Any]:
    """How worker processes of this one are begun; `servers`, where there are any, run their networks for them."""
    return {
        "env": one_thread(),
        "initializer": _begin,
        "initargs": (os.getpid(), servers),
    }


def _begin(parent: int, servers: Sequence[Address]) -> None:
    # Ctrl-C and SIGTERM may reach a whole process group; when a worker ends is for its parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(parent)
    own_process()
    if servers:
        from callmood.gpu.client import use_servers

        use_servers(servers, first=os.getpid())


def _size(recording: Recording) -> int:
    size_bytes = 0
    for leg in recording.legs:
        with suppress(OSError):
            size_bytes += leg.path.stat().st_size
    return size_bytes


def _work(recording: Recording, settings: Settings) -> CallResult:
    from callmood.pipeline import analyze_recording, load_engines

    engines = load_engines(settings)
    return within_limits(recording, settings, lambda: analyze_recording(recording, engines))


def within_limits(recording: Recording, settings: Settings, analyze: Any) -> CallResult:
    """What `analyze` answers or, where it goes over a limit of the settings, a failure that says so."""
    try:
        with limited(max_s=settings.max_seconds_per_call, max_memory_mib=settings.max_memory_per_worker):
            result: CallResult = analyze()
            return result
    except LimitExceeded as reason:
        sentence = f"{recording.name}: {reason}; raise the limit and run `callmood retry`."
        return CallResult(recording=recording, status="failed", error=sentence)
