"""Calls in depth: all that a plot of a call, or an answer to why it was flagged, is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callmood.report.queries import Table, escalations_of, moments, points, summaries, turns_of
from callmood.results.schema import Connection

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CallInDepth:
    """One call; every record is a row of the view that the field is named after."""

    summary: Record
    """Of `call_summary`."""
    turns: Sequence[Record]
    """In the order of time."""
    points: Sequence[Record]
    """Rows of `trajectory` (call_id, speaker, role, turn_index, t_s, negativity_smooth, negativity_low and
    negativity_high), by speaker and time: of each turn the highest `negativity_smooth` in each part of the call, so that
    no peak is lost."""
    escalations: Sequence[Record]
    """The highest first."""
    moments: Sequence[Record]
    """In the order of time."""

    @property
    def call_id(self) -> str:
        return str(self.summary["call_id"])


def in_depth(connection: Connection, call_ids: Sequence[str], *, parts: int) -> list[CallInDepth]:
    """The named calls, in the order given; `parts`: how many equal parts of a call keep a point each."""
    summary = {str(record["call_id"]): record for record in summaries(connection, call_ids).records()}
    turns = _by_call(turns_of(connection, call_ids))
    lines = _by_call(points(connection, call_ids, parts=parts))
    events = _by_call(escalations_of(connection, call_ids))
    heard = _by_call(moments(connection, call_ids))
    return [
        CallInDepth(
            summary=summary[call_id],
            turns=turns.get(call_id, []),
            points=lines.get(call_id, []),
            escalations=events.get(call_id, []),
            moments=heard.get(call_id, []),
        )
        for call_id in call_ids
    ]


def _by_call(table: Table) -> dict[str, list[Record]]:
    grouped: dict[str, list[Record]] = {}
    for record in table.records():
        grouped.setdefault(str(record["call_id"]), []).append(record)
    return grouped
