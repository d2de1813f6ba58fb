"""Removing calls for good, by age, call, customer or agent: docs/privacy.md says what is and is not removed."""

from __future__ import annotations

import hashlib
import platform
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from callmood.errors import DatabaseError, UsageError
from callmood.pseudonyms import Kind, Pseudonyms
from callmood.results.holder import user_name
from callmood.results.read import connect
from callmood.results.run import Purge
from callmood.results.schema import Connection
from callmood.results.store import Store
from callmood.settings import Settings

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=36_525)


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Which calls to purge: those that meet all that is given."""

    older_than: str | None = None
    """Such as `90d`; see `parse_age`."""
    call: str | None = None
    customer: str | None = None
    agent: str | None = None

    def __post_init__(self) -> None:
        if not any((self.older_than, self.call, self.customer, self.agent)):
            raise UsageError("Nothing says what to purge; give --older-than, --call, --customer or --agent.")

    @property
    def ids(self) -> dict[Kind, str]:
        """The given ids, by what they are of."""
        given: dict[Kind, str | None] = {"call": self.call, "customer": self.customer, "agent": self.agent}
        return {kind: value for kind, value in given.items() if value}


@dataclass(frozen=True, kw_only=True)
class PurgeableCall:
    """A call that meets the criteria."""

    call_id: str
    path: str
    agent_id: str | None
    customer_id: str | None
    started_at: datetime | None
    analyzed_at: datetime


@dataclass(frozen=True, kw_only=True)
class PurgeSummary:
    """What was purged or, in a dry run, would be."""

    calls: tuple[PurgeableCall, ...]
    dry_run: bool
    removed_files: tuple[Path, ...] = ()
    """Backups from before changes of schema, which held purged calls."""


def parse_age(text: str) -> timedelta:
    """An age such as `90d` (days), `12w` (weeks) or `36h` (hours); raises UsageError for anything else."""
    found = re.fullmatch(r"(\d{1,6})([hdw])", text.strip().lower(), re.ASCII)
    age = int(found[1]) * _UNITS[found[2]] if found else None
    if not age or age > _LONGEST:
        raise UsageError(
            f"--older-than {text} is no age; write hours, days or weeks, such as 36h, 90d or 12w."
        )
    return age


def list_purgeable(settings: Settings, criteria: Criteria, *, now: datetime) -> PurgeSummary:
    """The calls that meet the criteria; changes nothing."""
    with connect(settings.db) as connection:
        found = _matching(connection, criteria, Pseudonyms.of_settings(settings), now=now)
        _check_known(connection, criteria, found)
    return PurgeSummary(calls=found, dry_run=True)


def purge_calls(
    settings: Settings, criteria: Criteria, *, now: datetime, reason: str | None = None
) -> PurgeSummary:
    """Remove the calls that meet the criteria from the database and all that callmood made of it.

    The database is then written anew, since DuckDB leaves deleted rows in its file; so are its snapshot, and
    backups from before changes of schema are deleted.

    Raises
    ------
    UsageError
        There is no such call, customer or agent.
    DatabaseBusyError, DatabaseError
        The database cannot be written. What was removed by then stays removed, and the next purge ends the work.
    """
    from callmood import __version__

    if not Path(settings.db).is_file():
        raise DatabaseError(
            f"{settings.db}: no such database; run `callmood analyze` first, or name it with --db."
        )
    pseudonyms = Pseudonyms.of_settings(settings)
    with Store(settings.db, wait_s=settings.wait) as store:
        found = _matching(store.connection, criteria, pseudonyms, now=now)
        if found or not store.has_unerased_purges():
            _check_known(store.connection, criteria, found)
        if found:
            store.purge(
                [call.call_id for call in found],
                Purge(
                    purged_at=now,
                    purged_by=user_name(),
                    host=platform.node(),
                    version=__version__,
                    criterion=recorded(criteria, pseudonyms),
                    reason=reason,
                ),
            )
        removed = store.erase() if store.has_unerased_purges() else ()
    return PurgeSummary(calls=found, dry_run=False, removed_files=tuple(removed))


def recorded(criteria: Criteria, pseudonyms: Pseudonyms | None) -> dict[str, Any]:
    """The criteria as the audit keeps them: ids as keyed hashes or, without a key, as salted ones.

    Who has an id can tell by them whether it was purged, and nobody can read it off them.
    """
    kept: dict[str, Any] = {"older_than": criteria.older_than} if criteria.older_than else {}
    for kind, value in criteria.ids.items():
        if pseudonyms is not None:
            kept[kind] = {"pseudonym": pseudonyms.of(kind, value)}
        else:
            salt = secrets.token_hex(16)
            digest = hashlib.sha256(f"{salt}{value}".encode()).hexdigest()
            kept[kind] = {"salt": salt, "sha256": digest}
    return kept


def _matching(
    connection: Connection, criteria: Criteria, pseudonyms: Pseudonyms | None, *, now: datetime
) -> tuple[PurgeableCall, ...]:
    ids = {kind: _as_kept(kind, value, pseudonyms) for kind, value in criteria.ids.items()}
    rows = connection.execute(
        """
        SELECT call_id, path, agent_id, customer_id, started_at, analyzed_at FROM calls
        WHERE ($before IS NULL OR coalesce(started_at, analyzed_at) < $before)
          AND ($calls IS NULL OR list_contains($calls, call_id))
          AND ($customers IS NULL OR list_contains($customers, customer_id))
          AND ($agents IS NULL OR list_contains($agents, agent_id))
        ORDER BY started_at, call_id
        """,
        {
            "before": now - parse_age(criteria.older_than) if criteria.older_than else None,
            "calls": ids.get("call"),
            "customers": ids.get("customer"),
            "agents": ids.get("agent"),
        },
    ).fetchall()
    return tuple(
        PurgeableCall(
            call_id=call_id,
            path=path,
            agent_id=agent_id,
            customer_id=customer_id,
            started_at=started_at and started_at.astimezone(UTC),
            analyzed_at=analyzed_at.astimezone(UTC),
        )
        for call_id, path, agent_id, customer_id, started_at, analyzed_at in rows
    )


def _as_kept(kind: Kind, value: str, pseudonyms: Pseudonyms | None) -> list[str]:
    """An id as the database may hold it: as given or, where there is a key, as its pseudonym."""
    return [value] if pseudonyms is None else [value, pseudonyms.of(kind, value)]


def _check_known(connection: Connection, criteria: Criteria, found: Sequence[PurgeableCall]) -> None:
    """A wrong id must not pass for a purge; that nothing is old enough is nothing wrong."""
    if criteria.ids and not found:
        given = ", ".join(f"--{kind} {value}" for kind, value in criteria.ids.items())
        age = f" that is older than {criteria.older_than}" if criteria.older_than else ""
        raise UsageError(
            f"There is no call of {given}{age} (it may have been purged); `callmood report` lists calls, and ids "
            "must be given whole."
        )
