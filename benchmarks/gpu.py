"""What GPUs add to `callmood analyze`, and whether they change its results: `python -m benchmarks.gpu`.

Analyzes calls of two minutes (`benchmarks.calls`) with the same number of workers, once with the networks on the CPU and once
with a process for each GPU of the machine. Prints seconds of audio for each second of wall time, from the moment that every
worker had finished a call to the last result, without the database; and the largest difference in a probability of any window
or turn (to be at most 1e-3). Turns may come out otherwise where a voice is between two speakers: such calls are counted, and
not compared. On a machine without a GPU, `--stand-in N` lets N processes on the CPU stand in: that shows that the path works,
and nothing about a GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.calls import CALL_S, SHARED, make_calls
from callmood.gpu import servers
from callmood.gpu.servers import Gpu, find_gpus
from callmood.settings import Settings
from callmood.types import Analysis, CallMetadata, Leg, Recording
from callmood.workers import results

CALLS = 256


def analyze(paths: Sequence[Path], settings: Settings) -> tuple[dict[str, Analysis], float, list[str]]:
    """What was found in each file, seconds of audio for each of wall time, and warnings."""
    recordings = [
        Recording(call_id=path.stem, legs=(Leg(path=path),), content_hash=path.stem, metadata=CallMetadata())
        for path in paths
    ]
    found: dict[str, Analysis] = {}
    warnings: list[str] = []
    came_s = []
    for result in results(recordings, settings, warnings=warnings):
        if result is None:
            continue
        if result.analysis is None:
            raise RuntimeError(result.error)
        found[result.recording.call_id] = result.analysis
        came_s.append(time.monotonic())
    started = min(settings.worker_count, len(came_s) - 1)
    speed = (len(came_s) - started) * CALL_S / (came_s[-1] - came_s[started - 1])
    return found, speed, warnings


def difference(one: Analysis, other: Analysis) -> float | None:
    """The largest in a probability of two analyses of the same call; None where their turns differ."""
    first, second = (
        [(turn.speaker, turn.channel, turn.start_s, turn.end_s) for turn in analysis.turns]
        for analysis in (one, other)
    )
    if first != second:
        return None
    pairs = [(one.windows.affect, other.windows.affect), (one.turn_affect, other.turn_affect)]
    apart = [np.abs(a.probabilities - b.probabilities) for a, b in pairs]
    return max(float(np.max(rows[~np.isnan(rows)], initial=0.0)) for rows in apart)


def measure(shared: Path, *, gpus: Sequence[Gpu], calls: int, channels: int, jobs: int) -> None:
    """Print how the GPUs compare with the CPU on calls of one or two channels."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "calls"
        make_calls(folder, count=calls, channels=channels, shared=shared)
        paths = sorted(folder.iterdir())
        on_cpu, cpu_speed, _ = analyze(paths, Settings(device="cpu", jobs=jobs))
        found, speed, warnings = analyze(paths, Settings(device="auto", jobs=jobs))
    for warning in warnings:
        print(f"NOT WHAT WAS TO BE MEASURED: {warning}")
    apart = [difference(on_cpu[call], found[call]) for call in on_cpu]
    compared = [each for each in apart if each is not None]
    print(
        f"{channels} channels, {Settings(jobs=jobs).worker_count} workers, {calls} calls: on the CPU "
        f"{cpu_speed:.0f} s of audio a second; with {', '.join(gpu.name for gpu in gpus)} {speed:.0f} "
        f"({speed / cpu_speed:.2f} times as much); largest difference in a probability "
        f"{max(compared, default=float('nan')):.1e}; {len(apart) - len(compared)} calls have other turns",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of recorded calls")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--channels", type=int, choices=(1, 2), nargs="+", default=[2, 1])
    parser.add_argument("--jobs", type=int, default=0, help="workers; 0 means one per CPU core")
    parser.add_argument("--stand-in", type=int, default=0, metavar="N", help="processes on the CPU instead")
    given = parser.parse_args(arguments)
    gpus = find_gpus()
    if given.stand_in:
        gpus = [
            Gpu(name=f"a CPU standing in for GPU {number}", visible="-1", device="cpu")
            for number in range(given.stand_in)
        ]
        servers.find_gpus = lambda: gpus
    if not gpus:
        print(
            "This machine has no NVIDIA device, so nothing was measured. --stand-in 1 tries the path on the CPU."
        )
        return 1
    for channels in given.channels:
        measure(given.shared, gpus=gpus, calls=given.calls, channels=channels, jobs=given.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
