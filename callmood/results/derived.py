"""Tables of what the measures are made of, a row per call or speaker, so that reports need not read every window.

They hold nothing that the other tables do not say: they are made from them as a call is written, and anew for all
calls whenever the schema changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
    forget_derived(connection, [call_id])
    given = {"call_ids": [call_id]}
    of_call = {
        name: f"SELECT * FROM main.{name} WHERE list_contains($call_ids, call_id)" for name in _SOURCES
    }
    _insert(connection, of_call, given)


def derive_new(connection: Connection, call_ids: Sequence[str], *, rows: Mapping[str, str]) -> None:
    """Add the rows of calls that were just written, without reading all others: `rows` names, for each of `turns`,
    `windows` and `nonspeech`, a table of theirs alone."""
    of_calls = {name: f"SELECT * FROM {table}" for name, table in rows.items()}
    of_calls["calls"] = "SELECT * FROM main.calls WHERE list_contains($call_ids, call_id)"
    _insert(connection, of_calls, {"call_ids": list(call_ids)})


def forget_derived(connection: Connection, call_ids: Sequence[str]) -> None:
    """Remove the rows of some calls."""
    for table in DERIVED:
        connection.execute(
            f"DELETE FROM {table} WHERE list_contains($call_ids, call_id)", {"call_ids": list(call_ids)}
        )


def _insert(connection: Connection, sources: Mapping[str, str], given: Mapping[str, Any]) -> None:
    # The queries name their tables without a schema, so here they read these rows of each.
    some_calls = ", ".join(f"{name} AS ({query})" for name, query in sources.items())
    for table, query in DERIVED.items():
        connection.execute(f"INSERT INTO {table} WITH {some_calls} SELECT * FROM ({query})", dict(given))
