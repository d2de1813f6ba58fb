"""Reads the single values of a call's metadata, whichever of the three sources they come from."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callmood.discover.notices import Notices
from callmood.errors import UsageError
from callmood.text import printable
from callmood.types import CallMetadata, Role

Scalar = str | int | float | bool | None

CALL_FIELDS = ("call_id", "agent_id", "customer_id", "queue", "started_at", "agent_channel")
"""The fields that every source can give; other names are kept in `CallMetadata.extra`."""

LEG_FIELDS = ("role", "channel")
"""Those that a file of one party has besides."""

MAX_ID_CHARACTERS = 255

UNREADABLE_DATE = (
    "A date cannot be read and stays empty, so write it as YYYY-MM-DDTHH:MM:SS, with an offset if it has one"
)

_CHANNELS = {"left": 0, "1": 0, "right": 1, "2": 1}
ROLES: Mapping[str, Role] = {
    "agent": "agent",
    "customer": "customer",
    "caller": "customer",
    "client": "customer",
}
"""What a party of a call may be called."""

_DATE_FORMS = (
    "%Y-%m-%dT%H-%M-%S",
    "%Y-%m-%d_%H-%M-%S",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S %z",
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one source, or several merged, say about a call."""

    call_id: str | None = None
    metadata: CallMetadata = field(default_factory=CallMetadata)
    role: Role | None = None
    """Whom the file is of, where it holds one party of a call and not the whole call;"""
    channel: int | None = None
    """or which channel of the call it is."""

    @property
    def is_of_leg(self) -> bool:
        """Whether they are about one party of a call and not about the whole call."""
        return self.role is not None or self.channel is not None

    def over(self, other: Facts) -> Facts:
        """These facts, and where they are silent those of `other`, field by field."""
        mine, theirs = self.metadata, other.metadata
        known = {name: value for name, value in mine.extra.items() if value is not None}
        return Facts(
            call_id=self.call_id or other.call_id,
            metadata=CallMetadata(
                agent_id=mine.agent_id or theirs.agent_id,
                customer_id=mine.customer_id or theirs.customer_id,
                queue=mine.queue or theirs.queue,
                started_at=mine.started_at or theirs.started_at,
                agent_channel=theirs.agent_channel if mine.agent_channel is None else mine.agent_channel,
                extra={**mine.extra, **theirs.extra, **known},
            ),
            role=self.role or other.role,
            channel=other.channel if self.channel is None else self.channel,
        )


def read_facts(values: Mapping[str, object], *, place: str, zone: tzinfo, notices: Notices) -> Facts:
    """Facts from raw values by field name; what cannot be read stays empty, with a notice naming `place`.

    `zone`: what a date without an offset means.
    """
    ids = {
        name: read_id(values.get(name), place=f"{name} of {place}", notices=notices)
        for name in ("call_id", "agent_id", "customer_id", "queue")
    }
    given_date = text_of(values.get("started_at"))
    started_at = None
    if given_date and (started_at := read_date(values["started_at"], zone=zone)) is None:
        notices.add(UNREADABLE_DATE, f"'{given_date[:40]}' in {place}")
    return Facts(
        call_id=ids["call_id"],
        metadata=CallMetadata(
            agent_id=ids["agent_id"],
            customer_id=ids["customer_id"],
            queue=ids["queue"],
            started_at=started_at,
            agent_channel=read_channel(values.get("agent_channel"), place=place, notices=notices),
            extra={
                _encodable(name): _scalar(value)
                for name, value in values.items()
                if name not in CALL_FIELDS and name not in LEG_FIELDS
            },
        ),
        role=read_role(values.get("role"), place=place, notices=notices),
        channel=read_channel(values.get("channel"), place=place, notices=notices),
    )


def text_of(value: object) -> str | None:
    """A value as the text of an id: strings exactly as given, whole numbers without a decimal point."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        # A column of whole numbers with gaps reaches Parquet as floats.
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


def read_id(value: object, *, place: str, notices: Notices) -> str | None:
    """An id as data: no control characters, at most `MAX_ID_CHARACTERS`; None where nothing is left."""
    given = text_of(value)
    if given is None:
        return None
    clean = "".join(c for c in _encodable(given) if unicodedata.category(c) not in ("Cc", "Zl", "Zp"))
    clean = clean[:MAX_ID_CHARACTERS]
    if clean != given:
        notices.add(
            f"An id was stripped of control characters or cut to {MAX_ID_CHARACTERS} characters", place
        )
    return clean or None


def read_channel(value: object, *, place: str, notices: Notices) -> int | None:
    """0 for left or 1, 1 for right or 2, None for an empty value."""
    given = (text_of(value) or "").strip().lower()
    if given and given not in _CHANNELS:
        notices.add(
            "A channel is unknown and stays empty, so write left, right, 1 or 2", f"'{given[:40]}' in {place}"
        )
    return _CHANNELS.get(given)


def read_role(value: object, *, place: str, notices: Notices) -> Role | None:
    """The role that a value names, None for an empty one."""
    given = (text_of(value) or "").strip().lower()
    if given and given not in ROLES:
        notices.add(
            "A role is unknown and stays empty, so write agent or customer", f"'{given[:40]}' in {place}"
        )
    return ROLES.get(given)


def read_date(value: object, *, zone: tzinfo) -> datetime | None:
    """An aware datetime, or None where the value is no date; text without an offset is in `zone`.

    Read are: ISO 8601 (`2024-05-01T10:15:30+02:00`, also with a space, a `Z`, ` UTC`, without the time or the
    separators); `20240501` and `20240501101530`; ten digits as seconds since 1970 and thirteen as
    milliseconds, both with or without decimals, as text or as numbers; `2024-05-01T10-15-30`;
    `2024/05/01 10:15:30`; `01.05.2024 10:15` (day first); `1 May 2024 10:15:30`, also with a weekday and an
    offset as in mail. `05/13/2024 10:15` is read only where day and month cannot be confused. Years before
    1900 or after 2200, which fill gaps in many exports, are no dates.
    """
    if isinstance(value, datetime):
        moment: datetime | None = value
    else:
        text = (text_of(value) or "").strip()
        try:
            moment = _date_from_digits(text) if re.fullmatch(r"\d+(\.\d*)?", text) else _date_from_text(text)
        except (ValueError, OverflowError):
            return None
    if moment is None or not 1900 <= moment.year <= 2200:
        return None
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def time_zone(name: str) -> tzinfo:
    """The time zone of that name (IANA); UsageError for one that is unknown."""
    if name.upper() == "UTC":
        return UTC  # also on systems without a time zone database
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"The time zone '{printable(name)}' is unknown: give an IANA name such as UTC or Europe/Berlin."
        ) from None


def _date_from_digits(text: str) -> datetime | None:
    whole = text.partition(".")[0]
    if len(whole) == 10:
        return datetime.fromtimestamp(float(text), UTC)
    if len(whole) == 13:
        return datetime.fromtimestamp(float(text) / 1000, UTC)
    if len(text) in (8, 14):
        return datetime.strptime(text, "%Y%m%d" if len(text) == 8 else "%Y%m%d%H%M%S")
    return None


def _date_from_text(text: str) -> datetime | None:
    text = re.sub(r" ?(UTC|GMT)$", " +00:00", text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    readings = set()
    for form in _DATE_FORMS:
        try:
            readings.add(datetime.strptime(text, form))
        except ValueError:
            continue
    return readings.pop() if len(readings) == 1 else None


def _encodable(text: str) -> str:
    """Text that UTF-8 can hold: undecodable bytes of a file name become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _scalar(value: object) -> Scalar:
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, str):
        return _encodable(value)
    return value if isinstance(value, bool | int | float) else json.dumps(value, default=str)
