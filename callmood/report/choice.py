"""Which calls a report is about."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from callmood.errors import UsageError

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Calls by when they began, by queue and by how sure their turns and roles are; None chooses all. A call whose beginning
    is not known lies in no time, one whose roles are not known has no confidence in them, and nothing speaks against turns
    of which no confidence is known."""

    since: datetime | None = None
    """Aware; calls that began then are chosen,"""
    until: datetime | None = None
    """calls that began then are not."""
    queue: str | None = None
    min_turn_confidence: float | None = None
    """Least confidence in the turns,"""
    min_role_confidence: float | None = None
    """and in the roles, 0 to 1."""

    def arguments(self) -> dict[str, Any]:
        """The values that `CHOSEN` binds."""
        return asdict(self)


ALL_CALLS = Choice()

CHOSEN = """
    ($since::TIMESTAMPTZ IS NULL OR started_at >= $since) AND ($until::TIMESTAMPTZ IS NULL OR started_at < $until)
    AND ($queue::VARCHAR IS NULL OR queue = $queue)
    AND ($min_turn_confidence::DOUBLE IS NULL OR coalesce(turn_confidence >= $min_turn_confidence, true))
    AND ($min_role_confidence::DOUBLE IS NULL OR role_confidence >= $min_role_confidence)
"""
"""SQL: whether a row with `started_at`, `queue`, `turn_confidence` and `role_confidence` is of a chosen call."""


def chosen(
    *,
    since: str | None = None,
    until: str | None = None,
    queue: str | None = None,
    min_turn_confidence: float | None = None,
    min_role_confidence: float | None = None,
    timezone: str = "UTC",
    now: datetime | None = None,
) -> Choice:
    """The choice that texts name.

    `since` and `until` are a date, a date with a time, or how long ago: `12h`, `7d`, `2w`. A date alone means all
    of that day, and what has no offset is of `timezone`.

    Raises UsageError for anything else, and where the time ends before it begins.

    >>> chosen(since="7d", now=datetime(2026, 3, 9, 12, tzinfo=UTC)).since
    datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.timezone.utc)
    """
    now = now or datetime.now(UTC)
    choice = Choice(
        since=_moment("--since", since, now=now, timezone=timezone, whole_day=False),
        until=_moment("--until", until, now=now, timezone=timezone, whole_day=True),
        queue=queue,
        min_turn_confidence=min_turn_confidence,
        min_role_confidence=min_role_confidence,
    )
    if choice.since and choice.until and choice.since >= choice.until:
        raise UsageError(f"--since {since} is not before --until {until}; give an earlier one.")
    return choice


def _moment(
    option: str, text: str | None, *, now: datetime, timezone: str, whole_day: bool
) -> datetime | None:
    if text is None:
        return None
    zone = ZoneInfo(timezone)
    try:
        if ago := re.fullmatch(r"(\d{1,5})([hdw])", text):
            return now - int(ago[1]) * _UNITS[ago[2]]
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = date.fromisoformat(text) + timedelta(days=int(whole_day))
            return datetime.combine(day, time(), tzinfo=zone)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r} is no time; give a date such as 2026-04-17, a date with a time such as "
            "2026-04-17T08:00, or how long ago: 12h, 7d, 2w."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
