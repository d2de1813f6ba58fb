"""A copy of the database to hand out: whole, read-only, made while a run writes, too."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

from callmood.errors import DatabaseBusyError, DatabaseError, UsageError
from callmood.files import cannot_write, in_place_of
from callmood.results.publish import copy_open, log_path, snapshot_path
from callmood.results.read import check_current, open_database, snapshot_warning

_READ_ONLY = 0o444


def write_snapshot(database: Path, target: Path) -> None:
    """Copy a database to `target` in one step, without permission to write to it.

    While another process writes to the database, its last published snapshot is copied, with a
    `SnapshotWarning`.

    Raises
    ------
    UsageError
        `target` is the database itself or its published snapshot, or cannot be written.
    DatabaseError
        The database is missing, or none of callmood's.
    DatabaseBusyError
        Another process writes to it, and has published no snapshot.
    """
    published = snapshot_path(database)
    if target.resolve() in (database.resolve(), published.resolve()):
        raise UsageError(f"{target}: is the database's own; name another file.")
    if not database.is_file():
        raise DatabaseError(
            f"{database}: no such database; run `callmood analyze` first, or name it with --db."
        )
    try:
        _copy(database, target)
    except DatabaseBusyError:
        if not published.is_file():
            raise
        _copy(published, target)
        warnings.warn(snapshot_warning(database), stacklevel=2)


def _copy(source: Path, target: Path) -> None:
    # Opened before the connection and closed after it, for the sake of DuckDB's lock, which keeps writers away
    # meanwhile: see `copy_open`.
    with source.open("rb") as file, open_database(source, read_only=True) as connection:
        check_current(source, connection)
        try:
            with in_place_of(target) as half:
                copy_open(file, half)
                log = log_path(source)
                if log.is_file():
                    _add_log(log, half)
                half.chmod(half.stat().st_mode & _READ_ONLY)
        except OSError as error:
            raise cannot_write(target, error) from error


def _add_log(log: Path, copy: Path) -> None:
    """Bring into a copy what a writer that was killed had committed to its log alone."""
    half_log = log_path(copy)
    try:
        shutil.copyfile(log, half_log)
        copy.chmod(copy.stat().st_mode | 0o200)
        with open_database(copy, read_only=False) as connection:
            connection.execute("CHECKPOINT")
    finally:
        half_log.unlink(missing_ok=True)
