"""The results database: migrations, one transaction per call, views with values worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from conftest import NOON, make_recording, make_result, make_run

from callmood.errors import DatabaseBusyError, DatabaseError
from callmood.results import Store, connect
from callmood.results.document import schema_document
from callmood.results.schema import MIGRATIONS, migrate
from callmood.types import CallResult


def one(database: Path, query: str, *values: object) -> tuple:
    with connect(database) as connection:
        rows = connection.execute(query, list(values)).fetchall()
    assert len(rows) == 1
    return rows[0]


def test_every_call_has_one_summary_row(database: Path) -> None:
    assert one(database, "SELECT count(*), count(DISTINCT call_id) FROM call_summary") == (3, 3)


def test_call_summary_of_the_hand_drawn_call(database: Path) -> None:
    # Customer windows centred at 8 and 10 s (happy; the second lies in the middle third) and at 21 s (neutral)
    # and 27 s (angry), thirds of 10 s.
    row = one(
        database,
        "SELECT speakers, turns, speech_s, mood_of, mood_start, mood_end, mood_change, worst_s, worst_negativity, "
        "worst_speaker, escalations, escalations_recovered, escalation_score FROM call_summary "
        "WHERE call_id = 'call-1'",
    )

    assert row == (
        2,
        4,
        22.0,
        "customer",
        pytest.approx(0.81),
        pytest.approx(-0.51 / 2),
        pytest.approx(-0.51 / 2 - 0.81),
        27.0,
        0.75,
        "S2",
        1,
        0,
        0.75,
    )


def test_a_failed_call_has_unknown_numbers_rather_than_zero(database: Path) -> None:
    row = one(
        database,
        "SELECT status, mood_of, mood_start, escalations, escalation_score FROM call_summary WHERE call_id = 'call-2'",
    )

    assert row == ("unreadable", None, None, None, None)


def test_agent_summary_counts_scored_calls_only(database: Path) -> None:
    # alice: one scored call, which escalated and did not recover, and one unreadable call.
    # Her 8 of 22 s of speech are her share.
    row = one(
        database,
        "SELECT calls, calls_analyzed, calls_scored, calls_escalated, escalation_rate, escalations, recovery_rate, "
        "talk_share_mean, calls_with_talk_share FROM agent_summary WHERE agent_id = 'alice'",
    )

    assert row == (2, 1, 1, 1, 1.0, 1, 0.0, pytest.approx(8 / 22), 1)


def test_an_escalation_that_lasts_is_as_long_as_the_rest_of_the_call(database: Path) -> None:
    row = one(
        database, "SELECT agent_id, end_s, length_s, recovered FROM escalations WHERE call_id = 'call-1'"
    )

    assert row == ("alice", None, 9.0, False)


def test_an_unscored_turn_is_null(database: Path) -> None:
    row = one(
        database,
        "SELECT emotion, confidence, p_angry, valence FROM turns WHERE call_id = 'call-1' AND turn_index = 2",
    )

    assert row == (None, None, None, None)


def test_writing_again_replaces(database: Path) -> None:
    with Store(database) as store:
        store.write(make_result("call-1", agent_id="carol"), make_run("run-2"), analyzed_at=NOON)

    assert one(database, "SELECT count(*) FROM turns WHERE call_id = 'call-1'") == (4,)
    assert one(database, "SELECT agent_id FROM calls WHERE call_id = 'call-1'") == ("carol",)


def test_new_content_at_the_same_path_replaces_the_old_call(tmp_path: Path) -> None:
    old, new = make_recording("old"), make_recording("new")
    new = type(new)(call_id="new", legs=old.legs, content_hash="other")
    with Store(tmp_path / "x.duckdb") as store:
        for recording in (old, new):
            store.write(CallResult(recording=recording, status="empty"), make_run(), analyzed_at=NOON)
        assert list(store.known_calls()) == ["new"]


def test_a_call_that_fails_half_way_leaves_no_trace(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from callmood.results import store as module

    def fail(*_: object) -> None:
        raise RuntimeError("killed between two tables")

    with Store(database) as store:
        monkeypatch.setattr(module, "_window_rows", fail)
        with pytest.raises(RuntimeError):
            store.write(make_result("call-9"), make_run(), analyzed_at=NOON)

    assert one(database, "SELECT count(*) FROM turns WHERE call_id = 'call-9'") == (0,)
    assert one(database, "SELECT count(*) FROM calls WHERE call_id = 'call-9'") == (0,)


def test_moved_files_and_later_metadata_are_taken_over(database: Path) -> None:
    with Store(database) as store:
        store.update_metadata([make_recording("call-1", agent_id="dave", extra={"team": "B"})])

    row = one(database, "SELECT agent_id, metadata->>'team', duration_s FROM calls WHERE call_id = 'call-1'")
    assert row == ("dave", "B", 30.0)


def test_readers_can_neither_write_nor_leave_the_database(database: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with connect(database) as connection:
        for query in (
            "DELETE FROM calls",
            f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')",
            f"COPY calls TO '{tmp_path / 'out.csv'}'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(query)
    assert not (tmp_path / "out.csv").exists()


def test_a_second_writer_is_told_who_holds_the_database(database: Path) -> None:
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()",
            str(database),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert held.stdout is not None
        held.stdout.readline()
        with pytest.raises(DatabaseBusyError, match=f"PID {held.pid}"):
            Store(database)
    finally:
        held.communicate("")


def test_a_database_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "new.duckdb"
    with duckdb.connect(str(path)) as connection:
        migrate(connection)
        connection.execute("INSERT INTO schema_migrations (version, name) VALUES (99, 'future')")
    with pytest.raises(DatabaseError, match="newer version"):
        Store(path)
    with pytest.raises(DatabaseError, match="newer version"):
        connect(path)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_what_is_no_results_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.duckdb"
    path.write_bytes(content)
    with pytest.raises(DatabaseError):
        connect(path)


def test_a_missing_database_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"callmood analyze.*--db"):
        connect(tmp_path / "none.duckdb")


def test_migrating_twice_changes_nothing() -> None:
    with duckdb.connect() as connection:
        assert migrate(connection) == 0
        before = connection.execute("SELECT * FROM duckdb_columns()").fetchall()
        assert migrate(connection) == len(MIGRATIONS)
        assert connection.execute("SELECT * FROM duckdb_columns()").fetchall() == before


def test_the_schema_document_is_current() -> None:
    written = Path(__file__).resolve().parents[1] / "docs" / "schema.md"

    assert written.read_text(encoding="utf-8") == schema_document()
