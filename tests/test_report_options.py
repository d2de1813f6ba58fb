"""Options of `callmood report`: which calls, how many, and in which format; hostile names in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import make_result, make_run

from callmood.cli.app import main
from callmood.errors import UsageError
from callmood.report import Choice, chosen
from callmood.results.store import Store

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)
HOSTILE = '=HYPERLINK("x")|<img src=x onerror=alert(1)>[a](https://b)\'Zürich'

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`callmood report` on four calls of two agents in two queues, from 1 to 4 March 2026 at noon."""
    monkeypatch.chdir(tmp_path)
    with Store("callmood.duckdb") as store:
        for day, agent, queue in (
            (1, "a", "sales"),
            (2, "a", "billing"),
            (3, "a", "sales"),
            (4, "b", HOSTILE),
        ):
            result = make_result(
                f"call-{day}",
                agent_id=HOSTILE if agent == "b" else agent,
                queue=queue,
                started_at=datetime(2026, 3, day, 12, tzinfo=UTC),
            )
            store.write(result, make_run(), analyzed_at=NOW)
        store.write(make_result("undated", agent_id="a", queue="sales"), make_run(), analyzed_at=NOW)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["report", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def ids(run: Run, *arguments: str) -> list[str]:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return sorted(row["call_id"] for row in json.loads(out))


@pytest.mark.parametrize("report", [[], ["--escalations"], ["--conversation"]])
def test_reports_are_about_the_chosen_calls(run: Run, report: list[str]) -> None:
    assert ids(run, *report, "--since", "2026-03-02", "--until", "2026-03-03") == ["call-2", "call-3"]
    assert ids(run, *report, "--since", "2026-03-02T12:00:01Z") == ["call-3", "call-4"]
    assert ids(run, *report, "--queue", "sales") == ["call-1", "call-3", "undated"]
    assert ids(run, *report, "--queue", HOSTILE) == ["call-4"]
    assert ids(run, *report, "--queue", "' OR 1=1 --") == []
    if report:  # without, `--agent ID` is that agent in depth
        assert ids(run, *report, "--agent", "a", "--until", "2026-03-01") == ["call-1"]


def test_agents_are_counted_over_the_chosen_calls(run: Run) -> None:
    def agents(*arguments: str) -> dict[str, int]:
        return {row["agent_id"]: row["calls"] for row in json.loads(run("--agent", *arguments, "--json")[1])}

    assert agents() == {"a": 4, HOSTILE: 1}
    assert agents("--min-calls", "2") == {"a": 4}
    assert agents("--since", "2026-03-02", "--queue", "sales") == {"a": 1}
    assert agents("--since", "2026-03-02", "--min-calls", "2") == {"a": 2}


def test_an_agent_in_depth_is_told_over_the_chosen_calls(run: Run) -> None:
    (agent,) = json.loads(run("--agent", "a", "--until", "2026-03-02", "--json")[1])

    assert agent["calls"] == 2
    assert sorted(row["call_id"] for row in agent["call_summary"]) == ["call-1", "call-2"]
    assert run("--agent", "a", "--queue", "none")[::2] == (0, "no such calls\n")


def test_calls_whose_roles_are_not_sure_are_left_out_and_counted(run: Run) -> None:
    with Store("callmood.duckdb") as store:
        store.connection.execute(
            "UPDATE calls SET role_source = 'voice', role_confidence = 0.95 WHERE call_id IN ('call-1', 'call-4')"
        )
        store.connection.execute(
            "UPDATE calls SET role_source = 'heuristic', role_confidence = 0.6 WHERE call_id = 'call-2'"
        )

    sure = ("--min-role-confidence", "0.9")
    assert ids(run, *sure) == ["call-1", "call-4"]
    assert ids(run, *sure, "--conversation") == ["call-1", "call-4"]
    assert ids(run, *sure, "--escalations") == ["call-1", "call-4"]
    assert ids(run, "--min-role-confidence", "0.6", "--agent", "a", "--escalations") == ["call-1", "call-2"]
    (one, *_) = json.loads(run("--agent", "a", *sure, "--json")[1])
    assert one["calls"] == 1
    groups = json.loads(run("--agent", "--json", *sure)[1])
    assert sorted(row["calls"] for row in groups) == [1, 1]
    said = "left out, whose roles are not known with a confidence of 0.9 or more"
    assert f"3 calls are {said}" in run(*sure)[2]
    assert f"2 calls are {said}" in run(*sure, "--queue", "sales")[2] + run("--agent", "a", *sure)[2]
    assert f"1 call is {said}" in run(*sure, "--since", "2026-03-02", "--queue", "billing")[2]
    assert run("--min-role-confidence", "2")[0] == 2


def test_calls_whose_turns_are_not_sure_are_left_out_and_counted(run: Run) -> None:
    # Of the others, the engine states no confidence.
    with Store("callmood.duckdb") as store:
        store.connection.execute("UPDATE calls SET turn_confidence = 0.95 WHERE call_id = 'call-1'")
        store.connection.execute(
            "UPDATE calls SET turn_confidence = 0.7 WHERE call_id IN ('call-2', 'call-4')"
        )

    everything = set(ids(run))
    sure = ("--min-turn-confidence", "0.9")
    assert set(ids(run, *sure)) == everything - {"call-2", "call-4"}
    assert set(ids(run, "--min-turn-confidence", "0.7")) == everything
    assert not {"call-2", "call-4"} & {*ids(run, *sure, "--conversation"), *ids(run, *sure, "--escalations")}
    (one, *_) = json.loads(run("--agent", "a", *sure, "--json")[1])
    assert one["calls"] == 3
    assert "2 calls are left out, whose turns are less sure than 0.9" in run(*sure)[2]
    assert "1 call is left out, whose turns" in run(*sure, "--queue", "billing", "--until", "2026-03-02")[2]
    assert run("--min-turn-confidence", "2")[0] == 2


def test_times_are_days_moments_or_how_long_ago() -> None:
    assert chosen(since="7d", now=NOW).since == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert chosen(since="12h", now=NOW).since == datetime(2026, 3, 9, 0, tzinfo=UTC)
    assert chosen(until="2w", now=NOW).until == datetime(2026, 2, 23, 12, tzinfo=UTC)
    day = chosen(since="2026-03-02", until="2026-03-02", timezone="Europe/Berlin")
    assert day == Choice(
        since=datetime(2026, 3, 1, 23, tzinfo=UTC), until=datetime(2026, 3, 2, 23, tzinfo=UTC)
    )
    assert chosen(since="2026-03-02T08:00+02:00").since == datetime(2026, 3, 2, 6, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "2026-13-01", "2026-3-1"])
def test_what_is_no_time_is_told_with_what_is(text: str) -> None:
    with pytest.raises(UsageError, match=r"--since .* is no time; give a date such as 2026-04-17"):
        chosen(since=text, now=NOW)


def test_a_time_that_ends_before_it_begins_is_refused(run: Run) -> None:
    code, _, err = run("--since", "2026-03-03", "--until", "2026-03-01")

    assert code == 2
    assert "--since 2026-03-03 is not before --until 2026-03-01" in err


def test_markdown_shows_hostile_names_as_text(run: Run) -> None:
    lines = run("--queue", HOSTILE, "--markdown")[1].splitlines()

    assert lines[0].startswith("| call | file | agent | started | length |")
    assert lines[1].startswith("| --- | --- | --- | --- | ---: |")
    assert '| =HYPERLINK("x")\\|&lt;img src=x onerror=alert(1)&gt;\\[a\\](https\\://b)\'Zürich |' in lines[2]
    assert len(lines) == 3


def test_parquet_has_all_columns_with_their_types_and_names_as_they_are(run: Run, tmp_path: Path) -> None:
    code, out, err = run("--conversation", "--parquet", tmp_path / "it's.parquet")
    assert (code, out) == (0, "")
    assert "wrote 5 rows" in err

    def one(query: str) -> Any:
        return duckdb.connect().execute(query, [str(tmp_path / "it's.parquet")]).fetchone()

    assert one("SELECT count(*), count(started_at) FROM read_parquet(?)") == (5, 4)
    assert one("SELECT queue FROM read_parquet(?) WHERE call_id = 'call-4'") == (HOSTILE,)
    kinds = (
        "SELECT typeof(speakers), typeof(spoken_s), typeof(tone_s), typeof(started_at) FROM read_parquet(?)"
    )
    assert one(kinds) == ("BIGINT", "DOUBLE", "DOUBLE", "TIMESTAMP WITH TIME ZONE")


def test_parquet_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--parquet", tmp_path / "none" / "x.parquet")

    assert code == 2
    assert "cannot be written" in err
    assert "--parquet" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "--markdown"),
        ("--csv", "--parquet", "x.parquet"),
        ("--conversation", "--escalations"),
        ("--agent", "--conversation"),
        ("--min-calls", "2"),
    ],
)
def test_options_that_do_not_go_together_are_refused(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert err
    assert not Path("x.parquet").exists()


def test_no_row_of_csv_begins_a_formula(run: Run) -> None:
    lines = run("--conversation", "--queue", HOSTILE, "--csv")[1].splitlines()

    assert "'=HYPERLINK" in lines[1]
    assert ",=HYPERLINK" not in lines[1]
    assert ',"=HYPERLINK' not in lines[1]


def test_groups_are_saved_with_their_types(run: Run, tmp_path: Path) -> None:
    for number, options in enumerate((("--agent",), ("--by", "queue"))):
        target = tmp_path / f"{number}.parquet"
        code, _, err = run(*options, "--parquet", target)
        assert code == 0, err
        described = duckdb.sql(f"DESCRIBE SELECT * FROM '{target}'").fetchall()
        types = {row[0]: row[1] for row in described}
        assert (types["calls"], types["escalation_rate"]) == ("BIGINT", "DOUBLE")
        assert (types["escalation_rate_within_noise"], types["escalation_rate_why"]) == ("BOOLEAN", "VARCHAR")


@pytest.mark.parametrize("report", [[], ["--conversation"], ["--by", "queue"], ["--agent", "a"]])
def test_people_see_the_first_rows_of_a_long_report(
    run: Run, monkeypatch: pytest.MonkeyPatch, report: list[str]
) -> None:
    monkeypatch.setattr("callmood.cli.output.MOST_ROWS", 1)

    _, shown, told = run(*report)
    _, asked_for, nothing = run(*report, "--top", 9)

    assert "These are the first 1;" in told
    assert nothing.count("first") == 0
    assert len(shown.splitlines()) < len(asked_for.splitlines())


def test_programs_get_all_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callmood.cli.output.MOST_ROWS", 1)

    assert len(ids(run)) == 5
    assert len(run("--csv")[1].splitlines()) == 6
    assert len(run("--markdown")[1].splitlines()) == 7


def test_what_two_demands_leave_out_adds_up(run: Run) -> None:
    with Store("callmood.duckdb") as store:
        store.write(make_result("unsure", agent_id="a"), make_run(), analyzed_at=NOW)
    with duckdb.connect("callmood.duckdb") as connection:
        connection.execute("UPDATE calls SET turn_confidence = 0.9, role_confidence = 0.9")
        connection.execute(
            "UPDATE calls SET turn_confidence = 0.1, role_confidence = 0.1 WHERE call_id = 'unsure'"
        )

    _, out, err = run("--min-turn-confidence", "0.5", "--min-role-confidence", "0.5", "--json")

    assert len(json.loads(out)) == 5
    assert "1 call is left out, whose turns" in err
    assert "0 calls are left out, whose roles" in err
