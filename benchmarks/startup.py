"""How long commands take to start: `python -m benchmarks.startup [--shared FOLDER]`.

Prints wall and processor time of `callmood --help`, of `analyze` on one new call of two minutes (the whole run, so that
its first result was there before), and of `report` on the database that this makes; the best of three runs each. Wall
time counts only on a quiet machine: processor time is what the machine must find in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.calls import SHARED, make_calls

REPEATS = 3


def took(*arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of the command, its child processes' too; raises where it fails."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "callmood", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"callmood {' '.join(arguments)} failed")
    return time.monotonic() - began_s, used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of recorded calls")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        make_calls(Path(place) / "calls", count=1, channels=1, shared=given.shared)
        database = ("--db", str(Path(place) / "calls.duckdb"))
        commands = {
            "--help": ("--help",),
            "analyze, one call": (
                "analyze",
                str(Path(place) / "calls"),
                *database,
                "--force",
                "--device",
                "cpu",
            ),
            "report": ("report", *database),
        }
        for name, command in commands.items():
            wall_s, cpu_s = min(took(*command) for _ in range(REPEATS))
            print(f"{name}: {wall_s:.2f} s, of which {cpu_s:.2f} s on processors", flush=True)


if __name__ == "__main__":
    main()
