"""The schema: ordered migrations for the tables, and the views that every report reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callmood.emotions import PROBABILITY_COLUMNS
from callmood.results.notes import COLUMNS, RELATIONS

Connection = Any
"""A `duckdb.DuckDBPyConnection`."""

_PROBABILITIES = ", ".join(f"{column} REAL" for column in PROBABILITY_COLUMNS)
_PROBABILITY_NAMES = ", ".join(PROBABILITY_COLUMNS)


def m001_initial(connection: Connection) -> None:
    """Runs, files, calls, turns, windows and escalation events."""
    connection.execute(
        """
        CREATE TABLE runs (
            run_id VARCHAR PRIMARY KEY,
            started_at TIMESTAMPTZ NOT NULL,
            finished_at TIMESTAMPTZ,
            started_by VARCHAR,
            host VARCHAR,
            version VARCHAR NOT NULL,
            settings JSON NOT NULL,
            settings_hash VARCHAR NOT NULL,
            model_hash VARCHAR NOT NULL,
            emotion_for VARCHAR NOT NULL,
            found BIGINT,
            analyzed BIGINT,
            failed BIGINT,
            already_known BIGINT
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE files (
            path VARCHAR PRIMARY KEY,
            size_bytes BIGINT NOT NULL,
            modified_ns BIGINT NOT NULL,
            content_hash VARCHAR NOT NULL
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE calls (
            call_id VARCHAR PRIMARY KEY,
            path VARCHAR NOT NULL,
            content_hash VARCHAR NOT NULL,
            legs JSON NOT NULL,
            agent_id VARCHAR,
            customer_id VARCHAR,
            queue VARCHAR,
            started_at TIMESTAMPTZ,
            agent_channel INTEGER,
            metadata JSON,
            duration_s DOUBLE,
            channels INTEGER,
            rate_hz INTEGER,
            codec VARCHAR,
            status VARCHAR NOT NULL,
            error VARCHAR,
            truncated BOOLEAN,
            lost_s DOUBLE,
            diarizer VARCHAR,
            settings_hash VARCHAR NOT NULL,
            model_hash VARCHAR NOT NULL,
            run_id VARCHAR NOT NULL,
            analyzed_at TIMESTAMPTZ NOT NULL
        )
        """
    )
    connection.execute(
        f"""
        CREATE TABLE turns (
            call_id VARCHAR NOT NULL,
            turn_index INTEGER NOT NULL,
            speaker VARCHAR NOT NULL,
            role VARCHAR,
            channel INTEGER NOT NULL,
            start_s DOUBLE NOT NULL,
            end_s DOUBLE NOT NULL,
            overlap_s DOUBLE NOT NULL,
            speaker_confidence REAL,
            emotion VARCHAR,
            confidence REAL,
            {_PROBABILITIES},
            valence REAL,
            arousal REAL,
            negativity REAL
        )
        """
    )
    connection.execute(
        f"""
        CREATE TABLE windows (
            call_id VARCHAR NOT NULL,
            turn_index INTEGER NOT NULL,
            start_s DOUBLE NOT NULL,
            end_s DOUBLE NOT NULL,
            {_PROBABILITIES},
            valence REAL NOT NULL,
            arousal REAL NOT NULL,
            negativity REAL NOT NULL,
            negativity_smooth REAL NOT NULL
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE escalation_events (
            call_id VARCHAR NOT NULL,
            speaker VARCHAR NOT NULL,
            role VARCHAR,
            onset_s DOUBLE NOT NULL,
            peak_s DOUBLE NOT NULL,
            end_s DOUBLE,
            height REAL NOT NULL,
            slope REAL NOT NULL,
            recovered BOOLEAN NOT NULL
        )
        """
    )


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (m001_initial,)
"""In order; the schema version is their number. Never edit one that was released: add the next."""

VIEWS: dict[str, str] = {
    "trajectory": f"""
        SELECT call_id, t.speaker, t.role, (w.start_s + w.end_s) / 2 AS t_s, w.turn_index,
               {", ".join(f"w.{column}" for column in PROBABILITY_COLUMNS)},
               w.valence, w.arousal, w.negativity, w.negativity_smooth
        FROM windows AS w JOIN turns AS t USING (call_id, turn_index)
    """,
    "escalations": """
        SELECT e.call_id, c.agent_id, c.queue, c.started_at, e.speaker, e.role,
               e.onset_s, e.peak_s, e.end_s, coalesce(e.end_s, c.duration_s) - e.onset_s AS length_s,
               e.height, e.slope, e.recovered
        FROM escalation_events AS e JOIN calls AS c USING (call_id)
    """,
    "speaker_summary": """
        SELECT call_id, speaker, any_value(role) AS role, count(*) AS turns,
               sum(end_s - start_s) AS speech_s,
               sum(end_s - start_s) / sum(sum(end_s - start_s)) OVER (PARTITION BY call_id) AS talk_share,
               avg(valence) AS valence_mean, avg(arousal) AS arousal_mean, avg(negativity) AS negativity_mean
        FROM turns
        GROUP BY call_id, speaker
    """,
    "call_summary": """
        WITH speech AS (
            SELECT call_id, count(DISTINCT speaker) AS speakers, count(*) AS turns,
                   sum(end_s - start_s) AS speech_s,
                   CASE WHEN count(*) FILTER (role = 'customer') > 0 THEN 'customer' ELSE 'everyone' END AS mood_of
            FROM turns GROUP BY call_id
        ),
        mood AS (
            SELECT call_id, count(*) AS windows,
                   avg(valence) FILTER (t_s < c.duration_s / 3) AS mood_start,
                   avg(valence) FILTER (t_s >= 2 * c.duration_s / 3) AS mood_end,
                   avg(negativity) AS negativity_mean,
                   max(negativity_smooth) AS worst_negativity,
                   arg_max(t_s, negativity_smooth) AS worst_s,
                   arg_max(speaker, negativity_smooth) AS worst_speaker
            FROM trajectory JOIN calls AS c USING (call_id)
            WHERE role IS DISTINCT FROM 'agent'
            GROUP BY call_id
        ),
        events AS (
            SELECT call_id, count(*) AS escalations, count(*) FILTER (recovered) AS escalations_recovered,
                   max(height) AS height
            FROM escalation_events
            WHERE role IS DISTINCT FROM 'agent'
            GROUP BY call_id
        )
        SELECT c.call_id, c.path, c.agent_id, c.customer_id, c.queue, c.started_at, c.status, c.error,
               c.duration_s, c.truncated, s.speakers, s.turns, s.speech_s,
               CASE WHEN m.windows IS NOT NULL THEN s.mood_of END AS mood_of,
               m.mood_start, m.mood_end, m.mood_end - m.mood_start AS mood_change,
               m.negativity_mean, m.worst_s, m.worst_negativity, m.worst_speaker,
               CASE WHEN m.windows IS NOT NULL THEN coalesce(e.escalations, 0) END AS escalations,
               CASE WHEN m.windows IS NOT NULL THEN coalesce(e.escalations_recovered, 0) END
                   AS escalations_recovered,
               CASE WHEN m.windows IS NOT NULL THEN coalesce(e.height, 0) END AS escalation_score
        FROM calls AS c
        LEFT JOIN speech AS s USING (call_id)
        LEFT JOIN mood AS m USING (call_id)
        LEFT JOIN events AS e USING (call_id)
    """,
    "agent_summary": """
        WITH agent_speech AS (
            SELECT call_id, talk_share FROM speaker_summary WHERE role = 'agent'
        )
        SELECT agent_id, count(*) AS calls, count(*) FILTER (status = 'ok') AS calls_analyzed,
               sum(duration_s) / 3600 AS hours,
               count(escalations) AS calls_scored,
               count(*) FILTER (escalations > 0) AS calls_escalated,
               count(*) FILTER (escalations > 0) / nullif(count(escalations), 0) AS escalation_rate,
               sum(escalations) AS escalations,
               sum(escalations_recovered) AS escalations_recovered,
               sum(escalations_recovered) / nullif(sum(escalations), 0) AS recovery_rate,
               count(mood_change) AS calls_with_mood_change, avg(mood_change) AS mood_change_mean,
               avg(negativity_mean) AS negativity_mean,
               count(talk_share) AS calls_with_talk_share, avg(talk_share) AS talk_share_mean
        FROM call_summary LEFT JOIN agent_speech USING (call_id)
        WHERE agent_id IS NOT NULL
        GROUP BY agent_id
    """,
}
"""Name and query of each view, in the order of creation."""


def migrate(connection: Connection) -> int:
    """Bring a database to the newest schema, and its views and comments to this version's, in one
    transaction; returns the version that it had before."""
    connection.execute("BEGIN TRANSACTION")
    try:
        connection.execute(
            """
            CREATE TABLE IF NOT EXISTS schema_migrations (
                version INTEGER PRIMARY KEY,
                name VARCHAR NOT NULL,
                applied_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
            )
            """
        )
        before = schema_version(connection)
        for version, step in enumerate(MIGRATIONS[before:], start=before + 1):
            step(connection)
            connection.execute(
                "INSERT INTO schema_migrations (version, name) VALUES (?, ?)", [version, step.__name__]
            )
        for name, query in VIEWS.items():
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        _comment(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return before


def _comment(connection: Connection) -> None:
    """Keep the meaning of every table, view and column in the database itself."""
    columns = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    # COMMENT takes no parameters; names and texts are this package's own constants.
    for table in sorted({table for table, _ in columns}):
        kind = "VIEW" if table in VIEWS else "TABLE"
        connection.execute(f"COMMENT ON {kind} {table} IS {_quoted(RELATIONS[table])}")
    for table, column in columns:
        connection.execute(f"COMMENT ON COLUMN {table}.{column} IS {_quoted(COLUMNS[column])}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def schema_version(connection: Connection) -> int:
    """Version of an open database; 0 where it holds none of our tables."""
    tables = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'schema_migrations'"
    ).fetchone()
    if not tables[0]:
        return 0
    newest = connection.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()
    return int(newest[0])
