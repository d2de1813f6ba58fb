"""The one writer of a results database."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from callmood.diarize.turns import mean_confidence
from callmood.emotions import EMOTIONS, PROBABILITY_COLUMNS
from callmood.errors import DatabaseBusyError, DatabaseError, RefusedValueError, UsageError
from callmood.remote import as_path
from callmood.results.derived import derive_call, derive_new, forget_derived
from callmood.results.holder import holder_path, say_holder
from callmood.results.publish import backup_path, copy_open, half_path, snapshot_path
from callmood.results.read import check_not_newer, first_line, open_to_write
from callmood.results.schema import MIGRATIONS, Connection, migrate, schema_version
from callmood.text import path_text
from callmood.types import (
    Affect,
    Analysis,
    CallMetadata,
    CallResult,
    Escalation,
    EscalationScore,
    KnownCall,
    Leg,
    LinkedAgent,
    Nonspeech,
    Recording,
    Turn,
    TurnSignal,
    Windows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

TABLES_OF_CALLS = ("turns", "windows", "escalation_events", "escalation_scores", "nonspeech")
"""Tables, beside `calls` and what is derived from them, with rows of single calls."""
_DERIVED_FROM = ("turns", "windows", "nonspeech")
"""Those that derived tables are made of."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of `analyze`, as the table `runs` keeps it."""

    run_id: str
    started_at: datetime
    started_by: str
    host: str
    version: str
    settings: Mapping[str, Any]
    settings_hash: str
    model_hash: str
    emotion_for: str
    pseudonyms: str | None = None
    """Check value of the key that ids were replaced by; None where they are as given."""


@dataclass(frozen=True, kw_only=True)
class Purge:
    """Calls that are removed, as the table `purges` keeps it."""

    purged_at: datetime
    purged_by: str
    host: str
    version: str
    criterion: Mapping[str, Any]
    reason: str | None


class Store:
    """A results database open for writing; each call is written in one transaction.

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
        path_key: Callable[[Path], str] = path_text,
    ) -> None:
        """`wait_s`: how long to wait for another process that holds the database, unless it is time to `give_up`;
        `path_key`: what of the path of a file is kept with the hash of its content."""
        self.path = Path(database)
        self._path_key = path_key
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
        row = self._connection.execute(
            "SELECT content_hash FROM files WHERE path = ? AND size_bytes = ? AND modified_ns = ?",
            [key, state.st_size, state.st_mtime_ns],
        ).fetchone()
        if row:
            return str(row[0])
        digest = hash_file(path)
        if digest in self.purged_contents():
            return digest
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                [key, state.st_size, state.st_mtime_ns, digest],
            )
        return digest

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

    def purged_contents(self) -> set[str]:
        """Content hashes of purged recordings and of their legs."""
        return {
            content
            for (content,) in self._connection.execute(
                "SELECT content_hash FROM purged_recordings"
            ).fetchall()
        }

    def with_linked_agents(self, recordings: Sequence[Recording]) -> list[Recording]:
        """The recordings, with the agent that was found by voice in the same content."""
        rows = self._connection.execute(
            "SELECT call_id, content_hash, agent_id, confidence, spans FROM linked_agents "
            "WHERE list_contains($ids, call_id)",
            {"ids": [recording.call_id for recording in recordings]},
        ).fetchall()
        linked = {
            (call_id, content_hash): LinkedAgent(
                agent_id=agent_id,
                confidence=confidence,
                spans=tuple((start_s, end_s) for start_s, end_s in json.loads(spans)),
            )
            for call_id, content_hash, agent_id, confidence, spans in rows
        }
        return [
            replace(recording, linked=linked.get((recording.call_id, recording.content_hash)))
            for recording in recordings
        ]

    def linkable_turns(self) -> dict[str, tuple[str | None, tuple[Turn, ...]]]:
        """Of each analyzed call that says who its agent was: what tells its roles, and its turns."""
        rows = self._connection.execute(
            """
            SELECT call_id, c.role_source, t.speaker, t.channel, t.start_s, t.end_s, t.role
            FROM calls AS c JOIN turns AS t USING (call_id)
            WHERE c.agent_id IS NOT NULL ORDER BY call_id, t.turn_index
            """
        ).fetchall()
        found: dict[str, tuple[str | None, tuple[Turn, ...]]] = {}
        for call_id, source, speaker, channel, start_s, end_s, role in rows:
            turn = Turn(speaker=speaker, channel=channel, start_s=start_s, end_s=end_s, role=role)
            found[call_id] = (source, (*found.get(call_id, (source, ()))[1], turn))
        return found

    def write_links(
        self,
        examined: Iterable[str],
        links: Mapping[str, tuple[str, LinkedAgent, Sequence[Turn]]],
        linking: Mapping[str, Any],
    ) -> None:
        """Write which speaker is the agent by voice, in one transaction, with a row for `linkings`.

        `examined`: calls whose voices were compared; what was found of them before goes. `links`: of each linked call
        the speaker, what is kept of the link, and the turns with their roles. Emotions that were inferred by other
        roles, and may not have been by these, are removed; such calls are taken up again by the next run.
        """
        connection = self._connection
        with self._transaction():
            for call_id in examined:
                before = connection.execute(
                    "SELECT DISTINCT speaker, role FROM turns WHERE call_id = ? ORDER BY ALL", [call_id]
                ).fetchall()
                connection.execute("DELETE FROM linked_agents WHERE call_id = ?", [call_id])
                speaker, link, turns = links.get(call_id, (None, None, ()))
                roles = {turn.speaker: turn.role for turn in turns}
                for name, _ in before:
                    for table in ("turns", "escalation_events"):
                        connection.execute(
                            f"UPDATE {table} SET role = ? WHERE call_id = ? AND speaker = ?",
                            [roles.get(name), call_id, name],
                        )
                confidence = None if link is None else link.confidence
                connection.execute(
                    "UPDATE calls SET role_source = ?, role_confidence = ? WHERE call_id = ?",
                    [None if link is None else "voice", confidence, call_id],
                )
                if link is not None:
                    connection.execute(
                        "INSERT INTO linked_agents SELECT call_id, content_hash, ?, ?, ?, ?, ? FROM calls "
                        "WHERE call_id = ?",
                        [
                            link.agent_id,
                            speaker,
                            link.confidence,
                            sum(other.agent_id == link.agent_id for _, other, _ in links.values()),
                            json.dumps(link.spans),
                            call_id,
                        ],
                    )
                if before != sorted((name, roles.get(name)) for name, _ in before):
                    self._forget_unwanted(call_id, confidence or 0.0)
                derive_call(connection, call_id)
            self._outdate_statistics()
            self._insert("linkings", linking)

    def _forget_unwanted(self, call_id: str, confidence: float) -> None:
        """Remove the emotions of turns that the call's run was not to infer by the roles as they are now."""
        connection = self._connection
        run = connection.execute(
            "SELECT r.emotion_for, r.settings FROM calls AS c JOIN runs AS r USING (run_id) WHERE c.call_id = ?",
            [call_id],
        ).fetchone()
        if run is None or run[0] == "everyone":
            return
        sure = confidence >= float(json.loads(run[1]).get("min_role_confidence", 0.0))
        wanted = {"id": call_id, "role": run[0] if sure else ""}
        connection.execute(
            "DELETE FROM windows WHERE call_id = $id AND turn_index IN (SELECT turn_index FROM turns "
            "WHERE call_id = $id AND role IS DISTINCT FROM $role)",
            wanted,
        )
        connection.execute(
            "DELETE FROM escalation_events WHERE call_id = $id AND role IS DISTINCT FROM $role", wanted
        )
        connection.execute(
            "DELETE FROM escalation_scores WHERE call_id = $id AND speaker IN (SELECT speaker FROM turns "
            "WHERE call_id = $id AND role IS DISTINCT FROM $role)",
            wanted,
        )
        scores = ("emotion", "confidence", *PROBABILITY_COLUMNS, "valence", "arousal", "negativity")
        connection.execute(
            f"UPDATE turns SET {', '.join(f'{name} = NULL' for name in scores)} "
            "WHERE call_id = $id AND role IS DISTINCT FROM $role",
            wanted,
        )
        connection.execute("UPDATE calls SET rescore = true WHERE call_id = ?", [call_id])

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
            rows = [_call_row(result, run, analyzed_at) for result in results]
            names, marks = ", ".join(rows[0]), ", ".join("?" for _ in rows[0])
            connection.executemany(
                f"INSERT OR REPLACE INTO calls ({names}) VALUES ({marks})",
                [list(row.values()) for row in rows],
            )
            analyses = [
                (result.recording.call_id, result.analysis)
                for result in results
                if result.analysis is not None
            ]
            self._append("turns", [_turn_rows(call_id, analysis) for call_id, analysis in analyses])
            self._append(
                "windows", [_window_rows(call_id, analysis.windows) for call_id, analysis in analyses]
            )
            self._append("nonspeech", [_rows(call_id, analysis.nonspeech) for call_id, analysis in analyses])
            self._append(
                "escalation_events", [_rows(call_id, analysis.escalations) for call_id, analysis in analyses]
            )
            self._append(
                "escalation_scores",
                [_rows(call_id, analysis.escalation_scores) for call_id, analysis in analyses],
            )
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
                row = _metadata_row(recording)
                columns = ", ".join(f"{name} = ?" for name in row)
                self._unlink_other_agent(recording)
                self._connection.execute(
                    f"UPDATE calls SET {columns} WHERE call_id = ?",
                    [*row.values(), recording.call_id],
                )

    def _unlink_other_agent(self, recording: Recording) -> None:
        """Forget the roles that a call has by the voice of an agent whose call it turns out not to be."""
        connection, call_id = self._connection, recording.call_id
        linked = connection.execute(
            "SELECT c.role_source FROM calls AS c JOIN linked_agents AS l USING (call_id) "
            "WHERE c.call_id = ? AND l.agent_id IS DISTINCT FROM ?",
            [call_id, recording.metadata.agent_id],
        ).fetchone()
        if linked is None:
            return
        connection.execute("DELETE FROM linked_agents WHERE call_id = ?", [call_id])
        if linked[0] == "voice":
            for table in ("turns", "escalation_events"):
                connection.execute(f"UPDATE {table} SET role = NULL WHERE call_id = ?", [call_id])
            connection.execute(
                "UPDATE calls SET role_source = NULL, role_confidence = NULL WHERE call_id = ?", [call_id]
            )
            self._forget_unwanted(call_id, 0.0)
            derive_call(connection, call_id)

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

    def make_statistics(self, *, timezone: str) -> None:
        """Bring `group_statistics` up to date with the calls, in one transaction; nothing to do is quickly done.

        `timezone`: whose hours and days of the week count.
        """
        from callmood.statistics.stored import make

        with self._transaction():
            make(self._connection, timezone=timezone, made_at=datetime.now(UTC))

    def _outdate_statistics(self) -> None:
        """To be called in every transaction that writes, changes or removes calls."""
        self._connection.execute("UPDATE statistics_made SET current = false WHERE current")

    def _insert(self, table: str, row: Mapping[str, Any], *, verb: str = "INSERT") -> None:
        # Table and column names are this module's own; values are always bound.
        names, marks = ", ".join(row), ", ".join("?" for _ in row)
        self._connection.execute(f"{verb} INTO {table} ({names}) VALUES ({marks})", list(row.values()))

    def _append(self, table: str, parts: Sequence[pd.DataFrame]) -> None:
        """Add rows to a table, and keep them in a temporary one where derived tables are made of them."""
        import pandas as pd

        filled = [part for part in parts if len(part)]
        into = self._emptied_new(table) if table in _DERIVED_FROM else table
        if not filled:
            return
        rows = pd.concat(filled, ignore_index=True)
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


def _metadata_row(recording: Recording) -> dict[str, Any]:
    metadata = recording.metadata
    return {
        "call_id": recording.call_id,
        "path": recording.legs[0].kept_path,
        "content_hash": recording.content_hash,
        "legs": json.dumps(
            [
                {"path": leg.kept_path, "role": leg.role, "content_hash": leg.content_hash}
                for leg in recording.legs
            ]
        ),
        "agent_id": metadata.agent_id,
        "customer_id": metadata.customer_id,
        "queue": metadata.queue,
        "started_at": metadata.started_at,
        "agent_channel": metadata.agent_channel,
        "metadata": json.dumps(dict(metadata.extra), default=str) if metadata.extra else None,
    }


def _call_row(result: CallResult, run: Run, analyzed_at: datetime) -> dict[str, Any]:
    """All columns, since what a row is replaced by keeps those that it does not name."""
    analysis = result.analysis
    return _metadata_row(result.recording) | {
        "status": result.status,
        "error": result.error,
        "settings_hash": run.settings_hash,
        "model_hash": run.model_hash,
        "run_id": run.run_id,
        "analyzed_at": analyzed_at,
        "duration_s": analysis and analysis.duration_s,
        "channels": analysis and analysis.channels,
        "rate_hz": analysis and analysis.rate_hz,
        "codec": analysis and analysis.codec,
        "truncated": analysis and analysis.lost_s > 0,
        "lost_s": analysis and analysis.lost_s,
        "diarizer": analysis and analysis.diarizer,
        "turn_confidence": analysis and mean_confidence(analysis.turns),
        "role_source": analysis and analysis.role_source,
        "role_confidence": analysis and analysis.role_confidence,
        "rescore": None,
    }


def _affect_columns(affect: Affect) -> dict[str, Any]:
    columns: dict[str, Any] = dict(zip(PROBABILITY_COLUMNS, affect.probabilities.T, strict=True))
    return columns | {"valence": affect.valence, "arousal": affect.arousal, "negativity": affect.negativity}


def _turn_rows(call_id: str, analysis: Analysis) -> pd.DataFrame:
    import pandas as pd

    turns, affect = analysis.turns, analysis.turn_affect
    probabilities = affect.probabilities
    scored = ~np.isnan(probabilities[:, 0])
    signals = analysis.turn_signals or (TurnSignal(),) * len(turns)
    best = np.nan_to_num(probabilities).argmax(axis=1) if len(turns) else np.zeros(0, dtype=int)
    rows = pd.DataFrame(
        {
            "call_id": call_id,
            "turn_index": np.arange(len(turns)),
            "speaker": [turn.speaker for turn in turns],
            "role": pd.Series([turn.role for turn in turns], dtype="object"),
            "channel": [turn.channel for turn in turns],
            "start_s": [turn.start_s for turn in turns],
            "end_s": [turn.end_s for turn in turns],
            "overlap_s": [turn.overlap_s for turn in turns],
            "speaker_confidence": pd.Series([turn.confidence for turn in turns], dtype="Float32"),
            "emotion": pd.Series(
                [EMOTIONS[i] if known else None for i, known in zip(best, scored, strict=True)],
                dtype="object",
            ),
            "confidence": np.where(scored, probabilities.max(axis=1, initial=0.0), np.nan),
            **_affect_columns(affect),
            "level_dbfs": pd.Series([signal.level_dbfs for signal in signals], dtype="Float32"),
            "syllables": pd.Series([signal.syllables for signal in signals], dtype="Int32"),
        }
    )
    return rows


def _rows(call_id: str, found: Iterable[Nonspeech | Escalation | EscalationScore]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{"call_id": call_id} | asdict(each) for each in found])


def _window_rows(call_id: str, windows: Windows) -> pd.DataFrame:
    import pandas as pd

    course = windows.course
    return pd.DataFrame(
        {
            "call_id": call_id,
            "turn_index": windows.turn_index,
            "start_s": windows.start_s,
            "end_s": windows.end_s,
            **_affect_columns(windows.affect),
            "negativity_smooth": windows.negativity_smooth,
            **(
                {}
                if course is None
                else {
                    "valence_smooth": course.valence,
                    "arousal_smooth": course.arousal,
                    "valence_se": course.valence_se,
                    "arousal_se": course.arousal_se,
                    "negativity_se": course.negativity_se,
                }
            ),
        }
    )
