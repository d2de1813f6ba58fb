"""Disks that are full, databases that may not be written, and databases of earlier and later versions."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from callmood.errors import DatabaseError
from callmood.results import schema
from callmood.results.publish import backup_path
from callmood.results.schema import MIGRATIONS, migrate, schema_version
from callmood.results.store import Store
from callmood.results.views import VIEWS

ROOT = Path(__file__).resolve().parents[1]

FILL = """
import resource, signal, sys
from pathlib import Path
from datetime import UTC, datetime
sys.path.insert(0, "tests")
from conftest import NOON, make_result, make_run
from callmood.errors import DatabaseError
from callmood.results.publish import log_path
from callmood.results.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(sys.argv[1])
log = log_path(Path(sys.argv[1]))
limit = (log.stat().st_size if log.exists() else 0) + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
written = 0
try:
    for number in range(200):
        store.write(make_result(f"filling-{number}"), make_run(), analyzed_at=NOON)
        written += 1
except DatabaseError as error:
    print(written)
    print(error)
"""


def counted(database: Path, query: str) -> int:
    with duckdb.connect(str(database), read_only=True) as connection:
        return int(connection.execute(query).fetchone()[0])


def test_a_full_disk_is_one_sentence_and_nothing_that_was_committed_is_lost(database: Path) -> None:
    # The log of changes may grow by 60 kB, so it soon fails to take more, as on a full disk.
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(database), "60000"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    written, sentence, *more = done.stdout.splitlines()

    assert more == []
    assert sentence.startswith(f"{database}: cannot be written (")
    assert sentence.endswith("see to disk space and permissions and run again.")
    assert int(written) > 0
    with Store(database) as store:
        assert len(store.known_calls()) == 3 + int(written)
    # Four turns each, two of the three calls of the fixture among them.
    assert counted(database, "SELECT count(*) FROM turns") == 4 * (2 + int(written))


WRITE = """
import os, shutil, sys
sys.path.insert(0, "tests")
from conftest import NOON, make_result, make_run
from callmood.results.store import Store
store = Store(sys.argv[1])
for number in range(6):
    store.write(make_result(f"later-{number}"), make_run(), analyzed_at=NOON)
os._exit(0)
"""


def test_a_log_of_changes_that_is_cut_anywhere_holds_whole_calls_in_order(
    database: Path, tmp_path: Path
) -> None:
    # What a power cut leaves of the log: its beginning, up to some byte.
    subprocess.run([sys.executable, "-c", WRITE, str(database)], check=True, cwd=ROOT)
    log = database.with_name(database.name + ".wal").read_bytes()
    assert len(log) > 2000
    cuts = sorted(np.random.default_rng(0).integers(0, len(log) + 1, 25).tolist())
    seen = []
    for length in [*cuts, len(log)]:
        folder = tmp_path / f"cut-{length}"
        folder.mkdir(exist_ok=True)
        copy = Path(shutil.copy(database, folder))
        copy.with_name(copy.name + ".wal").write_bytes(log[:length])
        with Store(copy) as store:
            later = [call.call_id for call in store.known_calls() if call.call_id.startswith("later-")]
        assert later == [f"later-{number}" for number in range(len(later))]
        # Four turns of each call, or none of it.
        assert counted(copy, "SELECT count(*) FROM turns") == 4 * (2 + len(later))
        assert counted(copy, "SELECT count(*) FROM windows") == 5 * (2 + len(later))
        seen.append(len(later))

    assert seen == sorted(seen)
    assert (min(seen), max(seen)) == (0, 6)


@pytest.fixture
def theirs(database: Path) -> Iterator[Path]:
    """The database, in a folder that any user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copy = Path(shutil.copy(database, folder))
        copy.chmod(0o444)
        yield copy


def test_a_database_that_may_not_be_written_is_one_sentence_and_stays(theirs: Path) -> None:
    before = theirs.read_bytes()
    # Root may write everywhere, so as root it becomes another user once all is loaded.
    program = (
        "import os, sys, duckdb, pandas; from callmood.results.store import Store\n"
        "if os.getuid() == 0: os.seteuid(65534)\n"
        "Store(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(theirs)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert done.stderr.splitlines()[-1] == (
        f"callmood.errors.DatabaseError: {theirs}: may not be written to; grant the permission on it and its "
        "folder, or name another database with --db."
    )
    assert theirs.read_bytes() == before
    assert [path.name for path in theirs.parent.iterdir()] == [theirs.name]


def test_a_newer_database_is_not_touched(database: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("INSERT INTO schema_migrations (version, name) VALUES (99, 'future')")
    before = database.read_bytes()

    with pytest.raises(DatabaseError, match=r"newer version of callmood \(schema 99"):
        Store(database)

    assert database.read_bytes() == before


def earlier_database(path: Path, *, version: int) -> None:
    """A database as the version of callmood with that many migrations left it, with a row in every table."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, "
            "applied_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp)"
        )
        for number, step in enumerate(MIGRATIONS[:version], start=1):
            step(connection)
            connection.execute(
                "INSERT INTO schema_migrations (version, name) VALUES (?, ?)", [number, step.__name__]
            )
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            if table != "schema_migrations":
                connection.execute(f"INSERT INTO {table} SELECT {_values(connection, table)}")


def _values(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """A value for each column of a table, by its type."""
    by_type = {"VARCHAR": "'c1'", "JSON": "'[]'", "BOOLEAN": "true", "TIMESTAMP WITH TIME ZONE": "now()"}
    columns = connection.execute(
        "SELECT data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [table]
    ).fetchall()
    return ", ".join(by_type.get(kind, "1") for (kind,) in columns)


def shape(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    """Every column of every table and view."""
    return connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns() "
        "WHERE NOT internal ORDER BY ALL"
    ).fetchall()


# One more than there are: a step to come, so that the backup is tried whatever the number of steps.
LATER = "CREATE TABLE later_step (call_id VARCHAR)"


def add_later_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def m999_later(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(LATER)

    from callmood.results import opened, read

    for module in (schema, read, opened):
        monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, m999_later))
    monkeypatch.setitem(schema.RELATIONS, "later_step", "A table to come.")


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_every_earlier_schema_is_brought_up_to_date_with_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path = tmp_path / "x.duckdb"
    earlier_database(path, version=version)
    add_later_step(monkeypatch)

    with Store(path) as store:
        assert len(store.known_calls()) == 1

    with duckdb.connect(str(path)) as connection, duckdb.connect() as fresh:
        migrate(fresh)
        assert schema_version(connection) == len(MIGRATIONS) + 1
        assert shape(connection) == shape(fresh)
        for table in ("runs", "calls", "turns", "windows", "escalation_events"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
        for view in VIEWS:
            connection.execute(f"SELECT * FROM {view}").fetchall()


def test_a_backup_of_the_database_as_it_was_is_made_before_its_schema_changes(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = len(MIGRATIONS)
    add_later_step(monkeypatch)
    with Store(database):
        pass

    backup = backup_path(database, version=version)
    assert backup.name == f"calls.schema{version}.duckdb"
    assert counted(backup, "SELECT max(version) FROM schema_migrations") == version
    assert counted(backup, "SELECT count(*) FROM calls") == 3
    assert counted(database, "SELECT max(version) FROM schema_migrations") == version + 1


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def m999_broken(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("ALTER TABLE calls ADD COLUMN half VARCHAR")
        connection.execute("SELECT * FROM nowhere")

    from callmood.results import opened, read

    for module in (schema, read, opened):
        monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, m999_broken))
    with pytest.raises(DatabaseError, match="nothing was lost"):
        Store(database)

    assert counted(database, "SELECT max(version) FROM schema_migrations") == len(MIGRATIONS)
    assert counted(database, "SELECT count(*) FROM duckdb_columns() WHERE column_name = 'half'") == 0


def test_no_migration_without_room_for_the_backup(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_later_step(monkeypatch)
    # A folder in its place cannot be replaced by a file.
    (backup_path(database, version=len(MIGRATIONS)) / "x").mkdir(parents=True)

    with pytest.raises(DatabaseError, match="nothing was changed"):
        Store(database)

    assert counted(database, "SELECT max(version) FROM schema_migrations") == len(MIGRATIONS)


def test_current_databases_are_not_backed_up(database: Path) -> None:
    with Store(database):
        pass

    assert sorted(path.name for path in database.parent.iterdir()) == ["calls.duckdb"]
