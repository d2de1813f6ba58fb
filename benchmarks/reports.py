"""How long the reports take on a large synthetic database: 100,000 calls with 10 million windows.

    python -m benchmarks.reports synthetic.duckdb                     makes the database where there is none
    python -m benchmarks.reports synthetic.duckdb --calls 1000        a smaller one

Nothing in the database was ever said: turns, probabilities and levels are drawn at random in SQL. Timed are the queries
of `callmood report` and `show`, all rows read, each on a connection of its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

import callmood
from callmood import report
from callmood.emotions import PROBABILITY_COLUMNS
from callmood.report.queries import summaries
from callmood.results.derived import derive_all
from callmood.results.schema import Connection, migrate
from callmood.results.views import MEASURES
from callmood.trajectory.affect import NEGATIVITY, VALENCE_AROUSAL

TURNS_A_CALL = 25
WINDOWS_A_TURN = 4
AGENTS = 200
QUEUES = 8


def make(database: Path, *, calls: int) -> float:
    """A database of that many synthetic calls of five minutes, each with 25 turns of four windows; returns the seconds
    that took."""
    started_s = time.monotonic()
    with duckdb.connect(str(database)) as connection:
        migrate(connection)
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            """
            INSERT INTO calls BY NAME
            SELECT md5(CAST(n AS VARCHAR))[:16] AS call_id, '/synthetic/' || n || '.wav' AS path,
                   md5(CAST(n AS VARCHAR)) AS content_hash, '[]' AS legs, 'agent-' || n % $agents AS agent_id,
                   'customer-' || n % 50000 AS customer_id, 'queue-' || n % $queues AS queue,
                   TIMESTAMPTZ '2026-01-01 08:00:00+00' + n * INTERVAL 2 MINUTE AS started_at,
                   0 AS agent_channel, 300.0 AS duration_s, 2 AS channels, 8000 AS rate_hz, 'ULAW' AS codec,
                   'ok' AS status, false AS truncated, 0.0 AS lost_s, 'channels 1' AS diarizer,
                   'synthetic' AS settings_hash, 'synthetic' AS model_hash, 'synthetic' AS run_id,
                   now() AS analyzed_at
            FROM range($calls) AS t(n)
            """,
            {"calls": calls, "agents": AGENTS, "queues": QUEUES},
        )
        odds = ", ".join(f"random() ** 3 AS {name}" for name in PROBABILITY_COLUMNS)
        total = " + ".join(PROBABILITY_COLUMNS)
        shares = ", ".join(f"{name} / ({total}) AS {name}" for name in PROBABILITY_COLUMNS)
        valence = " + ".join(f"p_{name} * {value}" for name, (value, _) in VALENCE_AROUSAL.items())
        arousal = " + ".join(f"p_{name} * {value}" for name, (_, value) in VALENCE_AROUSAL.items())
        negativity = " + ".join(f"p_{name} * {value}" for name, value in NEGATIVITY.items())
        connection.execute(
            f"""
            INSERT INTO turns BY NAME
            SELECT * EXCLUDE (silent_s), {valence} AS valence, {arousal} AS arousal, {negativity} AS negativity
            FROM (
                SELECT call_id, turn_index, 'S' || 1 + turn_index % 2 AS speaker,
                       CASE turn_index % 2 WHEN 0 THEN 'agent' ELSE 'customer' END AS role,
                       turn_index % 2 AS channel, start_s, start_s + 11 + 2 * silent_s AS end_s, silent_s,
                       0.1 AS overlap_s, 'neutral' AS emotion, 0.5 AS confidence,
                       -30 + 10 * silent_s AS level_dbfs, CAST(40 + 10 * silent_s AS INTEGER) AS syllables, {shares}
                FROM (
                    SELECT call_id, turn_index, 12.0 * turn_index AS start_s, random() AS silent_s, {odds}
                    FROM calls, range({TURNS_A_CALL}) AS t(turn_index)
                )
            )
            """
        )
        connection.execute(
            f"""
            INSERT INTO windows BY NAME
            SELECT *, {valence} AS valence, {arousal} AS arousal, {negativity} AS negativity,
                   {negativity} AS negativity_smooth, {valence} AS valence_smooth, {arousal} AS arousal_smooth,
                   0.2 * ({negativity}) AS negativity_se, 0.3 * p_happy AS valence_se, 0.2 * p_angry AS arousal_se
            FROM (
                SELECT call_id, turn_index, start_s, end_s, {shares}
                FROM (
                    SELECT call_id, turn_index, start_s + 2 * step AS start_s, start_s + 2 * step + 2 AS end_s,
                           {odds}
                    FROM (SELECT call_id, turn_index, start_s FROM turns), range({WINDOWS_A_TURN}) AS t(step)
                )
            )
            """
        )
        connection.execute(
            """
            INSERT INTO nonspeech
            SELECT call_id, end_s, lead(start_s) OVER (PARTITION BY call_id ORDER BY turn_index) AS next_s,
                   CASE WHEN turn_index % 9 = 8 THEN 'music' ELSE 'silence' END, -60
            FROM turns QUALIFY next_s > end_s
            """
        )
        connection.execute(
            """
            INSERT INTO escalation_events BY NAME
            SELECT call_id, speaker, role, start_s AS onset_s, start_s + 5 AS peak_s,
                   CASE WHEN turn_index < 15 THEN start_s + 20 END AS end_s,
                   negativity AS height, negativity / 5 AS slope, turn_index < 15 AS recovered
            FROM turns WHERE role = 'customer' AND negativity > 0.6
            """
        )
        connection.execute(
            """
            INSERT INTO escalation_scores BY NAME
            SELECT call_id, speaker, 10 * max(negativity) AS evidence, max(negativity) AS score
            FROM turns GROUP BY call_id, speaker
            """
        )
        derive_all(connection)
    return time.monotonic() - started_s


def queries(connection: Connection) -> Iterator[tuple[str, Callable[[], report.Table]]]:
    """Every query of the reports, by name."""
    call_id, agent_id, queue, since = connection.execute(
        "SELECT call_id, agent_id, queue, max(started_at) OVER () - INTERVAL 7 DAY FROM calls LIMIT 1"
    ).fetchone()
    week = report.Choice(since=since, queue=queue)
    yield "report", lambda: report.calls(connection)
    yield "report --top 20", lambda: report.calls(connection, limit=20)
    yield "report --since 7d --queue Q", lambda: report.calls(connection, choice=week)
    yield "report --agent", lambda: report.find_groups(connection, "agent", timezone="UTC").table()
    yield (
        "report --agent --since 7d --queue Q",
        lambda: report.find_groups(connection, "agent", timezone="UTC", choice=week).table(),
    )
    yield "report --agent ID", lambda: report.calls(connection, agent_id=agent_id)
    yield "report --escalations", lambda: report.escalations(connection)
    yield "report --escalations --top 20", lambda: report.escalations(connection, limit=20)
    yield "report --conversation", lambda: report.conversation(connection)
    yield "report --conversation --top 20", lambda: report.conversation(connection, limit=20)
    yield "show: call_summary", lambda: summaries(connection, [call_id])
    yield "show: speaker_summary", lambda: report.speakers(connection, call_id)
    yield "show: turns", lambda: report.turns(connection, call_id)
    yield "show: trajectory", lambda: report.trajectory(connection, call_id)
    yield "show: trajectory_peaks", lambda: report.trajectory_peaks(connection, call_id, bins=80)
    for view in MEASURES:
        mean = f"SELECT queue, avg({MEASURES[view][-1].name}) FROM {view} GROUP BY queue"
        yield f"sql: {view} by queue", lambda mean=mean: report.run_sql(connection, mean)  # type: ignore[misc]


def timed(database: Path, *, runs: int) -> Iterator[tuple[str, int, float, float, float]]:
    """Of each query: name, rows, median and longest wall-clock seconds, median seconds of CPU."""
    with callmood.connect(database) as connection:
        names = [name for name, _ in queries(connection)]
    for index, name in enumerate(names):
        wall_s, cpu_s, rows = [], [], 0
        for _ in range(runs):
            # Anew each time, so that nothing is cached in the connection.
            with callmood.connect(database) as connection:
                ask = list(queries(connection))[index][1]
                wall, cpu = time.monotonic(), _cpu_s()
                rows = sum(1 for _ in ask().rows)
                wall_s.append(time.monotonic() - wall)
                cpu_s.append(_cpu_s() - cpu)
        yield name, rows, statistics.median(wall_s), max(wall_s), statistics.median(cpu_s)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Make the database where it is missing, and time the reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("database", type=Path, help="a file for the synthetic database (about 0.7 GB)")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if not options.database.exists():
        print(f"making {options.database}: {make(options.database, calls=options.calls):.0f} s")
    print(f"{'query':<40} {'rows':>7} {'wall s':>7} {'longest':>8} {'CPU s':>7}")
    for name, rows, wall_s, longest_s, cpu_s in timed(options.database, runs=options.runs):
        print(f"{name:<40} {rows:>7} {wall_s:>7.2f} {longest_s:>8.2f} {cpu_s:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
