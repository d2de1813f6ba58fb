"""The one writer of a results database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from callmood.errors import DatabaseError, UsageError
from callmood.remote import as_path
from callmood.results.derived import derive_new, forget_derived
from callmood.results.links import Links
from callmood.results.purge import Purges
from callmood.results.rows import Analyses, call_row, metadata_row, rows_of_each, turn_rows, window_rows
from callmood.results.run import Run
from callmood.text import path_text
from callmood.types import CallMetadata, CallResult, KnownCall, Leg, Recording

if TYPE_CHECKING:
    import pandas as pd

_ROWS: Mapping[str, Callable[[Analyses], pd.DataFrame]] = {
    "turns": turn_rows,
    "windows": window_rows,
    "nonspeech": partial(rows_of_each, found=lambda analysis: analysis.nonspeech),
    "escalation_events": partial(rows_of_each, found=lambda analysis: analysis.escalations),
    "escalation_scores": partial(rows_of_each, found=lambda analysis: analysis.escalation_scores),
}
TABLES_OF_CALLS = tuple(_ROWS)
"""Tables, beside `calls` and what is derived from them, with rows of single calls."""
_DERIVED_FROM = ("turns", "windows", "nonspeech")
"""Those that derived tables are made of."""
_REMEMBER_EVERY_S = 2.0
"""Hashes of files are written together, as a transaction takes longer than to read a file of a few minutes."""


class Store(Links, Purges):
    """A results database open for writing; each call is written in one transaction. Raises what `OpenDatabase` does."""

    def __init__(
        self,
        database: str | Path,
        *,
        wait_s: float = 0.0,
        give_up: Callable[[], bool] = lambda: False,
        path_key: Callable[[Path], str] = path_text,
    ) -> None:
        """`path_key`: what of the path of a file is kept with the hash of its content; the rest as for `OpenDatabase`."""
        self._path_key = path_key
        self._hashed: dict[str, tuple[int, int, str]] = {}
        self._remembered_s = time.monotonic()
        super().__init__(database, wait_s=wait_s, give_up=give_up)

    def known_calls(self) -> list[KnownCall]:
        """Every call in the database, ordered by call_id."""
        rows = self._connection.execute(
            """
            SELECT call_id, content_hash, legs, status, settings_hash, model_hash, rescore,
                   agent_id, customer_id, queue, started_at, agent_channel, metadata
            FROM calls ORDER BY call_id
            """
        ).fetchall()
        return [
            KnownCall(
                call_id=call_id,
                content_hash=content_hash,
                legs=tuple(
                    Leg(path=as_path(leg["path"]), role=leg["role"], content_hash=leg["content_hash"])
                    for leg in json.loads(legs)
                ),
                status=status,
                settings_hash=settings_hash,
                model_hash=model_hash,
                rescore=bool(rescore),
                metadata=CallMetadata(
                    agent_id=agent_id,
                    customer_id=customer_id,
                    queue=queue,
                    started_at=started_at,
                    agent_channel=agent_channel,
                    extra=json.loads(extra) if extra else {},
                ),
            )
            for (
                call_id,
                content_hash,
                legs,
                status,
                settings_hash,
                model_hash,
                rescore,
                agent_id,
                customer_id,
                queue,
                started_at,
                agent_channel,
                extra,
            ) in rows
        ]

    def content_hash(self, path: Path) -> str:
        """SHA-256 of a file, from the database where size and time of change are as they were."""
        from callmood.discover.identity import hash_file

        state = path.stat()
        key = self._path_key(path.resolve())
        *told, digest = self._hashed.get(key, (None,))
        if told == [state.st_size, state.st_mtime_ns]:
            return str(digest)
        row = self._connection.execute(
            "SELECT content_hash FROM files WHERE path = ? AND size_bytes = ? AND modified_ns = ?",
            [key, state.st_size, state.st_mtime_ns],
        ).fetchone()
        if row:
            return str(row[0])
        digest = hash_file(path)
        self._hashed[key] = (state.st_size, state.st_mtime_ns, digest)
        if time.monotonic() - self._remembered_s >= _REMEMBER_EVERY_S:
            self.remember_hashes()
        return digest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What could not be written is found again.
        with suppress(DatabaseError):
            self.remember_hashes()
        super().__exit__(kind, error, trace)

    def remember_hashes(self) -> None:
        """Write the content hashes that were found since the last time, but for those of purged recordings.

        `content_hash` does this every two seconds, and leaving the store at the end.
        """
        self._remembered_s = time.monotonic()
        if not self._hashed:
            return
        rows = [(key, *found) for key, found in self._hashed.items()]
        with self._transaction():
            self._connection.execute(
                f"INSERT OR REPLACE INTO files SELECT * FROM (VALUES {', '.join(['(?, ?, ?, ?)'] * len(rows))}) "
                "AS found(path, size_bytes, modified_ns, content_hash) "
                "WHERE content_hash NOT IN (SELECT content_hash FROM purged_recordings)",
                [value for row in rows for value in row],
            )
        self._hashed.clear()

    def check_pseudonyms(self, check: str | None) -> None:
        """Refuse to mix ids of different kinds in one database: those given, and those that a key hides.

        `check`: the check value of the key; None for ids as they are given.
        """
        last = self._connection.execute(
            "SELECT pseudonyms FROM runs ORDER BY started_at DESC, run_id LIMIT 1"
        ).fetchone()
        if last is None or last[0] == check:
            return
        if check is None:
            raise UsageError(
                f"{self.path}: its ids are pseudonyms; give --pseudonymize and the key, or name a new database "
                "with --db."
            )
        kept = "as they were given" if last[0] is None else "pseudonyms by another key"
        raise UsageError(
            f"{self.path}: its ids are {kept}; name a new database with --db, or go on as it was begun."
        )

    def begin_run(self, run: Run) -> None:
        """Record a run before its first result."""
        values = asdict(run) | {"settings": json.dumps(dict(run.settings), sort_keys=True, default=str)}
        with self._transaction():
            self._insert("runs", values)

    def finish_run(
        self,
        run_id: str,
        *,
        finished_at: datetime,
        found: int,
        analyzed: int,
        failed: int,
        already_known: int,
    ) -> None:
        """Record how a run ended."""
        with self._transaction():
            self._connection.execute(
                """
                UPDATE runs SET finished_at = ?, found = ?, analyzed = ?, failed = ?, already_known = ?
                WHERE run_id = ?
                """,
                [finished_at, found, analyzed, failed, already_known, run_id],
            )

    def write(
        self, result: CallResult, run: Run, *, analyzed_at: datetime, supersedes: Iterable[str] = ()
    ) -> None:
        """Write one call in one transaction, replacing what was known of it, and of the calls that it
        `supersedes`.

        Raises RefusedValueError, and leaves what was known, where a value of the result does not fit its column.
        """
        replaced = {result.recording.call_id: list(supersedes)}
        self.write_all([result], run, analyzed_at=analyzed_at, supersedes=replaced)

    def write_all(
        self,
        results: Sequence[CallResult],
        run: Run,
        *,
        analyzed_at: datetime,
        supersedes: Mapping[str, Sequence[str]],
    ) -> None:
        """Write some calls in one transaction, as `write` does one: for twenty it takes little longer than for one.

        `supersedes`: of a call's id, the calls that it takes the place of. What it takes does not grow with the
        database, where nothing was known of the calls.
        """
        connection = self._connection
        ids = [result.recording.call_id for result in results]
        gone = [call_id for own in ids for call_id in supersedes.get(own, ()) if call_id != own]
        with self._transaction():
            self._outdate_statistics()
            found = connection.execute(
                "SELECT call_id FROM calls WHERE list_contains($ids, call_id)", {"ids": [*ids, *gone]}
            )
            if known := [call_id for (call_id,) in found.fetchall()]:
                for table in TABLES_OF_CALLS:
                    connection.execute(
                        f"DELETE FROM {table} WHERE list_contains($ids, call_id)", {"ids": known}
                    )
                forget_derived(connection, known)
            if gone:
                for table in ("calls", "linked_agents"):
                    connection.execute(
                        f"DELETE FROM {table} WHERE list_contains($ids, call_id)", {"ids": gone}
                    )
            contents = [
                content
                for recording in (result.recording for result in results)
                for content in (recording.content_hash, *(leg.content_hash for leg in recording.legs))
            ]
            connection.execute(
                "DELETE FROM purged_recordings WHERE list_contains($contents, content_hash)",
                {"contents": contents},
            )
            rows = [call_row(result, run, analyzed_at) for result in results]
            names, marks = ", ".join(rows[0]), ", ".join("?" for _ in rows[0])
            # In one statement: DuckDB takes several milliseconds for each.
            connection.execute(
                f"INSERT OR REPLACE INTO calls ({names}) VALUES {', '.join([f'({marks})'] * len(rows))}",
                [value for row in rows for value in row.values()],
            )
            analyses = [
                (result.recording.call_id, result.analysis)
                for result in results
                if result.analysis is not None
            ]
            for table, make_rows in _ROWS.items():
                self._append(table, make_rows(analyses) if analyses else None)
            derive_new(connection, ids, rows={name: f"new_{name}" for name in _DERIVED_FROM})

    def take_in(self, tables: Mapping[str, str], call_ids: Sequence[str]) -> None:
        """Write calls from Parquet files in one transaction, replacing what was known of them.

        `tables`: a file for each table, with further columns that are left out.
        """
        connection, ids = self._connection, {"ids": list(call_ids)}
        with self._transaction():
            self._remove(call_ids)
            for table in (*TABLES_OF_CALLS, "calls"):
                into = self._emptied_new(table) if table in _DERIVED_FROM else table
                if table in tables:
                    more = "part, superseded" if table == "calls" else "part"
                    connection.execute(
                        f"INSERT INTO {into} BY NAME SELECT * EXCLUDE ({more}) FROM "
                        "read_parquet($file, hive_partitioning = false) WHERE list_contains($ids, call_id)",
                        ids | {"file": tables[table]},
                    )
                if into != table:
                    connection.execute(f"INSERT INTO {table} SELECT * FROM {into}")
            derive_new(connection, call_ids, rows={name: f"new_{name}" for name in _DERIVED_FROM})

    def remove(self, call_ids: Sequence[str]) -> None:
        """Remove calls whose place others took, in one transaction."""
        with self._transaction():
            self._remove(call_ids)
            self._connection.execute(
                "DELETE FROM linked_agents WHERE list_contains($ids, call_id)", {"ids": list(call_ids)}
            )

    def _remove(self, call_ids: Sequence[str]) -> None:
        self._outdate_statistics()
        found = self._connection.execute(
            "SELECT call_id FROM calls WHERE list_contains($ids, call_id)", {"ids": list(call_ids)}
        )
        # Tables of windows are large: they are not looked through for calls that are new.
        if known := [call_id for (call_id,) in found.fetchall()]:
            for table in (*TABLES_OF_CALLS, "calls"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE list_contains($ids, call_id)", {"ids": known}
                )
            forget_derived(self._connection, known)

    def take_in_rows(self, table: str, files: Sequence[str]) -> None:
        """Write the rows of Parquet files into `runs` or `files`, in one transaction."""
        with self._transaction():
            self._connection.execute(
                f"INSERT OR REPLACE INTO {table} BY NAME SELECT * FROM "
                "read_parquet($files, hive_partitioning = false, union_by_name = true) "
                f"QUALIFY row_number() OVER (PARTITION BY {'path' if table == 'files' else 'run_id'} "
                f"ORDER BY {'modified_ns' if table == 'files' else 'finished_at'} DESC NULLS LAST) = 1",
                {"files": list(files)},
            )
            self._connection.execute(
                "DELETE FROM files WHERE content_hash IN (SELECT content_hash FROM purged_recordings)"
            )

    def update_metadata(self, recordings: Iterable[Recording]) -> None:
        """Write path and metadata of known calls (files move, metadata arrives later)."""
        with self._transaction():
            for recording in recordings:
                self._outdate_statistics()
                row = metadata_row(recording)
                columns = ", ".join(f"{name} = ?" for name in row)
                self._unlink_other_agent(recording)
                self._connection.execute(
                    f"UPDATE calls SET {columns} WHERE call_id = ?",
                    [*row.values(), recording.call_id],
                )

    def make_statistics(self, *, timezone: str) -> None:
        """Bring `group_statistics` up to date with the calls, in one transaction; nothing to do is quickly done.

        `timezone`: whose hours and days of the week count.
        """
        from callmood.statistics.stored import make

        with self._transaction():
            make(self._connection, timezone=timezone, made_at=datetime.now(UTC))

    def _append(self, table: str, rows: pd.DataFrame | None) -> None:
        """Add rows to a table, and keep them in a temporary one where derived tables are made of them."""
        into = self._emptied_new(table) if table in _DERIVED_FROM else table
        if rows is None or rows.empty:
            return
        names = ", ".join(rows.columns)
        self._connection.register("rows_to_append", rows)
        self._connection.execute(f"INSERT INTO {into} ({names}) SELECT {names} FROM rows_to_append")
        self._connection.unregister("rows_to_append")
        if into != table:
            self._connection.execute(f"INSERT INTO {table} SELECT * FROM {into}")

    def _emptied_new(self, table: str) -> str:
        """An empty temporary table like a table, for the rows of it that derived tables are made of."""
        self._connection.execute(
            f"CREATE OR REPLACE TEMPORARY TABLE new_{table} AS SELECT * FROM main.{table} LIMIT 0"
        )
        return f"new_{table}"
