"""The results database: migrations, one transaction per call, views with values worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from conftest import NOON, make_recording, make_result, make_run

from callmood.errors import DatabaseBusyError, DatabaseError
from callmood.results import Store, connect
from callmood.results.document import schema_document
from callmood.results.schema import MIGRATIONS, migrate
from callmood.types import CallResult, Course


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


def test_trajectories_have_a_band_of_two_standard_errors_within_what_there_can_be(tmp_path: Path) -> None:
    result = make_result("call-1")
    assert result.analysis is not None
    windows = result.analysis.windows
    drawn = np.full(len(windows.start_s), 0.9, dtype=np.float32)
    error = np.full(len(drawn), 0.1, dtype=np.float32)
    course = Course(
        valence=-drawn,
        arousal=drawn,
        negativity=drawn,
        valence_se=error,
        arousal_se=error,
        negativity_se=error,
    )
    analysis = replace(
        result.analysis, windows=replace(windows, negativity_smooth=0.1 * drawn, course=course)
    )
    path = tmp_path / "course.duckdb"
    with Store(path) as store:
        store.write(replace(result, analysis=analysis), make_run(), analyzed_at=NOON)
        store.write(make_result("before"), make_run(), analyzed_at=NOON)

    with connect(path) as connection:
        bands = connection.execute(
            "SELECT DISTINCT dimension, round(smoothed, 3), round(band_low, 3), round(band_high, 3) FROM trajectories "
            "WHERE call_id = 'call-1' ORDER BY dimension"
        ).fetchall()
        unknown = connection.execute(
            "SELECT count(band_low), count(band_high), count(raw) > 0 FROM trajectories WHERE call_id = 'before'"
        ).fetchone()
    assert bands == [
        ("arousal", pytest.approx(0.9), pytest.approx(0.704), 1.0),
        ("negativity", pytest.approx(0.09), 0.0, pytest.approx(0.286)),
        ("valence", pytest.approx(-0.9), -1.0, pytest.approx(-0.704)),
    ]
    assert unknown == (0, 0, True)


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


def test_the_score_of_a_call_is_the_highest_of_those_who_are_not_the_agent(database: Path) -> None:
    # The agent's score is 0.9, the customer's 0.75.
    rows = one(database, "SELECT count(*), max(score) FROM escalation_scores WHERE call_id = 'call-1'")
    assert rows == (2, 0.9)
    assert one(database, "SELECT escalation_score FROM call_summary WHERE call_id = 'call-1'") == (0.75,)


def test_a_call_written_again_has_its_scores_once(database: Path) -> None:
    with Store(database) as store:
        store.write(make_result("call-1"), make_run(), analyzed_at=NOON)

    assert one(database, "SELECT count(*) FROM escalation_scores WHERE call_id = 'call-1'") == (2,)


def test_an_escalation_tells_what_the_other_party_did_and_when_it_was_recovered(database: Path) -> None:
    result = make_result("call-4")
    assert result.analysis is not None
    (event,) = result.analysis.escalations
    ended = replace(event, end_s=29.5, recovered=True, other_party="interrupting")
    with Store(database) as store:
        store.write(
            replace(result, analysis=replace(result.analysis, escalations=(ended,))),
            make_run(),
            analyzed_at=NOON,
        )

    select = "SELECT other_party, recovery_s FROM escalations WHERE call_id = "
    assert one(database, f"{select} 'call-1'") == ("silent", None)
    assert one(database, f"{select} 'call-4'") == ("interrupting", 2.5)


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


def test_a_call_that_fails_later_keeps_nothing_of_what_was_known(database: Path) -> None:
    failed = CallResult(recording=make_recording("call-1"), status="failed", error="call-1.wav: no.")
    with Store(database) as store:
        store.write(failed, make_run("run-2"), analyzed_at=NOON)

    row = one(
        database, "SELECT status, duration_s, codec, diarizer, truncated FROM calls WHERE call_id = 'call-1'"
    )
    assert row == ("failed", None, None, None, None)


def test_a_superseded_call_goes_when_its_successor_comes(database: Path) -> None:
    with Store(database) as store:
        store.write(make_result("call-7"), make_run(), analyzed_at=NOON, supersedes=["call-1"])
        assert [call.call_id for call in store.known_calls()] == ["call-2", "call-3", "call-7"]

    assert one(database, "SELECT count(*) FROM turns WHERE call_id = 'call-1'") == (0,)


def test_known_calls_carry_what_was_told_of_them(tmp_path: Path) -> None:
    told = {"agent_id": "=1+1", "started_at": NOON, "agent_channel": 1, "extra": {"team": "Zürich"}}
    with Store(tmp_path / "x.duckdb") as store:
        store.write(make_result("a", **told), make_run(), analyzed_at=NOON)
        (known,) = store.known_calls()

    assert known.metadata == make_recording("a", **told).metadata


def test_a_call_that_fails_half_way_leaves_no_trace(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from callmood.results import store as module

    def fail(*_: object) -> None:
        raise RuntimeError("killed between two tables")

    with Store(database) as store:
        monkeypatch.setitem(module._ROWS, "windows", fail)
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


def test_a_database_of_another_program_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE theirs (a INTEGER)")
    with pytest.raises(DatabaseError, match="another program"):
        Store(path)
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("theirs",)]


@pytest.mark.parametrize("name", [":memory:", "md:calls"])
def test_no_name_means_anything_but_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store(name):
        pass

    assert (tmp_path / name).is_file()


def test_views_of_this_version_reach_existing_databases(database: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE OR REPLACE VIEW call_summary AS SELECT 1 AS old")
    with Store(database):
        pass

    assert one(database, "SELECT count(escalation_score) FROM call_summary") == (2,)


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
        before = connection.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns()"
        ).fetchall()
        assert migrate(connection) == len(MIGRATIONS)
        assert (
            connection.execute(
                "SELECT table_name, column_name, data_type, comment FROM duckdb_columns()"
            ).fetchall()
            == before
        )


def test_the_schema_document_is_current() -> None:
    written = Path(__file__).resolve().parents[1] / "docs" / "schema.md"

    assert written.read_text(encoding="utf-8") == schema_document()


def test_a_view_of_the_users_own_is_left_alone(database: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE VIEW my_calls AS SELECT call_id AS mine FROM calls")
    with Store(database):
        pass

    assert one(database, "SELECT count(*) FROM my_calls") == (3,)
