"""The statistics that a database keeps, and how to tell whether they are what would be made now."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING

from callmood.statistics.calls import TEAM, read_calls
from callmood.statistics.groups import MIN_CALLS, SEED, GroupStatistic, group_statistics

if TYPE_CHECKING:
    from callmood.results.schema import Connection

KEPT_KINDS = ("agent", "queue", TEAM, "hour", "weekday", "week")
"""What `group_statistics` holds; other kinds are worked out when they are asked for."""

_COLUMNS = ", ".join(field.name for field in fields(GroupStatistic))


def make(connection: Connection, *, timezone: str, made_at: datetime) -> None:
    """Fill `group_statistics` anew, unless it is current; the caller holds a transaction."""
    from callmood import __version__

    if _is_current(connection, timezone=timezone):
        connection.execute("UPDATE statistics_made SET made_at = ?", [made_at])
        return
    rows = read_calls(connection, timezone=timezone)
    connection.execute("DELETE FROM group_statistics")
    connection.execute("DELETE FROM statistics_made")
    for kind in KEPT_KINDS:
        _append(connection, group_statistics(rows, kind))
    connection.execute(
        "INSERT INTO statistics_made (made_at, version, timezone, min_calls, seed, current) "
        "VALUES (?, ?, ?, ?, ?, true)",
        [made_at, __version__, timezone, MIN_CALLS, SEED],
    )


def statistics_of(
    connection: Connection, kind: str, *, timezone: str, min_calls: int = MIN_CALLS
) -> list[GroupStatistic]:
    """The statistics of all calls by one kind of group: as kept where they are current, else worked out now."""
    if kind in KEPT_KINDS and _is_current(connection, timezone=timezone, min_calls=min_calls):
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM group_statistics WHERE group_kind = ? ORDER BY rowid",  # noqa: S608
            [kind],
        ).fetchall()
        names = [field.name for field in fields(GroupStatistic)]
        return [GroupStatistic(**dict(zip(names, row, strict=True))) for row in rows]
    return group_statistics(read_calls(connection, kind=kind, timezone=timezone), kind, min_calls=min_calls)


def _is_current(connection: Connection, *, timezone: str, min_calls: int = MIN_CALLS) -> bool:
    from callmood import __version__

    found = connection.execute(
        "SELECT count(*) FROM statistics_made WHERE current "
        "AND version = ? AND timezone = ? AND min_calls = ? AND seed = ?",
        [__version__, timezone, min_calls, SEED],
    ).fetchone()
    return bool(found[0])


def _append(connection: Connection, statistics: list[GroupStatistic]) -> None:
    import pandas as pd

    if statistics:
        frame = pd.DataFrame([asdict(row) for row in statistics], dtype="object")
        connection.register("statistics_to_append", frame)
        connection.execute(
            f"INSERT INTO group_statistics ({_COLUMNS}) SELECT {_COLUMNS} FROM statistics_to_append"  # noqa: S608
        )
        connection.unregister("statistics_to_append")
