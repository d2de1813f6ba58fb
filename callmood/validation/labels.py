"""The label file: human labels of stretches of calls, and of whole calls."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from callmood.emotions import EMOTIONS
from callmood.errors import UsageError
from callmood.text import printable

_REQUIRED = ("call_id", "start_s", "end_s", "emotion")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ROLES = ("agent", "customer")


@dataclass(frozen=True, kw_only=True)
class Label:
    """One labelled stretch of a call."""

    call_id: str
    start_s: float
    end_s: float
    emotion: int
    """Index in `callmood.emotions.EMOTIONS`."""
    speaker: str | None = None
    role: str | None = None


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a label file holds."""

    stretches: tuple[Label, ...]
    escalated: Mapping[str, bool]
    """By call_id, for the calls of which it is told."""
    skipped: int
    """Stretches labelled with something other than the seven emotions."""


def read_labels(path: Path) -> Labels:
    """The labels of a CSV file, separated by commas, semicolons or tabs.

    Raises
    ------
    UsageError
        The file cannot be read, lacks a column, or has a row that cannot be used; the line is named.
    """
    name = printable(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{name}: cannot be read as labels ({error}); name a CSV file in UTF-8 with --labels."
        ) from error
    header = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True
    )
    try:
        columns = [column.strip().lower() for column in reader.fieldnames or ()]
        missing = [column for column in _REQUIRED if column not in columns]
        if missing:
            raise UsageError(
                f"{name}: has no column {missing[0]}; the first line must name call_id, start_s, end_s and "
                "emotion, and may name speaker, role and escalated."
            )
        reader.fieldnames = columns
        stretches: list[Label] = []
        escalated: dict[str, bool] = {}
        skipped = 0
        for row in reader:
            place = f"{name}, line {reader.line_num}"
            cells = {column: (row[column] or "").strip() for column in columns}
            if not any(cells.values()):
                continue
            if not cells["call_id"]:
                raise UsageError(f"{place}: has no call_id; `callmood report` lists those of the database.")
            _read_escalated(cells, escalated, place)
            if not cells["emotion"] and not cells["start_s"] and not cells["end_s"]:
                if not cells.get("escalated"):
                    raise UsageError(f"{place}: says nothing of the call; give an emotion or escalated.")
            elif cells["emotion"].lower() not in EMOTIONS:
                skipped += 1
            else:
                stretches.append(_stretch(cells, place))
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: cannot be read as CSV ({error}).") from error
    if not stretches and not escalated:
        raise UsageError(
            f"{name}: labels no stretch with one of {', '.join(EMOTIONS)}, and says of no call whether it "
            "escalated."
        )
    return Labels(stretches=tuple(stretches), escalated=escalated, skipped=skipped)


def _read_escalated(cells: Mapping[str, str], escalated: dict[str, bool], place: str) -> None:
    """Take over what a row says of its whole call."""
    told = cells.get("escalated")
    if not told:
        return
    value = _TRUTH.get(told.lower())
    if value is None:
        raise UsageError(f"{place}: escalated is {told!r}; it must be true or false, or empty.")
    if escalated.setdefault(cells["call_id"], value) != value:
        raise UsageError(f"{place}: an earlier line says otherwise of escalated; let them agree.")


def _stretch(cells: Mapping[str, str], place: str) -> Label:
    try:
        start_s, end_s = float(cells["start_s"]), float(cells["end_s"])
    except ValueError as error:
        raise UsageError(
            f"{place}: start_s and end_s are {cells['start_s']!r} and {cells['end_s']!r}; they must be seconds "
            "from the start of the call."
        ) from error
    if not 0.0 <= start_s < end_s < math.inf:
        raise UsageError(
            f"{place}: the stretch from {start_s:g} to {end_s:g} s is none; mend start_s or end_s."
        )
    role = cells.get("role", "").lower() or None
    if role is not None and role not in _ROLES:
        raise UsageError(f"{place}: role is {role!r}; it must be agent or customer, or empty.")
    return Label(
        call_id=cells["call_id"],
        start_s=start_s,
        end_s=end_s,
        emotion=EMOTIONS.index(cells["emotion"].lower()),
        speaker=cells.get("speaker") or None,
        role=role,
    )
