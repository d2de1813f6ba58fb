"""The schema: ordered migrations for the tables; the views are in `callmood.results.views`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callmood.emotions import PROBABILITY_COLUMNS
from callmood.results.derived import derive_all
from callmood.results.notes import COLUMNS, RELATIONS
from callmood.results.views import VIEWS

Connection = Any
"""A `duckdb.DuckDBPyConnection`."""

_PROBABILITIES = ", ".join(f"{column} REAL" for column in PROBABILITY_COLUMNS)


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


def m002_signals(connection: Connection) -> None:
    """What the signal tells beside who spoke: levels, syllables, and what sounds while nobody speaks."""
    connection.execute("ALTER TABLE turns ADD COLUMN level_dbfs REAL")
    connection.execute("ALTER TABLE turns ADD COLUMN syllables INTEGER")
    connection.execute(
        """
        CREATE TABLE nonspeech (
            call_id VARCHAR NOT NULL,
            start_s DOUBLE NOT NULL,
            end_s DOUBLE NOT NULL,
            kind VARCHAR NOT NULL,
            level_dbfs REAL NOT NULL
        )
        """
    )


def m003_roles_and_privacy(connection: Connection) -> None:
    """How roles are known, agents linked by voice, and what was purged."""
    for column in ("role_source VARCHAR", "role_confidence DOUBLE", "rescore BOOLEAN"):
        connection.execute(f"ALTER TABLE calls ADD COLUMN {column}")
    connection.execute("ALTER TABLE runs ADD COLUMN pseudonyms VARCHAR")
    connection.execute(
        """
        CREATE TABLE linkings (
            linked_at TIMESTAMPTZ NOT NULL,
            linked_by VARCHAR,
            host VARCHAR,
            version VARCHAR NOT NULL,
            model_hash VARCHAR NOT NULL,
            agents BIGINT NOT NULL,
            calls BIGINT NOT NULL,
            calls_linked BIGINT NOT NULL
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE linked_agents (
            call_id VARCHAR PRIMARY KEY,
            content_hash VARCHAR NOT NULL,
            agent_id VARCHAR NOT NULL,
            speaker VARCHAR NOT NULL,
            confidence DOUBLE NOT NULL,
            calls BIGINT NOT NULL,
            spans JSON NOT NULL
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE purges (
            purged_at TIMESTAMPTZ NOT NULL,
            purged_by VARCHAR,
            host VARCHAR,
            version VARCHAR NOT NULL,
            criterion JSON NOT NULL,
            reason VARCHAR,
            calls BIGINT NOT NULL,
            erased BOOLEAN NOT NULL
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE purged_recordings (
            content_hash VARCHAR PRIMARY KEY,
            purged_at TIMESTAMPTZ NOT NULL
        )
        """
    )


def m004_escalation_scores(connection: Connection) -> None:
    """What the other party did at an escalation's onset, and each speaker's evidence of escalation.

    Calls written before have neither: NULL, and no row.
    """
    connection.execute("ALTER TABLE escalation_events ADD COLUMN other_party VARCHAR")
    connection.execute(
        """
        CREATE TABLE escalation_scores (
            call_id VARCHAR NOT NULL,
            speaker VARCHAR NOT NULL,
            evidence DOUBLE NOT NULL,
            score DOUBLE NOT NULL
        )
        """
    )


def m005_statistics(connection: Connection) -> None:
    """Statistics of groups of calls, and what they were made with."""
    connection.execute(
        """
        CREATE TABLE group_statistics (
            group_kind VARCHAR NOT NULL,
            group_name VARCHAR NOT NULL,
            team VARCHAR,
            calls BIGINT NOT NULL,
            hours DOUBLE,
            measure VARCHAR NOT NULL,
            calls_measured BIGINT NOT NULL,
            numerator DOUBLE NOT NULL,
            denominator DOUBLE NOT NULL,
            value DOUBLE,
            low DOUBLE,
            high DOUBLE,
            team_value DOUBLE,
            expected DOUBLE,
            difference DOUBLE,
            difference_low DOUBLE,
            difference_high DOUBLE,
            adjusted DOUBLE,
            shrunk DOUBLE,
            percentile DOUBLE,
            q_value DOUBLE,
            within_noise BOOLEAN,
            trend DOUBLE,
            trend_low DOUBLE,
            trend_high DOUBLE,
            why VARCHAR
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE statistics_made (
            made_at TIMESTAMPTZ NOT NULL,
            version VARCHAR NOT NULL,
            timezone VARCHAR NOT NULL,
            min_calls INTEGER NOT NULL,
            seed INTEGER NOT NULL,
            current BOOLEAN NOT NULL
        )
        """
    )


def m006_course(connection: Connection) -> None:
    """Smoothed valence and arousal of windows, and standard errors; NULL in calls written before."""
    for column in ("valence_smooth", "arousal_smooth", "valence_se", "arousal_se", "negativity_se"):
        connection.execute(f"ALTER TABLE windows ADD COLUMN {column} REAL")


def m007_turn_confidence(connection: Connection) -> None:
    """How sure the turns of a call are; NULL in calls written before, whose engine did not know."""
    connection.execute("ALTER TABLE calls ADD COLUMN turn_confidence DOUBLE")


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    m001_initial,
    m002_signals,
    m003_roles_and_privacy,
    m004_escalation_scores,
    m005_statistics,
    m006_course,
    m007_turn_confidence,
)
"""In order; the schema version is their number. Never edit one that was released: add the next."""


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
        if before < len(MIGRATIONS):
            derive_all(connection)
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
    # Views of the user's own are left alone.
    columns = [(table, column) for table, column in columns if table in RELATIONS and column in COLUMNS]
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
