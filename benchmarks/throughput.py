"""How much audio `callmood analyze` gets through for each second of processor time, and how two workers compare with one.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --shared FOLDER --channels 2

Analyzes 72 calls of two minutes and 8 of them (`benchmarks.calls`), each in a process of its own with one worker and
with two, into a new database. What the 64 calls between cost beyond start-up is the difference: processor time is that of
the parent, its workers and their ffmpegs, two workers. Memory is the most that a process ever held (VmHWM), libraries
among it. Wall time counts only on a quiet machine: what else used the processors meanwhile is printed beside it, as a
share of all of them.

What two workers could reach on this machine is measured on the same calls: one process that analyzes them and does nothing
else, then two of them at once, with no parent that hands out work and writes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.calls import CALL_S, SHARED, make_calls
from benchmarks.kills import children
from callmood.threads import one_thread

MANY, FEW = 72, 8
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one run."""

    cpu_s: float
    wall_s: float
    others_share: float
    """Of all processors, that other programs used meanwhile."""
    parent_mib: float
    worker_mib: float
    """Most memory of the parent, and of any process that it started."""


def analyze(folder: Path, *, jobs: int, database: Path | None = None) -> Cost:
    """Analyze the recordings of a folder into a database, a new one where none is named; raises where that fails."""
    with tempfile.TemporaryDirectory() as place:
        database = database or Path(place) / "calls.duckdb"
        command = [sys.executable, "-m", "callmood", "analyze", str(folder), "--db", str(database)]
        busy_s, began_s = _busy_s(), time.monotonic()
        process = subprocess.Popen(
            [*command, "--jobs", str(jobs), "--device", "cpu", "--snapshot-every", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        peaks: dict[int, float] = {}
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, peaks, over))
        watch.start()
        said = process.stderr.read() if process.stderr else b""
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began_s
        over.set()
        watch.join()
    if status:
        raise RuntimeError(said.decode(errors="replace"))
    cpu_s = used.ru_utime + used.ru_stime
    everything_s = wall_s * (os.cpu_count() or 1)
    return Cost(
        cpu_s=cpu_s,
        wall_s=wall_s,
        others_share=max(0.0, _busy_s() - busy_s - cpu_s) / everything_s,
        parent_mib=peaks.pop(process.pid, 0.0),
        worker_mib=max(peaks.values(), default=0.0),
    )


def _watch(pid: int, peaks: dict[int, float], over: threading.Event) -> None:
    """Keep the most memory that a process and those that it started ever held, in MiB."""
    while not over.wait(_LOOK_EVERY_S):
        try:
            found = {
                each: Path(f"/proc/{each}/status").read_text(encoding="ascii", errors="replace")
                for each in [pid, *children(pid)]
            }
        except OSError:  # one ended meanwhile
            continue
        for each, status in found.items():
            line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
            peaks[each] = max(peaks.get(each, 0.0), int(line.split()[1]) / 1024)


def _busy_s() -> float:
    """Processor time that all programs have used since the machine started."""
    user, nice, system = Path("/proc/stat").read_text(encoding="ascii").split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def without_parent(folder: Path, *, processes: int) -> tuple[float, float]:
    """Wall time, and the processor time of each, that processes take which all analyze the same recordings, the first
    `FEW` of them left out."""
    spawning = multiprocessing.get_context("spawn")
    ready, found = spawning.Barrier(processes), spawning.SimpleQueue()
    started = [spawning.Process(target=_analyze_only, args=(folder, ready, found)) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process without a parent ended with {process.exitcode}")
    took = [found.get() for _ in started]
    return max(wall_s for wall_s, _ in took), sum(cpu_s for _, cpu_s in took) / processes


def _analyze_only(folder: Path, ready: Any, found: Any) -> None:
    from callmood.pipeline import analyze_recording, load_engines
    from callmood.settings import load_settings
    from callmood.types import Leg, Recording

    engines = load_engines(load_settings({"device": "cpu"}).settings)
    recordings = [
        Recording(call_id=path.stem, legs=(Leg(path=path, content_hash=path.stem),), content_hash=path.stem)
        for path in sorted(folder.iterdir())
    ]
    for recording in recordings[:FEW]:
        analyze_recording(recording, engines)
    ready.wait()
    began_s, own_s = time.monotonic(), sum(os.times()[:4])
    for recording in recordings[FEW:]:
        analyze_recording(recording, engines)
    found.put((time.monotonic() - began_s, sum(os.times()[:4]) - own_s))


def measure(shared: Path, *, channels: int) -> None:
    """Print what calls of one or two channels cost."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_calls(folder / "many", count=MANY, channels=channels, shared=shared)
        make_calls(folder / "few", count=FEW, channels=channels, shared=shared)
        wall_s = {}
        for jobs in (2, 1):
            many, few = (analyze(folder / name, jobs=jobs) for name in ("many", "few"))
            wall_s[jobs] = many.wall_s - few.wall_s
            speed = (MANY - FEW) * CALL_S / (many.cpu_s - few.cpu_s)
            print(
                f"{channels} channels, {jobs} workers: {speed:.0f} s of audio for each second of processor time "
                f"({many.cpu_s:.1f} less {few.cpu_s:.1f} s for {MANY} less {FEW} calls), "
                f"{wall_s[jobs]:.1f} s of wall time; at most {many.parent_mib:.0f} MiB the parent, "
                f"{many.worker_mib:.0f} MiB a worker; other programs had {many.others_share:.0%} of the processors",
                flush=True,
            )
        print(
            f"{channels} channels: two workers {wall_s[1] / wall_s[2]:.2f} times as fast as one", flush=True
        )
        one, two = (without_parent(folder / "many", processes=count) for count in (1, 2))
        print(
            f"{channels} channels: two processes without a parent {2 * one[0] / two[0]:.2f} times as fast as one; "
            f"{two[1] / one[1] - 1:+.0%} processor time a call, {1000 * one[1] / (MANY - FEW):.0f} ms alone",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of recorded calls")
    parser.add_argument("--channels", type=int, choices=(1, 2), nargs="+", default=[2, 1])
    given = parser.parse_args(arguments)
    os.environ.update(one_thread())  # before numpy is loaded by the processes without a parent
    for channels in given.channels:
        measure(given.shared, channels=channels)


if __name__ == "__main__":
    main()
