"""Copies of a database that its writer holds open: snapshots for readers, backups before migrations.

DuckDB lets no other process read while one writes, so a run publishes a copy beside the database from time to
time. It is replaced in one step: a reader has the old or the new one, never a part.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def snapshot_path(database: Path) -> Path:
    """Where the snapshot of a database lies: `callmood.duckdb` has `callmood.snapshot.duckdb` beside it."""
    return database.with_name(f"{database.stem}.snapshot.duckdb")


def backup_path(database: Path, *, version: int) -> Path:
    """Where the backup lies that is made before a database of that schema version is migrated."""
    return database.with_name(f"{database.stem}.schema{version}.duckdb")


def half_path(target: Path) -> Path:
    """Where a copy grows until it is whole. Only the writer of the database makes it, so one name will do, and what a
    killed run left there is nobody else's."""
    return target.with_name(f".{target.name}.half")


def log_path(database: Path) -> Path:
    """Where DuckDB keeps what was committed to a database and is not in its file yet."""
    return database.with_name(f"{database.name}.wal")


def copy_open(source: BinaryIO, target: Path) -> None:
    """Copy a file through a descriptor that stays open, and put the copy in its place in one step.

    To open and close the file would take away the lock that DuckDB has on it in this process (POSIX locks go
    with any descriptor of the file that is closed).
    """
    half = half_path(target)
    try:
        with half.open("wb") as copy:
            size = os.fstat(source.fileno()).st_size
            at = 0
            while at < size:
                block = os.pread(source.fileno(), 1 << 20, at)
                if not block:
                    break
                copy.write(block)
                at += len(block)
            copy.flush()
            os.fsync(copy.fileno())
            os.fchmod(copy.fileno(), os.fstat(source.fileno()).st_mode & 0o777)
        half.replace(target)
        _sync_folder(target.parent)
    finally:
        half.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the disk hold the new name as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
