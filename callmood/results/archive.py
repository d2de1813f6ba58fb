"""Results as partitioned Parquet, in a folder or at a URL, for archives too large for one writer.

    calls/date=2026-11-24/<part>.parquet      turns/date=2026-11-24/<part>.parquet      ...

Columns are those of the tables of the same name (docs/schema.md), with `part` beside them, and in `calls` with
`superseded`: ids of the calls whose place a call takes. The date is that of the call's start in UTC, Hive's word for none
where the start is not known. A part holds calls of one date. Its file in `calls` is put there last, and each file as a
whole, so that a call is there once its row in `calls` is; rows of other tables count where `calls` has their call_id and
part. A call that was analyzed again has several rows, of which the newest `analyzed_at` counts. `runs` and `files` are as
in the database.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from callmood.emotions import EMOTIONS
from callmood.errors import ArchiveError, RefusedValueError, UsageError
from callmood.files import in_place_of
from callmood.remote import filesystem, is_url, why
from callmood.results.read import first_line
from callmood.results.run import Run
from callmood.results.store import TABLES_OF_CALLS, Store
from callmood.text import printable
from callmood.types import Affect, CallResult, Recording, Windows

PART_CALLS = 32
"""Calls of a part, at most."""
NO_DATE = "__HIVE_DEFAULT_PARTITION__"
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Where a file is there once it is whole."""
_AGAIN_S = 1.0
"""Before a second try to write."""


@dataclass(frozen=True, kw_only=True)
class Out:
    """Where results go, and what is to be known of the run that makes them."""

    root: str
    run: Run
    superseded: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of a recording's call_id: the known calls that its result takes the place of."""

    def __post_init__(self) -> None:
        if not is_url(self.root):  # workers have working folders of their own
            object.__setattr__(self, "root", str(Path(self.root).absolute()))

    @property
    def name_of_run(self) -> str:
        """The name, below `runs` and `files`, of the files with the run's own rows."""
        return f"date={self.run.started_at:%Y-%m-%d}/{self.run.run_id}.parquet"

    def only(self, recordings: Sequence[Recording]) -> Out:
        """The same, with what some recordings take the place of and no more."""
        own = {r.call_id: others for r in recordings if (others := self.superseded.get(r.call_id))}
        return replace(self, superseded=own)


class Archive:
    """A folder, or a URL that stands for one."""

    def __init__(self, root: str) -> None:
        """Raises UsageError for a URL that cannot be used."""
        self.root = root.rstrip("/")
        self._files: Any = None
        self._path = ""
        if is_url(root):
            self._files, self._path = filesystem(self.root)

    def put(self, local: Path, name: str) -> None:
        """Have a file there under a name, whole; raises ArchiveError where that fails twice."""
        try:
            try:
                self._put(local, name)
            except Exception:
                time.sleep(_AGAIN_S)
                self._put(local, name)
        except Exception as error:
            raise ArchiveError(
                f"{printable(self.root)}: results cannot be written there ({why(error)}); see to space and permissions, "
                "or name another place with --out."
            ) from error

    def _put(self, local: Path, name: str) -> None:
        if self._files is None:
            target = Path(self.root, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with in_place_of(target) as half:
                shutil.copyfile(local, half)
            return
        target_name = f"{self._path}/{name}"
        if self.root.partition("://")[0] in _OBJECT_STORES:
            self._files.put_file(str(local), target_name)
        else:
            folder, _, last = target_name.rpartition("/")
            self._files.makedirs(folder, exist_ok=True)
            self._files.put_file(str(local), f"{folder}/.{last}")
            self._files.mv(f"{folder}/.{last}", target_name)

    def holds(self, name: str) -> bool:
        """Whether there is a file of that name."""
        if self._files is None:
            return Path(self.root, name).is_file()
        with self._fetching():
            return bool(self._files.exists(f"{self._path}/{name}"))

    def names(self, table: str) -> list[str]:
        """The files of a table, sorted; raises ArchiveError where they cannot be listed."""
        if self._files is None:
            return sorted(
                str(path.relative_to(self.root)) for path in Path(self.root, table).glob("*/[!.]*.parquet")
            )
        with self._fetching():
            self._files.invalidate_cache()
            if not self._files.exists(f"{self._path}/{table}"):
                return []
            found = self._files.glob(f"{self._path}/{table}/date=*/*.parquet")
        return sorted(
            name[name.rindex(f"/{table}/date=") + 1 :]
            for name in found
            if not Path(name).name.startswith(".")
        )

    @contextmanager
    def at_hand(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Paths of files that hold those, inside the block.

        Raises ArchiveError where they cannot be fetched or, inside the block, not be taken for what they should be.
        """
        import duckdb

        with tempfile.TemporaryDirectory(prefix="callmood-") as folder:
            places = [str(Path(self.root, name)) for name in names]
            if self._files is not None:
                places = [str(Path(folder, f"{index}.parquet")) for index in range(len(names))]
                with self._fetching():
                    self._files.get([f"{self._path}/{name}" for name in names], places)
            try:
                yield places
            except (duckdb.Error, RefusedValueError) as error:
                raise ArchiveError(
                    f"{printable(self.root)}: holds Parquet that is damaged, or that another version of callmood or "
                    f"another program wrote ({first_line(str(error))}); see to what lies there."
                ) from error

    @contextmanager
    def _fetching(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise ArchiveError(
                f"{printable(self.root)}: results cannot be read there ({why(error)}); check it and the credentials."
            ) from error


def date_of(recording: Recording) -> date | None:
    """The day, in UTC, that a recording's results are filed under."""
    started_at = recording.metadata.started_at
    return None if started_at is None else started_at.astimezone(UTC).date()


def by_date(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """The recordings of each date, in their order."""
    found: dict[date | None, list[Recording]] = {}
    for recording in recordings:
        found.setdefault(date_of(recording), []).append(recording)
    return list(found.values())


def write_part(out: Out, results: Sequence[CallResult]) -> list[CallResult]:
    """Write results of one date as a part, which takes the place of an earlier one of the same calls and run.

    Returns what was written, without the turns and windows that nobody needs any more.
    """
    names = "\0".join(result.recording.call_id for result in results)
    part = f"{out.run.run_id[:12]}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    archive = Archive(out.root)
    superseded = out.only([result.recording for result in results]).superseded
    # Through a database of their own, so that rows are those of a direct run to the last digit.
    with (
        tempfile.TemporaryDirectory(prefix="callmood-") as folder,
        Store(Path(folder, "part.duckdb")) as store,
    ):
        written = [_written(store, result, out.run) for result in results]
        place = f"date={date_of(results[0].recording) or NO_DATE}/{part}.parquet"
        for table in (*TABLES_OF_CALLS, "calls"):
            file = Path(folder, f"{table}.parquet")
            if _export(store, table, file, part=part, superseded=superseded):
                archive.put(file, f"{table}/{place}")
    return [_slim(result) for result in written]


def _written(store: Store, result: CallResult, run: Run) -> CallResult:
    try:
        store.write(result, run, analyzed_at=datetime.now(UTC))
    except RefusedValueError as error:
        sentence = f"{result.recording.name}: cannot be stored; {error}"
        result = CallResult(recording=result.recording, status="failed", error=sentence)
        store.write(result, run, analyzed_at=datetime.now(UTC))
    return result


def _export(
    store: Store, table: str, file: Path, *, part: str, superseded: Mapping[str, Sequence[str]]
) -> bool:
    """Write a table to a Parquet file, unless it is empty; returns whether it was written."""
    connection: Any = store.connection
    if not connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
        return False
    more = ""
    if table == "calls":
        connection.execute("CREATE TEMP TABLE superseding (call_id VARCHAR, superseded VARCHAR[])")
        for call_id, others in superseded.items():
            connection.execute("INSERT INTO superseding VALUES (?, ?)", [call_id, list(others)])
        more = ", coalesce((SELECT superseded FROM superseding AS s WHERE s.call_id = t.call_id), []) AS superseded"
    # COPY takes no parameters; the part is made of digits.
    connection.execute(
        f"COPY (SELECT *, '{part}' AS part{more} FROM {table} AS t) TO '{_quoted(file)}' (FORMAT parquet)"
    )
    return True


def _slim(result: CallResult) -> CallResult:
    if result.analysis is None:
        return result
    nothing, none = np.zeros(0, dtype=np.float32), np.zeros((0, len(EMOTIONS)), dtype=np.float32)
    affect = Affect(probabilities=none, valence=nothing, arousal=nothing, negativity=nothing)
    windows = Windows(
        turn_index=np.zeros(0, dtype=np.int32),
        start_s=np.zeros(0),
        end_s=np.zeros(0),
        affect=affect,
        negativity_smooth=nothing,
    )
    analysis = replace(
        result.analysis, turns=(), turn_affect=affect, windows=windows, turn_signals=(), nonspeech=()
    )
    return replace(result, analysis=analysis)


def write_parts(out: Out, results: Sequence[CallResult]) -> list[CallResult]:
    """Write results of any dates, a part for each; returns what was written, as `write_part` does."""
    by_id = {result.recording.call_id: result for result in results}
    return [
        written
        for of_date in by_date([result.recording for result in results])
        for written in write_part(out, [by_id[recording.call_id] for recording in of_date])
    ]


def write_run(out: Out, store: Store) -> None:
    """Write the row of `runs` that a run left in the store that it worked with."""
    _write_rows(out, store, "runs", f"SELECT * FROM runs WHERE run_id = '{out.run.run_id}'")


def write_files(out: Out, store: Store) -> None:
    """Write the rows of `files` that a run added to a `known_store`."""
    _write_rows(out, store, "files", "SELECT * FROM files EXCEPT SELECT * FROM known_files")


def _write_rows(out: Out, store: Store, table: str, query: str) -> None:
    connection: Any = store.connection
    with tempfile.TemporaryDirectory(prefix="callmood-") as folder:
        file = Path(folder, f"{table}.parquet")
        if connection.execute(f"COPY ({query}) TO '{_quoted(file)}' (FORMAT parquet)").fetchone()[0]:
            Archive(out.root).put(file, f"{table}/{out.name_of_run}")


@contextmanager
def known_store(root: str) -> Iterator[Store]:
    """A store that knows what an archive knows of calls, runs and files, and lasts for the block."""
    with (
        tempfile.TemporaryDirectory(prefix="callmood-") as folder,
        Store(Path(folder, "known.duckdb")) as store,
    ):
        archive = Archive(root)
        _read_newest(archive, store)
        store.connection.execute(
            "INSERT INTO calls BY NAME SELECT * EXCLUDE (part, superseded) FROM newest_calls"
        )
        _take_in_runs_and_files(archive, store)
        store.connection.execute("CREATE TEMP TABLE known_files AS SELECT * FROM files")
        yield store


def _read_newest(archive: Archive, store: Store) -> None:
    """Make two temporary tables of the archive's `calls`: `newest_calls`, the rows that count, and `gone_calls`, whose
    place others took until `gone_at`."""
    connection: Any = store.connection
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE found_calls AS "
        "SELECT *, NULL::VARCHAR AS part, NULL::VARCHAR[] AS superseded FROM calls LIMIT 0"
    )
    names = archive.names("calls")
    if names:
        with archive.at_hand(names) as places:
            connection.execute(
                "INSERT INTO found_calls BY NAME "
                "SELECT * FROM read_parquet($places, hive_partitioning = false, union_by_name = true)",
                {"places": places},
            )
            if connection.execute(
                "SELECT count(*) FROM found_calls WHERE call_id IS NULL OR part IS NULL OR analyzed_at IS NULL"
            ).fetchone()[0]:
                raise RefusedValueError("rows of calls without call_id, part or analyzed_at")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE gone_calls AS SELECT call_id, max(analyzed_at) AS gone_at "
        "FROM (SELECT unnest(superseded) AS call_id, analyzed_at FROM found_calls) GROUP BY call_id"
    )
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE newest_calls AS
        SELECT f.* FROM found_calls AS f
        WHERE NOT EXISTS (FROM gone_calls AS g WHERE g.call_id = f.call_id AND g.gone_at > f.analyzed_at)
        QUALIFY row_number() OVER (PARTITION BY f.call_id ORDER BY f.analyzed_at DESC, f.part) = 1
        """
    )
    connection.execute("DROP TABLE found_calls")


def _take_in_runs_and_files(archive: Archive, store: Store) -> None:
    for table in ("runs", "files"):
        names = archive.names(table)
        if names:
            with archive.at_hand(names) as places:
                store.take_in_rows(table, places)


@dataclass(frozen=True, kw_only=True)
class LoadSummary:
    """What `callmood load` did."""

    found: int
    """Calls that the archive holds."""
    loaded: int
    already_known: int
    """Calls that the database has, of that time or later."""
    purged: int
    """Calls left out because they were purged from the database."""


def existing(root: str) -> Archive:
    """The archive at a place; raises UsageError where there is none."""
    archive = Archive(root)
    if not archive.names("runs"):
        raise UsageError(f"{printable(root)}: holds no results; `callmood analyze --out` writes them.")
    return archive


def load_archive(archive: Archive, store: Store, *, timezone: str) -> LoadSummary:
    """Bring what an archive holds into a database; what is there already, or newer, is left as it is.

    Raises ArchiveError where files cannot be read.
    """
    _read_newest(archive, store)
    connection: Any = store.connection
    rows = connection.execute(
        """
        SELECT n.part, n.call_id,
               coalesce(c.analyzed_at >= n.analyzed_at, false) AS known,
               n.content_hash IN (SELECT content_hash FROM purged_recordings)
               OR list_has_any(CAST(n.legs->'$[*].content_hash' AS VARCHAR[]),
                               (SELECT coalesce(list(content_hash), []) FROM purged_recordings)) AS purged
        FROM newest_calls AS n LEFT JOIN calls AS c USING (call_id) ORDER BY ALL
        """
    ).fetchall()
    parts: dict[str, list[str]] = {}
    for part, call_id, known, purged in rows:
        if not known and not purged:
            parts.setdefault(part, []).append(call_id)
    names = {table: archive.names(table) for table in (*TABLES_OF_CALLS, "calls")} if parts else {}
    by_part = {(table, Path(name).stem): name for table, of_table in names.items() for name in of_table}
    for part, call_ids in parts.items():
        wanted = {table: by_part[table, part] for table in names if (table, part) in by_part}
        with archive.at_hand(list(wanted.values())) as places:
            store.take_in(dict(zip(wanted, places, strict=True)), call_ids)
    # What the archive has no newer row of, and the database none since another took its place.
    gone = connection.execute(
        "SELECT c.call_id FROM calls AS c JOIN gone_calls AS g USING (call_id) "
        "WHERE c.analyzed_at < g.gone_at AND c.call_id NOT IN (SELECT call_id FROM newest_calls)"
    ).fetchall()
    if gone:
        store.remove([call_id for (call_id,) in gone])
    _take_in_runs_and_files(archive, store)
    store.make_statistics(timezone=timezone)
    return LoadSummary(
        found=len(rows),
        loaded=sum(len(call_ids) for call_ids in parts.values()),
        already_known=sum(known for *_, known, _ in rows),
        purged=sum(purged and not known for *_, known, purged in rows),
    )


def _quoted(file: Path) -> str:
    return str(file).replace("'", "''")
