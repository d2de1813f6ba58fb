"""The rows that statistics are made from: one per call, with what it can be grouped by and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from callmood.errors import UsageError
from callmood.statistics.measures import MEASURES, SOURCES

if TYPE_CHECKING:
    from callmood.results.schema import Connection

TEAM = "team"
"""The metadata column that says which team a call's agent belongs to."""

_KINDS: dict[str, str] = {
    "agent": "c.agent_id",
    "customer": "c.customer_id",
    "queue": "c.queue",
    "hour": "strftime(c.started_at AT TIME ZONE $timezone, '%H:00')",
    "weekday": "strftime(c.started_at AT TIME ZONE $timezone, '%u %A')",
    "week": "strftime(c.started_at AT TIME ZONE $timezone, '%G-W%V')",
}
"""What every database can be grouped by, and its value for a call. Hours are those in which the call began; weeks
begin on Monday and are numbered as in ISO 8601, days of the week from Monday, 1."""

OWN_KINDS = tuple(_KINDS)


@dataclass(frozen=True, kw_only=True)
class CallRows:
    """Calls in columns, each of shape (calls,) and in the same order, whatever that is."""

    call_id: NDArray[np.object_]
    keys: Mapping[str, NDArray[np.object_]]
    """By kind of group (`agent`, `queue`, ...): the group that each call belongs to, None where not known."""
    hours: NDArray[np.float64]
    """NaN where not known, as everywhere below."""
    week: NDArray[np.float64]
    """When the call began, in weeks since a Monday."""
    numerators: Mapping[str, NDArray[np.float64]]
    """By name of the measure."""
    denominators: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.call_id)


def group_kinds(connection: Connection) -> tuple[str, ...]:
    """What calls can be grouped by: what every database has, then the metadata columns, sorted."""
    rows = connection.execute(
        "SELECT DISTINCT unnest(json_keys(metadata)) AS name FROM calls ORDER BY name"
    ).fetchall()
    return (*OWN_KINDS, *(name for (name,) in rows if name not in _KINDS))


def check_kind(connection: Connection, kind: str) -> None:
    """Raise UsageError that names all that there is, if calls cannot be grouped by `kind`."""
    kinds = group_kinds(connection)
    if kind not in kinds:
        raise UsageError(f"Calls cannot be grouped by {kind!r}; there are {', '.join(kinds)}.")


def read_calls(
    connection: Connection,
    *,
    kind: str | None = None,
    timezone: str = "UTC",
    agent_id: str | None = None,
    queue: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    min_turn_confidence: float | None = None,
    min_role_confidence: float | None = None,
) -> CallRows:
    """The calls of a database.

    Parameters
    ----------
    kind
        A metadata column that they are to be grouped by, beside `OWN_KINDS` and the team.
    timezone
        Whose hours and days of the week count.
    agent_id, queue, since, until
        Only the calls of this agent, of this queue, that began at `since` or later, that began before `until`.
    min_turn_confidence
        Only the calls whose turns are this sure or more, and those whose engine states no confidence.
    min_role_confidence
        Only the calls whose roles are known with this confidence or more.
    """
    keys = {**_KINDS, TEAM: _metadata("$team")}
    arguments: dict[str, Any] = {"timezone": timezone, "team": TEAM}
    if kind is not None and kind not in keys:
        keys[kind], arguments["kind"] = _metadata("$kind"), kind
    groups = [f"{expression} AS key_{number}" for number, expression in enumerate(keys.values())]
    measured = [f"x_{m.name}, d_{m.name}" for m in MEASURES]
    joins = [f"LEFT JOIN ({_measured(source)}) AS {source} USING (call_id)" for source in SOURCES]
    # Joined of this package's constants; every value is bound.
    found = connection.execute(
        f"""
        SELECT c.call_id, c.duration_s / 3600 AS hours,
               epoch(c.started_at AT TIME ZONE $timezone) / 604800 AS week, {", ".join([*groups, *measured])}
        FROM calls AS c {" ".join(joins)}
        WHERE ($agent_id IS NULL OR c.agent_id = $agent_id) AND ($queue IS NULL OR c.queue = $queue)
          AND ($since IS NULL OR c.started_at >= $since) AND ($until IS NULL OR c.started_at < $until)
          AND ($min_turn_confidence IS NULL OR coalesce(c.turn_confidence >= $min_turn_confidence, true))
          AND ($min_role_confidence IS NULL OR c.role_confidence >= $min_role_confidence)
        """,  # noqa: S608
        {
            **arguments,
            "agent_id": agent_id,
            "queue": queue,
            "since": since,
            "until": until,
            "min_turn_confidence": min_turn_confidence,
            "min_role_confidence": min_role_confidence,
        },
    ).fetchnumpy()
    return CallRows(
        call_id=_texts(found["call_id"]),
        keys={name: _texts(found[f"key_{number}"]) for number, name in enumerate(keys)},
        hours=_numbers(found["hours"]),
        # Day 0 of the epoch was a Thursday.
        week=_numbers(found["week"]) + 3 / 7,
        numerators={m.name: _numbers(found[f"x_{m.name}"]) for m in MEASURES},
        denominators={m.name: _numbers(found[f"d_{m.name}"]) for m in MEASURES},
    )


def _metadata(name: str) -> str:
    """SQL of the value of a metadata column whose name is bound to a parameter; as a map, so that no name is
    taken for a JSON path."""
    return f"CAST(c.metadata AS MAP(VARCHAR, VARCHAR))[{name}]"


def _measured(source: str) -> str:
    """SQL of the numerators and denominators that are taken from a source, one row per call."""
    columns = [
        f"CAST({m.numerator} AS DOUBLE) AS x_{m.name}, CAST({m.denominator} AS DOUBLE) AS d_{m.name}"
        for m in MEASURES
        if m.source == source
    ]
    return f"SELECT call_id, {', '.join(columns)} FROM ({SOURCES[source]})"  # noqa: S608


def _texts(values: NDArray[Any]) -> NDArray[np.object_]:
    # `filled(None)` would fill in numpy's own word for what is missing.
    texts = np.array(np.ma.getdata(values), dtype=np.object_)
    texts[np.ma.getmaskarray(values)] = None
    return texts


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
