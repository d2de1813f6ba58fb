"""Purged calls: gone from every table, from the bytes of every file, and not back in the next run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import NOON, make_result, make_run

import callmood
from callmood.errors import DatabaseBusyError, UsageError
from callmood.purging import Criteria, parse_age
from callmood.results import connect
from callmood.results.publish import backup_path
from callmood.results.store import Store

SECRET = "caller-jane-doe"


@pytest.fixture(scope="module")
def forty_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of forty calls, one of them that of a customer to be forgotten, and its copies."""
    path = tmp_path_factory.mktemp("purge") / "calls.duckdb"
    run = make_run()
    with Store(path) as store:
        store.begin_run(run)
        for number in range(100, 140):
            known = {"customer_id": SECRET} if number == 117 else {"customer_id": f"C-{number}"}
            result = make_result(f"the-call-number-{number}", agent_id="alice", **known)
            recording = replace(result.recording, content_hash=f"{number:064x}")
            store.write(replace(result, recording=recording), run, analyzed_at=NOON)
        store.publish()
    backup_path(path, version=1).write_bytes(path.read_bytes())
    return path.parent


@pytest.fixture
def filled(forty_calls: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(forty_calls, tmp_path / "filled")) / "calls.duckdb"


def test_every_table_with_a_call_is_purged(filled: Path) -> None:
    with duckdb.connect(str(filled)) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT table_name FROM duckdb_columns() WHERE column_name = 'call_id' AND table_name IN "
                "(SELECT table_name FROM duckdb_tables())"
            ).fetchall()
        ]
        connection.execute(
            "INSERT INTO linked_agents VALUES ('the-call-number-117', 'h', 'alice', 'S1', 0.9, 3, '[]')"
        )

    callmood.purge(db=str(filled), customer=SECRET)

    assert {"calls", "turns", "windows", "escalation_events", "linked_agents"} <= set(tables)
    with connect(filled) as connection:
        for table in tables:
            left = connection.execute(f"SELECT count(*) FROM {table} WHERE call_id = 'the-call-number-117'")
            assert left.fetchone() == (0,), table
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (39,)
        assert connection.execute("SELECT count(*) FROM turns").fetchone() == (39 * 4,)
        assert connection.execute("SELECT count(*) FROM call_summary WHERE escalations = 1").fetchone() == (
            39,
        )


def test_no_byte_of_a_purged_call_is_left_beside_the_database(filled: Path) -> None:
    before = {path.name: path.read_bytes() for path in filled.parent.iterdir()}
    assert sum(SECRET.encode() in content for content in before.values()) == 3

    summary = callmood.purge(db=str(filled), customer=SECRET)

    after = {path.name: path.read_bytes() for path in filled.parent.iterdir()}
    assert sorted(after) == ["calls.duckdb", "calls.snapshot.duckdb"]
    assert summary.removed_files == (backup_path(filled, version=1),)
    for content in after.values():
        assert SECRET.encode() not in content
        assert b"the-call-number-117" not in content
        assert b"the-call-number-118" in content


def test_the_database_keeps_its_notes_keys_and_views_and_can_be_written_on(filled: Path) -> None:
    def shape() -> list[tuple[Any, ...]]:
        with duckdb.connect(str(filled), read_only=True) as connection:
            return connection.execute(
                "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns() "
                "WHERE NOT internal ORDER BY ALL"
            ).fetchall()

    before = shape()
    filled.chmod(0o640)
    callmood.purge(db=str(filled), call="the-call-number-107")

    assert shape() == before
    assert filled.stat().st_mode & 0o777 == 0o640
    with Store(filled) as store:
        store.write(make_result("the-call-number-108"), make_run("run-2"), analyzed_at=NOON)
    with connect(filled) as connection:
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (39,)


def test_the_record_says_when_by_whom_and_why_and_names_nobody(filled: Path) -> None:
    callmood.purge(db=str(filled), customer=SECRET, older_than="1d", reason="request 17")

    with connect(filled) as connection:
        row = connection.execute(
            "SELECT purged_at, purged_by, criterion, reason, calls, erased FROM purges"
        ).fetchone()
    purged_at, purged_by, criterion, reason, calls, erased = row
    assert datetime.now(UTC) - purged_at < timedelta(minutes=5)
    assert (bool(purged_by), reason, calls, erased) == (True, "request 17", 1, True)
    kept = json.loads(criterion)
    assert kept["older_than"] == "1d"
    assert set(kept["customer"]) == {"salt", "sha256"}
    assert SECRET not in criterion


def test_who_has_the_id_can_tell_by_the_record_that_it_was_purged(filled: Path) -> None:
    import hashlib

    callmood.purge(db=str(filled), customer=SECRET)
    with connect(filled) as connection:
        kept = json.loads(connection.execute("SELECT criterion FROM purges").fetchone()[0])["customer"]

    assert kept["sha256"] == hashlib.sha256((kept["salt"] + SECRET).encode()).hexdigest()


def test_a_dry_run_lists_and_changes_nothing(filled: Path) -> None:
    before = filled.read_bytes()
    summary = callmood.purge(db=str(filled), customer=SECRET, dry_run=True)

    assert [call.call_id for call in summary.calls] == ["the-call-number-117"]
    assert filled.read_bytes() == before


def test_age_counts_from_the_start_of_the_call_or_else_from_its_analysis(tmp_path: Path) -> None:
    path, run, now = tmp_path / "x.duckdb", make_run(), datetime.now(UTC)
    with Store(path) as store:
        for name, started_days, analyzed_days in (
            ("began long ago", 91, 1),
            ("began lately", 89, 200),
            ("unknown, analyzed long ago", None, 91),
            ("unknown, analyzed lately", None, 89),
        ):
            started = None if started_days is None else now - timedelta(days=started_days)
            store.write(
                make_result(name, started_at=started), run, analyzed_at=now - timedelta(days=analyzed_days)
            )

    callmood.purge(db=str(path), older_than="90d")

    with connect(path) as connection:
        left = connection.execute("SELECT call_id FROM calls ORDER BY 1").fetchall()
    assert left == [("began lately",), ("unknown, analyzed lately",)]


def test_calls_must_meet_all_criteria(filled: Path) -> None:
    with pytest.raises(UsageError, match="no call of --customer caller-jane-doe, --agent bob"):
        callmood.purge(db=str(filled), customer=SECRET, agent="bob")


def test_an_unknown_id_is_an_error_and_nothing_old_enough_is_none(filled: Path) -> None:
    with pytest.raises(UsageError, match="There is no call of --customer nobody"):
        callmood.purge(db=str(filled), customer="nobody")
    assert callmood.purge(db=str(filled), older_than="5000w").calls == ()


def test_nothing_is_purged_without_a_criterion() -> None:
    with pytest.raises(UsageError, match="Nothing says what to purge"):
        Criteria()


@pytest.mark.parametrize(
    ("text", "age"),
    [("90d", timedelta(days=90)), ("12W", timedelta(weeks=12)), ("36h", timedelta(hours=36))],
)
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "0d", "1.5d", "90 days", "999999w", "٩d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write hours, days or weeks"):
        parse_age(text)


def test_a_purge_whose_file_could_not_be_written_anew_is_ended_by_the_next(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "_copy_rows_to", no_room)
        with pytest.raises(Exception, match="run `callmood purge` again"):
            callmood.purge(db=str(filled), customer=SECRET)
    with connect(filled) as connection:
        assert connection.execute("SELECT calls, erased FROM purges").fetchall() == [(1, False)]
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (39,)

    # The customer is not known any more; what was begun is ended all the same.
    callmood.purge(db=str(filled), customer=SECRET)

    with connect(filled) as connection:
        assert connection.execute("SELECT calls, erased FROM purges").fetchall() == [(1, True)]
    assert SECRET.encode() not in filled.read_bytes()


def test_a_process_that_takes_the_file_meanwhile_loses_nothing(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def taken(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(fcntl, "lockf", taken)
    inode = filled.stat().st_ino
    with pytest.raises(DatabaseBusyError, match="came first to the file"):
        callmood.purge(db=str(filled), customer=SECRET)

    assert filled.stat().st_ino == inode
    assert sorted(path.name for path in filled.parent.iterdir()) == [
        "calls.duckdb",
        "calls.schema1.duckdb",
        "calls.snapshot.duckdb",
    ]


def test_a_purge_through_a_link_purges_what_it_points_to(filled: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.duckdb"
    link.symlink_to(filled)
    callmood.purge(db=str(link), customer=SECRET)

    assert link.is_symlink()
    assert SECRET.encode() not in filled.read_bytes()


Analyze = Callable[..., callmood.RunSummary]


def test_purged_recordings_stay_away_until_they_are_asked_for(
    analyze_small: Analyze, small_calls: Path, tmp_path: Path
) -> None:
    database = tmp_path / "x.duckdb"
    analyze_small()
    with connect(database) as connection:
        (call_id,) = connection.execute("SELECT call_id FROM calls WHERE path LIKE '%/2.wav'").fetchone()
    callmood.purge(db=str(database), call=call_id)
    (small_calls / "2.wav").rename(small_calls / "renamed-2.wav")

    again = analyze_small()
    forced = analyze_small(force=True)
    with connect(database) as connection:
        ids = [row[0] for row in connection.execute("SELECT call_id FROM calls").fetchall()]
        # Not even its path comes back.
        paths = [row[0] for row in connection.execute("SELECT path FROM files").fetchall()]
    asked = analyze_small(include_purged=True)
    after = analyze_small()

    assert (again.analyzed, again.purged, again.already_known) == (0, 1, 3)
    assert (forced.analyzed, forced.purged) == (3, 1)
    assert call_id not in ids
    assert sorted(Path(path).name for path in paths) == ["0.wav", "1.wav", "3.wav"]
    assert (asked.analyzed, asked.purged) == (1, 0)
    assert (after.analyzed, after.purged, after.already_known) == (0, 0, 4)
