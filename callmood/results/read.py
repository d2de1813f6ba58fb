"""Opening a results database to read: nothing can be written, and no file but the database can be read."""

from __future__ import annotations

from pathlib import Path

from callmood.errors import DatabaseBusyError, DatabaseError
from callmood.results.schema import MIGRATIONS, Connection, schema_version


def connect(database: str | Path) -> Connection:
    """A read-only DuckDB connection to an existing results database.

    It can neither write, nor read or write other files, nor load extensions, nor undo these settings.

    Raises
    ------
    DatabaseError
        The file is missing, is no results database, or was made by a newer version of callmood.
    DatabaseBusyError
        Another process is writing to it.
    """
    path = Path(database)
    if not path.is_file():
        raise DatabaseError(f"{path}: no such database; run `callmood analyze` first, or name it with --db.")
    connection = open_database(path, read_only=True)
    version = schema_version(connection)
    if version == 0:
        connection.close()
        raise DatabaseError(f"{path}: not a callmood database; name another one with --db.")
    check_not_newer(path, version)
    if version < len(MIGRATIONS):
        connection.close()
        raise DatabaseError(
            f"{path}: made by an older version of callmood; run `callmood analyze` once to bring it up to date."
        )
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


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
                f"{path}: another process is using the database ({lock_holder(message)}); "
                "try again when it has finished."
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


def lock_holder(message: str) -> str:
    """The process that DuckDB's message about a conflicting lock names, such as `PID 4711`."""
    import re

    found = re.search(r"PID \d+", message)
    return found.group() if found else "its process id is unknown"


def first_line(message: str) -> str:
    """The first line of a longer message."""
    return message.strip().splitlines()[0] if message.strip() else "no reason given"
