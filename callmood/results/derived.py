"""Tables of what the measures are made of, a row per call or speaker, so that reports need not read every window.

They hold nothing that the other tables do not say: they are made from them as a call is written, and anew for all
calls whenever the schema changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmood.results.views import conversation, mood

if TYPE_CHECKING:
    from callmood.results.schema import Connection

DERIVED: dict[str, str] = {**mood.COMPONENTS, **conversation.COMPONENTS}
"""Name and query of each table."""

_SOURCES = ("calls", "turns", "windows", "nonspeech")


def derive_all(connection: Connection) -> None:
    """Make the tables anew, of all calls."""
    for table, query in DERIVED.items():
        connection.execute(f"CREATE OR REPLACE TABLE {table} AS {query}")


def derive_call(connection: Connection, call_id: str) -> None:
    """Bring the rows of one call up to date, after anything was written about it; none where it is gone."""
    # The queries name their tables without a schema, so here they read this one call of each.
    one_call = ", ".join(
        f"{name} AS (SELECT * FROM main.{name} WHERE call_id = $call_id)" for name in _SOURCES
    )
    for table, query in DERIVED.items():
        connection.execute(f"DELETE FROM {table} WHERE call_id = $call_id", {"call_id": call_id})
        connection.execute(
            f"INSERT INTO {table} WITH {one_call} SELECT * FROM ({query})", {"call_id": call_id}
        )
