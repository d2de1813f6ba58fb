"""How far a run is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from callmood.cli.output import say
from callmood.run import Progress

LINE_EVERY_S = 30.0

Callback = Callable[[Progress], None]


@contextmanager
def progress_shown(*, quiet: bool) -> Iterator[Callback | None]:
    """A callback for `callmood.analyze` that shows progress on standard error; None where it shall not."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield lines(say, clock_s=time.monotonic)


def lines(write: Callable[[str], None], *, clock_s: Callable[[], float]) -> Callback:
    """A callback that writes a line when the last one is `LINE_EVERY_S` ago, by a clock in seconds."""
    started_s = written_s = clock_s()

    def callback(progress: Progress) -> None:
        nonlocal written_s
        now_s = clock_s()
        if now_s - written_s >= LINE_EVERY_S and progress.done < progress.total:
            written_s = now_s
            left_s = (now_s - started_s) / progress.done * (progress.total - progress.done)
            write(
                f"{progress.done} of {progress.total} recordings, "
                f"{_measures(progress, wall_s=now_s - started_s)}, about {_duration(left_s)} left"
            )

    return callback


@contextmanager
def _bar() -> Iterator[Callback]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    started_s = time.monotonic()
    with Bar(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("calls  {task.description}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[after]}"),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
        speed_estimate_period=600,
    ) as bar:
        # The first result is some time away: files are looked for and workers load the models.
        task = bar.add_task("starting", total=None, after="")

        def callback(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                description=_measures(progress, wall_s=time.monotonic() - started_s),
                after="left",
            )

        yield callback


def _measures(progress: Progress, *, wall_s: float) -> str:
    return f"{progress.audio_s / 3600:.1f} h of audio, {progress.audio_s / max(wall_s, 1e-9):.0f} x real time"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
