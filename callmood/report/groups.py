"""Reports on groups of calls: one row per group, from the statistics of its measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from typing import Any

from callmood.report.choice import ALL_CALLS, Choice
from callmood.report.queries import Table, distinct
from callmood.results.schema import Connection
from callmood.statistics.calls import check_kind, read_calls
from callmood.statistics.groups import MIN_CALLS, GroupStatistic, group_statistics
from callmood.statistics.measures import MEASURES, Measure
from callmood.statistics.stored import statistics_of

IN_ORDER = ("hour", "weekday", "week")
"""Kinds of groups that come in order of time."""
"""Kinds of group that are reported in order of time, all others by the first measure."""
_ID_COLUMNS = {"agent": "agent_id", "customer": "customer_id"}
_SHOWN = (
    "low",
    "high",
    "expected",
    "difference",
    "difference_low",
    "difference_high",
    "adjusted",
    "shrunk",
    "percentile",
    "within_noise",
    "trend",
    "trend_low",
    "trend_high",
    "why",
)
"""Columns of `group_statistics` that a measure has beside its value, in this order."""
_SHOWN_TYPES = {"within_noise": "BOOLEAN", "why": "VARCHAR"}
"""In SQL; the others are DOUBLE."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The groups of one kind, in the order in which they are reported."""

    kind: str
    groups: Sequence[Sequence[GroupStatistic]]
    """Of each group: one row per measure, in the order of `MEASURES`."""

    def only(self, name: str) -> Groups:
        """Those of them, one or none, that have this name."""
        return Groups(kind=self.kind, groups=[rows for rows in self.groups if rows[0].group_name == name])

    def statistics(self) -> Table:
        """One row per group and measure: the columns of `group_statistics`, with the measure's title and unit."""
        columns = ("title", "unit", *(field.name for field in fields(GroupStatistic)))
        return Table(
            columns=columns,
            rows=(
                (measure.title, measure.unit, *asdict(row).values())
                for rows in self.groups
                for measure, row in zip(MEASURES, rows, strict=True)
            ),
        )

    def table(self) -> Table:
        """One row per group: its name, calls and hours, and for each measure, under its name and that name with
        an ending, what `group_statistics` holds of it."""
        names = ["team", "calls", "hours"] if self.kind == "agent" else ["calls", "hours"]
        types = [*(["VARCHAR"] if self.kind == "agent" else []), "BIGINT", "DOUBLE"]
        for measure in MEASURES:
            names += [measure.numerator_name, measure.denominator_name, measure.name]
            names += [f"{measure.name}_{ending}" for ending in _SHOWN]
            types += 2 * ["BIGINT" if measure.kind == "rate" else "DOUBLE"] + ["DOUBLE"]
            types += [_SHOWN_TYPES.get(ending, "DOUBLE") for ending in _SHOWN]
        # A metadata column may be called like one of the figures, which keep their names.
        first = _ID_COLUMNS.get(self.kind, self.kind)
        while first in names:
            first += "_"
        return Table(
            columns=distinct([first, *names]),
            rows=(_row(rows) for rows in self.groups),
            types=("VARCHAR", *types),
        )


def find_groups(
    connection: Connection,
    kind: str,
    *,
    timezone: str,
    choice: Choice = ALL_CALLS,
    least_calls: int = 1,
    min_calls: int = MIN_CALLS,
    limit: int | None = None,
) -> Groups:
    """All groups of one kind: hours, days and weeks in order, others by what is left of their escalation rate
    after shrinkage, the highest first, those of which nothing is claimed last.

    Of the chosen calls, compared with one another; groups of fewer than `least_calls` are left out of the report, not
    of the comparison. `min_calls` is what `callmood.statistics.groups.group_statistics` asks for before it claims
    anything.

    Raises
    ------
    UsageError
        There is no such kind; the sentence names those that there are.
    """
    check_kind(connection, kind)
    if choice == ALL_CALLS:
        statistics = statistics_of(connection, kind, timezone=timezone, min_calls=min_calls)
    else:
        rows = read_calls(connection, kind=kind, timezone=timezone, **choice.arguments())
        statistics = group_statistics(rows, kind, min_calls=min_calls)
    return _arranged(kind, [row for row in statistics if row.calls >= least_calls], limit=limit)


def weeks_of_agent(
    connection: Connection, agent_id: str, *, timezone: str, choice: Choice = ALL_CALLS
) -> Groups:
    """The weeks of one agent's chosen calls, each compared with the agent's others."""
    rows = read_calls(connection, timezone=timezone, agent_id=agent_id, **choice.arguments())
    return _arranged("week", group_statistics(rows, "week"))


def _arranged(kind: str, statistics: Sequence[GroupStatistic], *, limit: int | None = None) -> Groups:
    groups = [list(rows) for _, rows in groupby(statistics, key=lambda row: row.group_name)]
    if kind not in IN_ORDER:
        groups.sort(key=lambda rows: (rows[0].shrunk is None, -(rows[0].shrunk or 0.0), rows[0].group_name))
    return Groups(kind=kind, groups=groups[:limit])


def _row(rows: Sequence[GroupStatistic]) -> tuple[Any, ...]:
    first = rows[0]
    values: list[Any] = [first.group_name]
    values += [first.team] if first.group_kind == "agent" else []
    values += [first.calls, first.hours]
    for measure, row in zip(MEASURES, rows, strict=True):
        record = asdict(row)
        values += [_sum(measure, row.numerator), _sum(measure, row.denominator), row.value]
        values += [record[name] for name in _SHOWN]
    return tuple(values)


def _sum(measure: Measure, value: float) -> float | int:
    """Events and trials are counted, other sums are not."""
    return int(value) if measure.kind == "rate" else value
