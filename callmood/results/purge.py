"""Calls that are removed from a database for good."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from callmood.errors import DatabaseBusyError, DatabaseError
from callmood.results.opened import OpenDatabase
from callmood.results.publish import copy_open, half_path, snapshot_path
from callmood.results.run import Purge


class Purges(OpenDatabase):
    """Removes calls, and writes the file anew without them."""

    def purged_contents(self) -> set[str]:
        """Content hashes of purged recordings and of their legs."""
        return {
            content
            for (content,) in self._connection.execute(
                "SELECT content_hash FROM purged_recordings"
            ).fetchall()
        }

    def purge(self, call_ids: Sequence[str], purge: Purge) -> None:
        """Remove calls from every table, and record that, in one transaction.

        What tells the recordings again (content hashes, of no use to anybody who has not got them) stays, so that
        they are left alone while their files still lie there. `erase` makes the removal final.
        """
        ids = {"ids": list(call_ids)}
        tables = self._connection.execute(
            "SELECT table_name FROM duckdb_columns() WHERE NOT internal AND column_name = 'call_id' "
            "AND table_name IN (SELECT table_name FROM duckdb_tables()) ORDER BY table_name"
        ).fetchall()
        with self._transaction():
            self._connection.execute(
                """
                INSERT OR IGNORE INTO purged_recordings
                SELECT DISTINCT content, $purged_at::TIMESTAMPTZ FROM (
                    SELECT content_hash AS content FROM calls WHERE list_contains($ids, call_id)
                    UNION ALL
                    SELECT unnest(CAST(legs->'$[*].content_hash' AS VARCHAR[])) FROM calls
                    WHERE list_contains($ids, call_id)
                )
                """,
                ids | {"purged_at": purge.purged_at},
            )
            self._connection.execute(
                "DELETE FROM files WHERE content_hash IN (SELECT content_hash FROM purged_recordings)"
            )
            for (table,) in tables:
                self._connection.execute(
                    f"DELETE FROM {table} WHERE list_contains($ids, call_id)",
                    ids,
                )
            # Made of the purged calls too; the next run, or report, makes them anew.
            self._connection.execute("DELETE FROM group_statistics")
            self._outdate_statistics()
            self._connection.execute(
                "DELETE FROM linked_agents WHERE call_id NOT IN (SELECT call_id FROM calls)"
            )
            self._insert(
                "purges",
                asdict(purge)
                | {"criterion": json.dumps(dict(purge.criterion)), "calls": len(call_ids), "erased": False},
            )

    def has_unerased_purges(self) -> bool:
        """Whether rows were removed that the file may still hold."""
        found = self._connection.execute("SELECT count(*) FROM purges WHERE NOT erased").fetchone()
        return bool(found[0])

    def erase(self) -> list[Path]:
        """Write the database anew, without what was removed from it, and close it; returns the backups deleted.

        DuckDB leaves deleted rows in its file until it needs the room. The copy takes the place of the database in
        one step, and of the snapshot if there is one; backups from before changes of schema are deleted.
        """
        target = self.path.resolve()
        half = half_path(target)
        try:
            with self._clear_errors():
                self._connection.execute("CHECKPOINT")
                self._copy_rows_to(half)
            half.chmod(target.stat().st_mode & 0o777)
            backups = self._replace_by(half, target)
        except OSError as error:
            raise DatabaseError(
                f"{self.path}: the calls were removed, but the file still holds them as it cannot be written anew "
                f"({error.strerror or error}); see to disk space and permissions and run `callmood purge` again."
            ) from error
        finally:
            half.unlink(missing_ok=True)
            half.with_name(f"{half.name}.wal").unlink(missing_ok=True)
        return backups

    def _copy_rows_to(self, path: Path) -> None:
        own = self._connection.execute("SELECT current_database()").fetchone()[0]
        source, place = own.replace('"', '""'), str(path.absolute()).replace("'", "''")
        # Neither statement takes parameters.
        self._connection.execute(f"ATTACH '{place}' AS written_anew")
        self._connection.execute(f'COPY FROM DATABASE "{source}" TO written_anew')
        self._connection.execute("UPDATE written_anew.purges SET erased = true")
        self._connection.execute("DETACH written_anew")

    def _replace_by(self, half: Path, target: Path) -> list[Path]:
        import fcntl

        # DuckDB gives its lock up when it closes; ours, on the same file, keeps other writers out until there is the
        # new one. Closing any descriptor of the file would give that up too, so all stay open until then.
        with target.open("r+b") as held:
            self._connection.close()
            try:
                fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DatabaseBusyError(
                    f"{self.path}: the calls were removed, but another process came first to the file, which still "
                    "holds them; run `callmood purge` again."
                ) from error
            if snapshot_path(self.path).exists():
                with half.open("rb") as copy:
                    copy_open(copy, snapshot_path(self.path))
            half.replace(target)
            self._changed = False
        backups = sorted(self.path.parent.glob(f"{glob.escape(self.path.stem)}.schema*.duckdb"))
        for backup in backups:
            backup.unlink()
        return backups
