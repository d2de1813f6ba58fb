"""How long `callmood report --html` takes on a database of many calls.

    python -m benchmarks.page                          100,000 calls, 10 million windows
    python -m benchmarks.page --calls 1000 --keep DB   a smaller one, kept to be looked at

The calls are made in SQL, by formulas seeded through `hash`: twenty turns of two parties, five windows a turn, a
rise of the customer's negativity in about every fifth call, some calls that failed. They say how long a report
takes and how large it is, and nothing about emotions.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from callmood.emotions import PROBABILITY_COLUMNS
from callmood.results.derived import derive_all
from callmood.results.schema import migrate

TURNS = 20
WINDOWS = 5
AGENTS = 500

_RUN = """
INSERT INTO runs BY NAME
SELECT 'run-' || range AS run_id, TIMESTAMPTZ '2026-03-01 02:15:00+00' + range * INTERVAL 1 DAY AS started_at,
       started_at + INTERVAL 1 HOUR AS finished_at, '0.1.0' AS version, '{}' AS settings,
       '9039dbbc0035caf5' AS settings_hash, 'f3b5ac1c6f0c9f1e' AS model_hash, 'everyone' AS emotion_for
FROM range(30)
"""

_CALLS = """
INSERT INTO calls BY NAME
WITH drawn AS (SELECT range AS n, hash(range) AS h, md5(range::VARCHAR)[:16] AS id FROM range($calls))
SELECT id AS call_id, '/srv/calls/' || id || '.wav' AS path, id AS content_hash, '[]' AS legs,
       'agent-' || lpad((h % $agents)::VARCHAR, 3, '0') AS agent_id, 'C-' || (h >> 8) % 50000 AS customer_id,
       ['billing', 'sales', 'support', 'outage'][((h >> 16) % 4)::BIGINT + 1] AS queue,
       TIMESTAMPTZ '2026-03-01 08:00:00+00' + (n * 2592000 // $calls) * INTERVAL 1 SECOND AS started_at,
       CASE WHEN h % 97 = 0 THEN NULL ELSE $turns * 6.0 END AS duration_s, 2 AS channels, 8000 AS rate_hz,
       'ULAW' AS codec, CASE WHEN h % 97 = 0 THEN 'unreadable' ELSE 'ok' END AS status,
       CASE WHEN h % 97 = 0 THEN path || ': holds no audio; fetch it again.' END AS error, false AS truncated,
       0 AS lost_s, 'channels 1' AS diarizer, '9039dbbc0035caf5' AS settings_hash,
       'f3b5ac1c6f0c9f1e' AS model_hash, 'run-' || n * 30 // $calls AS run_id, started_at AS analyzed_at
FROM drawn
ORDER BY n
"""

# Only names of columns, this package's own, come into the queries.
_WINDOWS = f"""
INSERT INTO windows BY NAME
WITH drawn AS (
    SELECT call_id, hash(call_id) AS h, t.range::INTEGER AS turn_index, t.range * 6.0 + w.range AS start_s,
           start_s + 2 AS end_s, w.range AS w, (hash(call_id, t.range, w.range) % 1000) / 1000 AS noise
    FROM calls, range($turns) AS t, range($windows) AS w
    WHERE status = 'ok'
),
felt AS (
    SELECT *, 0.05 + 0.1 * noise
           + CASE WHEN h % 5 = 0 AND turn_index % 2 = 1
                  THEN (0.3 + (h % 53) / 100) * exp(-pow((start_s - 40 - h % 60) / 15, 2)) ELSE 0 END AS p
    FROM drawn
)
SELECT call_id, turn_index, start_s, end_s, {", ".join(f"(1 - p) / 6 AS {c}" for c in PROBABILITY_COLUMNS)},
       p AS p_angry, 0.2 - p AS valence, 0.1 + p / 2 AS arousal, p AS negativity, p AS negativity_smooth
FROM felt
""".replace("(1 - p) / 6 AS p_angry, ", "")  # noqa: S608

_TURNS = f"""
INSERT INTO turns BY NAME
SELECT call_id, turn_index, CASE WHEN turn_index % 2 = 0 THEN 'S1' ELSE 'S2' END AS speaker,
       CASE WHEN turn_index % 2 = 0 THEN 'agent' ELSE 'customer' END AS role, turn_index % 2 AS channel,
       min(start_s) AS start_s, max(end_s) - 0.4 AS end_s, 0 AS overlap_s,
       CASE WHEN avg(p_angry) > 0.4 THEN 'angry' ELSE 'neutral' END AS emotion, 0.5 + max(p_angry) / 2 AS confidence,
       {", ".join(f"avg({name}) AS {name}" for name in (*PROBABILITY_COLUMNS, "valence", "arousal", "negativity"))}
FROM windows GROUP BY call_id, turn_index ORDER BY call_id, turn_index
"""  # noqa: S608

_ESCALATIONS = """
INSERT INTO escalation_events BY NAME
SELECT call_id, 'S2' AS speaker, 'customer' AS role, min(start_s) + 1 AS onset_s,
       arg_max(start_s, negativity_smooth) + 1 AS peak_s,
       CASE WHEN max(start_s) < 100 THEN max(start_s) + 3 END AS end_s,
       max(negativity_smooth) - 0.1 AS height, height / 20 AS slope, max(start_s) < 100 AS recovered
FROM windows WHERE negativity_smooth > 0.3 GROUP BY call_id
"""

_SCORES = """
INSERT INTO escalation_scores BY NAME
SELECT call_id, 'S2' AS speaker, 10 * max(negativity_smooth) AS evidence, max(negativity_smooth) AS score
FROM windows GROUP BY call_id
"""


def make_database(path: Path, *, calls: int) -> None:
    """A database of so many made-up calls."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        migrate(connection)
        connection.execute(_RUN)
        connection.execute(_CALLS, {"calls": calls, "agents": AGENTS, "turns": TURNS})
        connection.execute(_WINDOWS, {"turns": TURNS, "windows": WINDOWS})
        connection.execute(_TURNS)
        connection.execute(_ESCALATIONS)
        connection.execute(_SCORES)
        derive_all(connection)


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and CPU seconds of all its threads, that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    subprocess.run(command, check=True)
    wall_s = time.perf_counter() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="database to make (or to take, where it exists)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = arguments.keep or Path(folder) / "volume.duckdb"
        if not database.exists():
            make_database(database, calls=arguments.calls)
        with duckdb.connect(str(database), read_only=True) as connection:
            for table in ("calls", "turns", "windows", "escalation_events"):
                (rows,) = connection.table(table).count("*").fetchall()
                print(f"{table:20}{rows[0]:>12,}")
        page = Path(folder) / "report.html"
        command = [sys.executable, "-m", "callmood", "report", "--html", str(page), "--db", str(database)]
        for attempt in ("first", "second"):
            wall_s, cpu_s = timed(command)
            print(f"{attempt}: {wall_s:.1f} s by the clock, {cpu_s:.1f} CPU seconds")
        print(f"{page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
