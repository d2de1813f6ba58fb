"""How the cost of `callmood analyze` grows with the calls of a run, with their length, and with what the database holds.

    python -m benchmarks.growth
    python -m benchmarks.growth --database synthetic.duckdb    and into a copy of a database of benchmarks.reports

Processor time is that of the parent, two workers and their ffmpegs. Start-up, which is that of a run of `FEWEST` calls
less what its calls cost in the largest run, is left in: it is what a small run pays. Two-channel calls of
`benchmarks.calls`; longer ones are its conversation over and over, each from another place.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.calls import CALL_S, SHARED, make_calls
from benchmarks.throughput import Cost, analyze

FEWEST = 8
TIMES = (1, 10, 100)
WORKERS = 2


def row(name: str, hours: float, cost: Cost) -> str:
    """One line of a table."""
    return (
        f"| {name} | {hours:.2f} | {cost.cpu_s:.1f} | {cost.cpu_s / hours / 3.6:.2f} | {cost.parent_mib:.0f} MiB "
        f"| {cost.worker_mib:.0f} MiB |"
    )


def measure(shared: Path, *, database: Path | None) -> None:
    """Print the table."""
    print(
        "| run | hours of audio | processor s | core-hours for 1,000 hours | parent at most | worker at most |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for times in TIMES:
            calls = folder / f"calls-{times}"
            make_calls(calls, count=FEWEST * times, channels=2, shared=shared)
            hours = FEWEST * times * CALL_S / 3600
            print(row(f"{FEWEST * times} calls of 2 min", hours, analyze(calls, jobs=WORKERS)), flush=True)
        for times in TIMES[1:]:
            calls = folder / f"long-{times}"
            make_calls(calls, count=FEWEST, channels=2, shared=shared, call_s=CALL_S * times)
            hours = FEWEST * times * CALL_S / 3600
            name = f"{FEWEST} calls of {2 * times} min"
            print(row(name, hours, analyze(calls, jobs=WORKERS)), flush=True)
        if database is not None:
            full = folder / "full.duckdb"
            shutil.copyfile(database, full)
            hours = FEWEST * 10 * CALL_S / 3600
            cost = analyze(folder / "calls-10", jobs=WORKERS, database=full)
            print(row(f"{FEWEST * 10} calls of 2 min, into {database.name}", hours, cost), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of recorded calls")
    parser.add_argument("--database", type=Path, help="a large database, which is copied")
    given = parser.parse_args(arguments)
    measure(given.shared, database=given.database)


if __name__ == "__main__":
    main()
