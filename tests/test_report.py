"""The reports' queries, on the hand-drawn calls of `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import NOON, make_result, make_run

import callmood
from callmood import report
from callmood.errors import UsageError
from callmood.results.schema import Connection
from callmood.results.store import Store
from callmood.types import Leg


@pytest.fixture
def connection(database: Path) -> Iterator[Connection]:
    with callmood.connect(database) as connection:
        yield connection


def column(table: report.Table, name: str) -> list[object]:
    return [record[name] for record in table.records()]


def test_calls_are_all_of_call_summary_with_unscored_calls_last(connection: Connection) -> None:
    table = report.calls(connection)
    view = connection.execute("DESCRIBE call_summary").fetchall()
    assert table.columns == tuple(row[0] for row in view)
    assert column(table, "call_id") == ["call-1", "call-3", "call-2"]
    assert column(report.calls(connection), "escalation_score") == [0.75, 0.75, None]


def test_the_stronger_escalation_comes_first(database: Path) -> None:
    result = make_result("call-4")
    assert result.analysis is not None
    (event,) = result.analysis.escalations
    object.__setattr__(event, "height", 0.9)
    object.__setattr__(result.analysis.escalation_scores[1], "score", 0.9)
    with Store(database) as store:
        store.write(result, make_run(), analyzed_at=NOON)
    with callmood.connect(database) as connection:
        assert column(report.calls(connection), "call_id") == ["call-4", "call-1", "call-3", "call-2"]
        assert column(report.escalations(connection), "call_id") == ["call-4", "call-1", "call-3"]


def test_calls_can_be_one_agents_and_limited(connection: Connection) -> None:
    assert column(report.calls(connection, agent_id="alice"), "call_id") == ["call-1", "call-2"]
    assert column(report.calls(connection, agent_id="alice", limit=1), "call_id") == ["call-1"]


def test_escalations_can_be_of_an_agent_or_a_call(connection: Connection) -> None:
    assert column(report.escalations(connection, agent_id="bob"), "call_id") == ["call-3"]
    (event,) = report.escalations(connection, call_id="call-1").records()
    assert (event["onset_s"], event["peak_s"], event["recovered"]) == (21.0, 27.0, False)


def test_the_parts_of_a_call_come_in_the_order_of_time(connection: Connection) -> None:
    assert column(report.turns(connection, "call-1"), "emotion") == ["neutral", "happy", None, "angry"]
    assert column(report.trajectory(connection, "call-1"), "t_s") == [1.0, 8.0, 10.0, 21.0, 27.0]
    assert column(report.speakers(connection, "call-1"), "speaker") == ["S1", "S2"]
    assert list(report.turns(connection, "call-2").rows) == []


def test_trajectory_peaks_are_the_highest_of_each_part(connection: Connection) -> None:
    # 30 s in three parts: the windows at 1, 8 | 10 | 21 and 27 s, of which 27 s is the highest of its part.
    peaks = list(report.trajectory_peaks(connection, "call-1", bins=3).rows)
    assert peaks == [
        ("S1", "agent", 0, 0.0),
        ("S2", "customer", 0, 0.0),
        ("S2", "customer", 1, 0.0),
        ("S2", "customer", 2, 0.75),
    ]


@pytest.mark.parametrize("name", ["call-3", "/calls/call-3.wav", "call-3.wav"])
def test_a_call_is_found_by_id_path_or_file_name(connection: Connection, name: str) -> None:
    assert report.find_call(connection, name) == "call-3"


def test_a_call_is_found_by_the_unique_beginning_of_its_id(database: Path) -> None:
    with Store(database) as store:
        store.write(make_result("f00dcafe"), make_run(), analyzed_at=NOON)
    with callmood.connect(database) as connection:
        assert report.find_call(connection, "f00") == "f00dcafe"


def test_a_call_is_found_by_the_unique_beginning_of_its_file_name(database: Path) -> None:
    with Store(database) as store:
        for call_id, name in (("f00dcafe", "Billing agent.wav"), ("beef", "Billing caller.wav")):
            result = make_result(call_id)
            named = replace(result.recording, legs=(Leg(path=Path("/calls") / name),))
            store.write(replace(result, recording=named), make_run(), analyzed_at=NOON)
    with callmood.connect(database) as connection:
        assert report.find_call(connection, "Billing a") == "f00dcafe"
        with pytest.raises(UsageError, match=r"any of Billing agent\.wav \(f00dcafe\), Billing caller\.wav"):
            report.find_call(connection, "Bill")
        with pytest.raises(UsageError, match=r"the nearest are Billing agent\.wav"):
            report.find_call(connection, "Biling agent")


def test_an_ambiguous_beginning_names_the_calls_it_could_be(connection: Connection) -> None:
    with pytest.raises(UsageError, match="'call' could be any of call-1, call-2, call-3;"):
        report.find_call(connection, "call")


def test_an_id_that_begins_another_id_is_itself(database: Path) -> None:
    with Store(database) as store:
        store.write(make_result("call-10"), make_run(), analyzed_at=NOON)
    with callmood.connect(database) as connection:
        assert report.find_call(connection, "call-1") == "call-1"


def test_an_unknown_call_names_the_nearest(connection: Connection) -> None:
    with pytest.raises(UsageError, match="no call 'cal-3'; the nearest are call-3, call-1, call-2,"):
        report.find_call(connection, "cal-3")


def test_an_unknown_agent_names_the_nearest(connection: Connection) -> None:
    assert report.find_agent(connection, "bob") == "bob"
    with pytest.raises(UsageError, match="no agent 'Bobby'; the nearest are bob, alice,"):
        report.find_agent(connection, "Bobby")


def test_an_empty_database_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    Store(path).__exit__(None, None, None)
    with callmood.connect(path) as connection:
        assert list(report.calls(connection).rows) == []
        with pytest.raises(UsageError, match="run `callmood analyze`"):
            report.find_call(connection, "call-1")
        with pytest.raises(UsageError, match="--metadata FILE"):
            report.find_agent(connection, "alice")


def test_two_answers_can_be_read_side_by_side(connection: Connection) -> None:
    first = report.run_sql(connection, "SELECT * FROM range(3000)").rows
    next(first)
    assert list(report.run_sql(connection, "SELECT 'second'").rows) == [("second",)]
    assert len(list(first)) == 2999


def test_times_come_with_their_offset(connection: Connection) -> None:
    ((started_at,),) = report.run_sql(connection, "SELECT started_at FROM runs").rows
    assert isinstance(started_at, datetime)
    assert started_at - NOON == timedelta(0)


def test_repeated_column_names_are_told_apart(connection: Connection) -> None:
    table = report.run_sql(connection, "SELECT 1 AS a, 2 AS a, 3 AS a_2")
    assert table.columns == ("a", "a_2", "a_2_2")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("", "query is empty"),
        ("SELECT 1; SELECT 2", "there are 2"),
        ("DELETE FROM calls", "of kind DELETE"),
        ("CREATE TEMP TABLE t AS SELECT 1", "of kind CREATE"),
        ("COPY calls TO 'x.csv'", "of kind COPY"),
        ("ATTACH 'x.duckdb'", "of kind ATTACH"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT agnet_id FROM calls", 'Candidate bindings: "agent_id"'),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled by configuration"),
    ],
)
def test_what_is_no_single_readable_query_is_refused_in_one_line(
    connection: Connection, sql: str, said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        list(report.run_sql(connection, sql).rows)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_error_among_the_rows_is_told_like_any_other(connection: Connection) -> None:
    sql = "SELECT CASE WHEN range < 5000 THEN 1 ELSE error('too far') END FROM range(9000)"
    with pytest.raises(UsageError, match="too far"):
        list(report.run_sql(connection, sql).rows)


def test_a_call_is_found_by_the_file_of_either_leg_and_by_no_beginning_of_two(database: Path) -> None:
    with Store(database) as store:
        for call_id, names in (("4711", ("a_agent.wav", "a_caller.wav")), ("beef", ("47_night.wav",))):
            result = make_result(call_id)
            legs = tuple(Leg(path=Path("/calls") / name) for name in names)
            store.write(
                replace(result, recording=replace(result.recording, legs=legs)), make_run(), analyzed_at=NOON
            )
    with callmood.connect(database) as connection:
        assert report.find_call(connection, "a_caller.wav") == "4711"
        # One begins an id, the other a file's name.
        with pytest.raises(UsageError, match="'47' could be any of 4711, 47_night"):
            report.find_call(connection, "47")
