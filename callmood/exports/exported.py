"""What is exported of a call, and reading it for one call, some or all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from callmood.report.queries import escalations_to_export, turns_to_export
from callmood.results.schema import Connection

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExportedCall:
    """A call that has turns."""

    call_id: str
    files: Sequence[str]
    """The recording, or one file per channel where each party has its own."""
    duration_s: float
    turns: Sequence[Record]
    """Rows of `turns`, in the order of time."""
    escalations: Sequence[Record]
    """Rows of `escalations`, in the order of time."""

    def file_of(self, channel: int) -> str:
        """The file in which a channel is heard."""
        return self.files[channel if channel < len(self.files) else 0]


def exported_calls(connection: Connection, call_ids: Sequence[str] | None) -> Iterator[ExportedCall]:
    """The named calls (None: all), ordered by call_id, without those that have no turns; read one by one."""
    events: dict[str, list[Record]] = {}
    for event in escalations_to_export(connection, call_ids).records():
        events.setdefault(event["call_id"], []).append(event)
    rows = turns_to_export(connection, call_ids).records()
    for call_id, of_call in groupby(rows, key=lambda row: str(row["call_id"])):
        turns = list(of_call)
        legs = [str(leg["path"]) for leg in json.loads(turns[0]["legs"])]
        yield ExportedCall(
            call_id=call_id,
            files=legs or [turns[0]["path"]],
            duration_s=float(turns[0]["duration_s"]),
            turns=turns,
            escalations=events.get(call_id, []),
        )
