"""Thousands of short calls in one run, and all of them once more: memory, descriptors, temporary files, equal results.

    python -m benchmarks.soak                          5,000 calls, the whole analysis
    python -m benchmarks.soak --calls 500
    python -m benchmarks.soak --stand-in               without networks: storage and processes alone

Calls last three to five seconds, in one channel twice as long, so that both kinds come by turns (the largest files come
first): pieces of the example calls at other places and levels, two of a hundred of them bad (empty, text, random bytes,
a header alone, cut). While a run is under way, the memory that no file backs, the open
descriptors and the children of the parent and of each worker are looked at once a second; what they grow by is the
slope of the line through the second half of a run, when all is loaded. Both runs happen in one process, one after the
other, into two databases, which are then compared row by row. What is left in the folder for temporary files, and of
processes, is counted at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.kills import children, command_of, differences, stand_in_work

BAD_SHARE = 0.02
LOOK_EVERY_S = 1.0
GROWTH_MIB = 30.0
"""Growth over half a run, by the slope, that counts as a leak of memory,"""
GROWTH_DESCRIPTORS = 3.0
"""and of descriptors."""


def make_calls(folder: Path, *, count: int, seed: int) -> int:
    """Short recordings of which no two have the same content; answers how many are bad."""
    import soundfile

    from callmood.decode import decode_file

    folder.mkdir()
    rng = np.random.default_rng(seed)
    examples = Path(__file__).resolve().parents[1] / "examples" / "calls"
    sources = [decode_file(path, rate_hz=8000).samples for path in sorted(examples.iterdir())]
    bad = rng.choice(count, round(BAD_SHARE * count), replace=False).tolist()
    for number in range(count):
        source = sources[int(rng.integers(len(sources)))]
        length = int(rng.uniform(3.0, 5.0) * 8000) * 2 // len(source)
        start = int(rng.integers(source.shape[1] - length))
        piece = source[:, start : start + length].T * rng.uniform(0.5, 1.0)
        path = folder / f"{number:05}.wav"
        soundfile.write(path, piece, 8000, subtype="PCM_16")
        if number in bad:
            _spoil(path, rng, kind=bad.index(number) % 5)
    return len(bad)


def _spoil(path: Path, rng: np.random.Generator, *, kind: int) -> None:
    data = path.read_bytes()
    contents = (b"", f"call {path.stem}\n".encode() * 20, rng.bytes(5000), data[:44], data[: len(data) // 2])
    path.write_bytes(contents[kind])


@dataclass
class Track:
    """What one process held, second by second."""

    at_s: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)

    def slopes(self, *, from_s: float, until_s: float) -> tuple[float, float]:
        """MiB and descriptors that a minute adds, by a line through what was seen between two times."""
        rows = [i for i, at_s in enumerate(self.at_s) if from_s <= at_s <= until_s]
        if len(rows) < 5:
            return 0.0, 0.0
        minutes = np.array([self.at_s[i] for i in rows]) / 60
        memory, descriptors = (np.array(held)[rows] for held in (self.memory_mib, self.descriptors))
        return float(np.polyfit(minutes, memory, 1)[0]), float(np.polyfit(minutes, descriptors, 1)[0])


class Watch:
    """Looks at this process and its workers while a run is under way."""

    def __init__(self) -> None:
        self.tracks: dict[int, Track] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.began_s = time.monotonic()
        self._thread.start()

    def finish(self) -> None:
        self._over.set()
        self._thread.join()
        self.ended_s = time.monotonic()

    def _follow(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            for pid in [os.getpid(), *workers()]:
                try:
                    held = _held(pid)
                except OSError:  # it ended meanwhile
                    continue
                track = self.tracks.setdefault(pid, Track())
                track.at_s.append(time.monotonic())
                track.memory_mib.append(held[0])
                track.descriptors.append(held[1])


def workers() -> list[int]:
    """The worker processes of this one."""
    return [
        pid for pid in children() if "loky" in command_of(pid) and "resource_tracker" not in command_of(pid)
    ]


def _held(pid: int) -> tuple[float, float]:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    line = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
    return int(line.split()[1]) / 1024, float(len(list(Path(f"/proc/{pid}/fd").iterdir())))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of both runs."""

    lines: tuple[str, ...]
    """What was measured,"""
    troubles: tuple[str, ...]
    """and what of it must not be."""


def soak(folder: Path, *, calls: int, seed: int, jobs: int, stand_in: bool) -> Outcome:
    """Analyze the same calls twice in an empty `folder`, and compare."""
    import callmood
    from callmood.errors import Exit

    if stand_in:
        import cloudpickle

        from benchmarks import kills
        from callmood import workers as workers_module

        cloudpickle.register_pickle_by_value(kills)
        workers_module._work = stand_in_work
    bad = make_calls(folder / "calls", count=calls, seed=seed)
    (folder / "tmp").mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    lines = [f"{calls} calls, {bad} of them bad, {jobs} workers"]
    troubles: list[str] = []
    databases = [folder / "first.duckdb", folder / "second.duckdb"]
    for database in databases:
        watch = Watch()
        summary = callmood.analyze(
            folder / "calls", db=str(database), force=True, jobs=jobs, device="cpu", snapshot_every=60
        )
        watch.finish()
        told = len(summary.failures) + len(summary.truncated)
        lines.append(
            f"{database.stem}: {summary.analyzed} analyzed, {len(summary.failures)} failed, "
            f"{len(summary.truncated)} truncated, exit code {int(summary.exit_code)}"
        )
        if summary.analyzed != calls or told != bad or summary.exit_code != Exit.SOME_FAILED:
            troubles.append(lines[-1])
        _judge(watch, lines, troubles)
    found = differences(*databases)
    lines.append(f"differences between the two databases: {len(found)}")
    troubles += found[:5]
    left = sorted(path.name for path in (folder / "tmp").iterdir() if not path.name.startswith("joblib"))
    halves = sorted(path.name for path in folder.glob(".*"))
    lines.append(f"temporary files left: {len(left)}; half copies left: {len(halves)}")
    troubles += [f"left behind: {name}" for name in (*left, *halves)]
    return Outcome(lines=tuple(lines), troubles=tuple(troubles))


def _judge(watch: Watch, lines: list[str], troubles: list[str]) -> None:
    half_s = (watch.began_s + watch.ended_s) / 2
    minutes = (watch.ended_s - half_s) / 60
    for number, (pid, track) in enumerate(watch.tracks.items()):
        name = "parent" if pid == os.getpid() else f"worker {number}"
        memory, descriptors = track.slopes(from_s=half_s, until_s=watch.ended_s)
        lines.append(
            f"  {name}: at most {max(track.memory_mib):.0f} MiB and {max(track.descriptors):.0f} descriptors; "
            f"{memory:+.2f} MiB and {descriptors:+.2f} descriptors a minute over the last {minutes:.1f} min"
        )
        if memory * minutes > GROWTH_MIB or descriptors * minutes > GROWTH_DESCRIPTORS:
            troubles.append(lines[-1].strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--stand-in", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = soak(
            Path(folder), calls=given.calls, seed=given.seed, jobs=given.jobs, stand_in=given.stand_in
        )
    used = os.times()
    cpu_s = used.user + used.system + used.children_user + used.children_system
    print(*outcome.lines, sep="\n")
    print(f"computing time of the parent and of ended workers: {cpu_s:.0f} s")
    print(f"troubles: {len(outcome.troubles)}")
    print(*outcome.troubles, sep="\n")
    sys.exit(bool(outcome.troubles))


if __name__ == "__main__":
    main()
