"""Opening a results database to read: nothing can be written, and no file but the database can be read."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from callmood.errors import DatabaseBusyError, DatabaseError
from callmood.results.holder import holder
from callmood.results.publish import snapshot_path
from callmood.results.schema import MIGRATIONS, Connection, schema_version

_RETRY_S = 0.5


class SnapshotWarning(UserWarning):
    """Says that a reader was given a snapshot, and of when."""


def connect(database: str | Path) -> Connection:
    """A read-only DuckDB connection to an existing results database.

    It can neither write, nor read or write other files, nor load extensions, nor undo these settings. While
    another process writes to the database it is one to the last snapshot, with a `SnapshotWarning`.

    Raises
    ------
    DatabaseError
        The file is missing, is no results database, or was made by a newer version of callmood.
    DatabaseBusyError
        Another process is writing to it, and has published no snapshot.
    """
    path = Path(database)
    if not path.is_file():
        raise DatabaseError(f"{path}: no such database; run `callmood analyze` first, or name it with --db.")
    try:
        connection = open_database(path, read_only=True)
    except DatabaseBusyError:
        snapshot = snapshot_path(path)
        if not snapshot.is_file():
            raise
        connection = open_database(snapshot, read_only=True)
        warnings.warn(snapshot_warning(path), stacklevel=2)
        path = snapshot
    try:
        check_current(path, connection)
    except DatabaseError:
        connection.close()
        raise
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def snapshot_warning(database: Path) -> SnapshotWarning:
    """What to tell a reader who is given a database's snapshot in its place."""
    made = datetime.fromtimestamp(snapshot_path(database).stat().st_mtime, UTC).isoformat(timespec="seconds")
    return SnapshotWarning(f"{database} is being written to; this is its snapshot of {made}.")


def check_current(path: Path, connection: Connection) -> None:
    """Refuse a database that is not this program's, or of another version's schema."""
    version = schema_version(connection)
    if version == 0:
        raise DatabaseError(f"{path}: not a callmood database; name another one with --db.")
    check_not_newer(path, version)
    if version < len(MIGRATIONS):
        raise DatabaseError(
            f"{path}: made by an older version of callmood; run `callmood analyze` once to bring it up to date."
        )


def check_not_newer(path: Path, version: int) -> None:
    """Refuse a database whose schema this version does not know."""
    if version > len(MIGRATIONS):
        raise DatabaseError(
            f"{path}: made by a newer version of callmood (schema {version}, this one knows "
            f"{len(MIGRATIONS)}); upgrade callmood or name another database with --db."
        )


def open_database(path: Path, *, read_only: bool) -> Connection:
    """`duckdb.connect`, with its failures told in one sentence."""
    import duckdb

    try:
        # Absolute, so that no name is taken for one of DuckDB's special ones (`:memory:`, `md:...`).
        return duckdb.connect(str(path.absolute()), read_only=read_only)
    except duckdb.IOException as error:
        message = str(error)
        if "lock" in message.lower():
            raise DatabaseBusyError(
                f"{path}: another process is using the database ({holder(path, pid=lock_holder(message))}); "
                "try again when it has finished, or let `callmood analyze --wait SECONDS` wait for it."
            ) from error
        if "permission denied" in message.lower() or "read-only file system" in message.lower():
            wanted = "read" if read_only else "written to"
            raise DatabaseError(
                f"{path}: may not be {wanted}; grant the permission on it and its folder, or name another "
                "database with --db."
            ) from error
        raise DatabaseError(
            f"{path}: cannot be opened as a DuckDB database ({first_line(message)}); "
            "name another file with --db."
        ) from error
    except duckdb.Error as error:
        raise DatabaseError(
            f"{path}: cannot be opened as a DuckDB database ({first_line(str(error))}); "
            "name another file with --db."
        ) from error


def open_to_write(path: Path, *, wait_s: float, give_up: Callable[[], bool] = lambda: False) -> Connection:
    """`open_database` for writing, tried again for `wait_s` seconds, or until `give_up`, while another process holds
    it."""
    until_s = time.monotonic() + wait_s
    while True:
        try:
            return open_database(path, read_only=False)
        except DatabaseBusyError:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or give_up():
                raise
            time.sleep(min(_RETRY_S, left_s))


def lock_holder(message: str) -> str | None:
    """The process id that DuckDB's message about a conflicting lock names."""
    import re

    found = re.search(r"PID (\d+)", message)
    return found[1] if found else None


def first_line(message: str) -> str:
    """The first line of a longer message."""
    return message.strip().splitlines()[0] if message.strip() else "no reason given"
