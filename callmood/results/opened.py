"""A results database that is open for writing, by one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from callmood.errors import DatabaseError, RefusedValueError
from callmood.results.holder import holder_path, say_holder
from callmood.results.publish import backup_path, copy_open, half_path, snapshot_path
from callmood.results.read import check_not_newer, first_line, open_to_write
from callmood.results.schema import MIGRATIONS, Connection, migrate, schema_version


class OpenDatabase:
    """A results database open for writing; what is changed is changed in transactions.

    Raises
    ------
    DatabaseBusyError
        Another process holds the database.
    DatabaseError
        It cannot be opened or written, or was made by a newer version of callmood.
    """

    def __init__(
        self,
        database: str | Path,
        *,
        wait_s: float = 0.0,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """`wait_s`: how long to wait for another process that holds the database, unless it is time to `give_up`."""
        self.path = Path(database)
        if not self.path.parent.is_dir():
            raise DatabaseError(
                f"{self.path}: its folder does not exist; create it or name another with --db."
            )
        self._connection: Connection = open_to_write(self.path, wait_s=wait_s, give_up=give_up)
        # Open as long as the connection is, for the sake of DuckDB's lock: see `copy_open`.
        self._file: BinaryIO = self.path.open("rb")
        self._changed = False
        try:
            self._check_ours()
            with suppress(OSError):  # a full disk, say: it is only a courtesy
                say_holder(self.path)
            self._remove_halves()
            self._back_up_before_migration()
            with self._clear_errors():
                migrate(self._connection)
        except BaseException:
            self.close()
            raise

    @property
    def connection(self) -> Connection:
        """To query what is being written."""
        return self._connection

    def _check_ours(self) -> None:
        version = schema_version(self._connection)
        check_not_newer(self.path, version)
        tables = self._connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
        if version == 0 and tables[0]:
            raise DatabaseError(
                f"{self.path}: a DuckDB database of another program; name another one with --db."
            )

    def _remove_halves(self) -> None:
        """Copies that a killed run began; the lock says that nobody is at them."""
        backups = (backup_path(self.path, version=version) for version in range(1, len(MIGRATIONS)))
        for target in (snapshot_path(self.path), *backups, self.path.resolve()):
            half = half_path(target)
            for left in (half, half.with_name(f"{half.name}.wal")):
                with suppress(OSError):
                    left.unlink(missing_ok=True)

    def _back_up_before_migration(self) -> None:
        version = schema_version(self._connection)
        if 0 < version < len(MIGRATIONS):
            target = backup_path(self.path, version=version)
            try:
                self._copy_to(target)
            except OSError as error:
                raise DatabaseError(
                    f"{target}: the backup before the change of schema cannot be written "
                    f"({error.strerror or error}); nothing was changed, see to disk space and permissions."
                ) from error

    def publish(self) -> None:
        """Put a snapshot of what is committed beside the database, for readers; raises OSError, as for a full
        disk, and then leaves the earlier one as it was."""
        self._copy_to(snapshot_path(self.path))
        self._changed = False

    def _copy_to(self, target: Path) -> None:
        with self._clear_errors():
            self._connection.execute("CHECKPOINT")
        copy_open(self._file, target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # What was deleted from the database must not live on in its snapshot.
            if self._changed and snapshot_path(self.path).exists():
                with suppress(OSError, DatabaseError):
                    self.publish()
        finally:
            self.close()

    def close(self) -> None:
        """Give the database up; leaving a `with` block does this, and publishes what was changed."""
        with suppress(OSError):
            holder_path(self.path).unlink(missing_ok=True)
        self._connection.close()
        self._file.close()

    def _outdate_statistics(self) -> None:
        """To be called in every transaction that writes, changes or removes calls."""
        self._connection.execute("UPDATE statistics_made SET current = false WHERE current")

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        # Table and column names are this module's own; values are always bound.
        names, marks = ", ".join(row), ", ".join("?" for _ in row)
        self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        import duckdb

        self._changed = True
        with self._clear_errors():
            self._connection.execute("BEGIN TRANSACTION")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # After a failed write DuckDB refuses this too; what it said first is what counts.
                with suppress(duckdb.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except (duckdb.DataError, duckdb.IntegrityError, duckdb.ProgrammingError) as error:
            raise RefusedValueError(
                f"{self.path}: does not take a value ({first_line(str(error))}); nothing was lost, please report this."
            ) from error
        except duckdb.Error as error:
            raise DatabaseError(
                f"{self.path}: cannot be written ({first_line(str(error))}); nothing was lost, "
                "see to disk space and permissions and run again."
            ) from error
