"""Kill a run at many random points, let later runs finish the work, and compare with an undisturbed database.

    python -m benchmarks.kills                    200 points, the whole analysis of 12 short calls
    python -m benchmarks.kills --stand-in         the same without networks: storage and processes alone
    python -m benchmarks.kills --points 8 --seed 3

Each point is a run over the same folder of calls that is killed with signal 9: the parent right before or after
one of the statements that it sends to the database (BEGIN, the deletions, the rows, COMMIT), the parent at any
moment (inside a commit, too), or one of its workers at any moment. Runs follow one another on one database until
a run survives; it is then compared row by row with that of an undisturbed run (`DIFFERENCES`), and the next one
begins. Signal 9 loses nothing that the kernel holds, so what a power cut does to the disk's own cache is not tried.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from callmood import workers
from callmood.features import FrontEnd
from callmood.results.store import Store
from callmood.types import Audio, CallResult, Floats, Recording, Turn

CALLS = 12
TOLERANCE = 1e-5
DIFFERENCES = "row by row, but for run ids and times of the runs; floating-point numbers within 1e-5"
_OWN = {
    "calls": ("run_id", "analyzed_at"),
    "turns": (),
    "windows": (),
    "escalation_events": (),
    "nonspeech": (),
    "mood_components": (),
    "speaker_components": (),
    "call_components": (),
    "escalation_scores": (),
    "files": ("modified_ns",),
}
"""Tables that are compared, and their columns that differ from run to run."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a run is killed."""

    kind: str
    """`before` or `after` a statement, `parent` or `worker` at a moment."""
    at: float
    """Number of the statement from the first, or seconds from the start of the run."""


def make_calls(folder: Path, *, count: int = CALLS) -> None:
    """Short recordings, each of its own content, and two that are none."""
    import soundfile

    folder.mkdir(parents=True)
    example = Path(__file__).resolve().parents[1] / "examples" / "calls" / "delivery-0418.wav"
    samples, rate_hz = soundfile.read(example, dtype="float32")
    for number in range(count - 2):
        start = number * 3 * rate_hz
        soundfile.write(folder / f"call-{number}.wav", samples[start : start + 8 * rate_hz], rate_hz)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("This is no audio.\n")


def stand_in_work(recording: Recording, settings: Any) -> CallResult:
    """An analysis without networks: what is found depends on the samples, and on nothing else."""
    from callmood.pipeline import Engines, analyze_recording

    engines = Engines(diarizer=_Halves(), model=_Levels(), emotion_for="everyone")
    return analyze_recording(recording, engines)


class _Halves:
    """The first half of a call is one speaker's, the second half the other's."""

    name = "halves"
    by_channel = True

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        half_s = audio.duration_s / 2
        return tuple(
            Turn(speaker=f"S{n + 1}", channel=0, start_s=n * half_s, end_s=(n + 1) * half_s) for n in range(2)
        )


@dataclass(frozen=True, kw_only=True)
class _Frames(FrontEnd):
    """The mean of the samples of each eighth of a frame, which takes no time to load or to compute."""

    n_mfcc: int = 8

    def frames(self, samples: Floats, first: int, last: int) -> Floats:
        part = samples[first * self.hop_length : last * self.hop_length]
        padded = np.pad(part, (0, (last - first) * self.hop_length - len(part)))
        frames = padded.reshape(last - first, self.hop_length)
        return frames[:, :96].reshape(last - first, 8, 12).mean(axis=2, dtype=np.float32)


class _Levels:
    """Probabilities from the mean of those."""

    front_end = _Frames()

    def probabilities(self, stretches: Any, spans: Any) -> list[Any]:
        found = []
        for frames, rows in zip(stretches, spans, strict=True):
            odds = np.exp([frames[first:last, 1:8].mean(axis=0) for first, last in rows])
            found.append((odds / odds.sum(axis=1, keepdims=True)).astype(np.float32))
        return found


class _Counting:
    """A connection that kills the process before or after its n-th statement."""

    def __init__(self, connection: Any, point: Point | None) -> None:
        self._connection = connection
        self._point = point
        self.statements = 0

    def execute(self, *arguments: Any) -> Any:
        if self._point == Point(kind="before", at=self.statements):
            os.kill(os.getpid(), signal.SIGKILL)
        answer = self._connection.execute(*arguments)
        if self._point == Point(kind="after", at=self.statements):
            os.kill(os.getpid(), signal.SIGKILL)
        self.statements += 1
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def run_once(folder: Path, database: Path, *, stand_in: bool, jobs: int, point: Point | None) -> None:
    """One run in this process, which dies at `point`; prints how many statements and seconds it took."""
    import cloudpickle

    import callmood

    if stand_in:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        workers._work = stand_in_work
    counted: list[_Counting] = []
    opened = Store.__init__

    def open_counting(store: Store, *arguments: Any, **options: Any) -> None:
        opened(store, *arguments, **options)
        store._connection = _Counting(store._connection, point)
        counted.append(store._connection)

    Store.__init__ = open_counting  # type: ignore[method-assign]
    started_s = time.monotonic()
    if point is not None and point.kind in ("parent", "worker"):
        threading.Thread(target=_kill_at, args=(point,), daemon=True).start()
    callmood.analyze(folder, db=str(database), jobs=jobs, snapshot_every=1, device="cpu")
    print(counted[0].statements, time.monotonic() - started_s, flush=True)


def _kill_at(point: Point) -> None:
    time.sleep(point.at)
    if point.kind == "parent":
        os.kill(os.getpid(), signal.SIGKILL)
    victims = [pid for pid in children() if "loky" in command_of(pid)]
    if victims:
        os.kill(victims[int(point.at * 1000) % len(victims)], signal.SIGKILL)


def children(pid: int | None = None) -> list[int]:
    """The child processes of one process, by default of this one."""
    found = []
    for task in Path(f"/proc/{pid or 'self'}/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return sorted(found)


def command_of(pid: int) -> str:
    """What a process was started with; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def rows_of(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The compared rows of each table, in order."""
    with duckdb.connect(str(database), read_only=True) as connection:
        found = {}
        for table, own in _OWN.items():
            left_out = f"EXCLUDE ({', '.join(own)})" if own else ""
            query = f"SELECT * {left_out} FROM {table} ORDER BY ALL"  # noqa: S608 - names of this module
            found[table] = connection.execute(query).fetchall()
        return found


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two databases: see `DIFFERENCES`."""
    found = []
    ours, theirs = rows_of(one), rows_of(other)
    for table in _OWN:
        if len(ours[table]) != len(theirs[table]):
            found.append(f"{table}: {len(ours[table])} and {len(theirs[table])} rows")
            continue
        for left, right in zip(ours[table], theirs[table], strict=True):
            if not all(_same(a, b) for a, b in zip(left, right, strict=True)):
                found.append(f"{table}: {left} and {right}")
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=0.0, atol=TOLERANCE, equal_nan=True))
    return bool(one == other)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of all points."""

    points: dict[str, int]
    """Runs that died (or lost a worker) at a point, by its kind."""
    missed: int
    """Runs that were done before their point came."""
    databases: int
    """Databases compared with the undisturbed one."""
    found: list[str]
    """Differences."""


def try_points(folder: Path, *, points: int, seed: int, stand_in: bool, jobs: int) -> Outcome:
    """Kill at `points` points in an empty `folder`, and compare."""
    calls = folder / "calls"
    make_calls(calls)
    undisturbed = folder / "undisturbed.duckdb"
    first = _life(calls, undisturbed, stand_in=stand_in, jobs=jobs, point=None)
    statements, seconds = (float(word) for word in first.stdout.split())
    rng = np.random.default_rng(seed)
    killed = dict.fromkeys(("before", "after", "parent", "worker"), 0)
    found: list[str] = []
    missed = databases = 0
    while sum(killed.values()) < points:
        databases += 1
        database = folder / f"killed-{databases}.duckdb"
        survived = False
        # At most so many on one database, so that there are several to compare.
        for _ in range(min(5, points - sum(killed.values()))):
            kind = str(rng.choice(list(killed)))
            at = rng.integers(statements) if kind in ("before", "after") else rng.uniform(0, seconds)
            life = _life(calls, database, stand_in=stand_in, jobs=jobs, point=Point(kind=kind, at=float(at)))
            survived = life.returncode == 0
            if survived and kind != "worker":
                missed += 1
            else:
                killed[kind] += 1
            if not survived and life.returncode != -signal.SIGKILL:
                found.append(f"{kind} {at}: {life.stderr.strip()[-300:]}")
            if survived:
                break
        if not survived:
            last = _life(calls, database, stand_in=stand_in, jobs=jobs, point=None)
            if last.returncode:
                found.append(f"the last run: {last.stderr.strip()[-300:]}")
                continue
        found += differences(database, undisturbed)
    return Outcome(points=killed, missed=missed, databases=databases, found=found)


def _life(
    calls: Path, database: Path, *, stand_in: bool, jobs: int, point: Point | None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.kills", "--life", str(calls), str(database)]
    command += ["--jobs", str(jobs), *(["--stand-in"] if stand_in else [])]
    command += ["--kind", point.kind, "--at", repr(point.at)] if point else []
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--stand-in", action="store_true")
    for name in ("--kind", "--at"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--life", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.life:
        at = None if given.at is None else float(given.at)
        point = None if at is None else Point(kind=given.kind, at=at)
        run_once(*given.life, stand_in=given.stand_in, jobs=given.jobs, point=point)
        return
    with tempfile.TemporaryDirectory() as folder:
        started_s = time.monotonic()
        outcome = try_points(
            Path(folder), points=given.points, seed=given.seed, stand_in=given.stand_in, jobs=given.jobs
        )
    kinds = ", ".join(f"{count} {kind}" for kind, count in outcome.points.items())
    print(f"points: {kinds}; {outcome.missed} came after the run was done")
    print(f"databases compared ({DIFFERENCES}): {outcome.databases}")
    print(f"differences: {len(outcome.found)}; {time.monotonic() - started_s:.0f} s")
    for difference in outcome.found[:20]:
        print(difference)
    sys.exit(bool(outcome.found))


if __name__ == "__main__":
    main()
