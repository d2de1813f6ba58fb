"""The command line: what it prints where, what it refuses, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from conftest import NOON, certain, make_recording, make_result, make_run

import callmood
from callmood.cli.app import app, main
from callmood.cli.progress import lines, progress_shown
from callmood.cli.reference import reference
from callmood.cli.show import bar_of
from callmood.errors import DatabaseBusyError, RecordingError
from callmood.results.schema import MIGRATIONS
from callmood.results.store import Store
from callmood.run import Progress, RunSummary
from callmood.text import clock
from callmood.types import CallResult, Diarization, Turn

ROOT = Path(__file__).resolve().parents[1]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CALLMOOD_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def reading(run: Run, database: Path) -> Run:
    """Runs a reading command on the hand-drawn calls."""
    return lambda *arguments: run(*arguments, "--db", database)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# The program as a whole


def test_help_loads_nothing_heavy() -> None:
    heavy = (
        "{'tensorflow', 'keras', 'librosa', 'pandas', 'duckdb', 'torch', 'scipy', 'joblib', 'rich.console', "
        "'jinja2', 'matplotlib'}"
    )
    script = (
        "import sys\nfrom callmood.cli import main\n"
        "try: main(['analyze', '--help'])\n"
        f"except SystemExit: sys.exit(str({heavy} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert "--emotion-for" in done.stdout
    assert done.stderr.strip() == ""


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"callmood {callmood.__version__}\n", "")


def test_every_command_and_option_has_a_help_text() -> None:
    program: Any = typer.main.get_command(app)
    assert set(program.commands) == {
        *(
            "analyze",
            "report",
            "show",
            "sql",
            "classify",
            "config",
            "doctor",
            "validate",
            "models",
            "diarize",
            "link-agents",
            "purge",
            "retry",
            "export",
            "listen",
            "load",
        )
    }
    for name, command in program.commands.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_the_command_reference_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), (
        "run `python -m callmood.cli.reference > docs/cli.md`"
    )


def test_wrong_usage_exits_with_2(run: Run) -> None:
    assert run("report", "--no-such-option")[0] == 2
    assert run("analyze")[0] == 2
    code, out, err = run("analyze", "calls", "--device", "tpu")
    assert (code, out) == (2, "")
    assert err == "callmood: device is 'tpu'; it must be one of auto, cpu, gpu.\n"


@pytest.mark.parametrize("command", [("report",), ("show", "call-1"), ("sql", "SELECT 1")])
def test_a_missing_database_is_one_sentence_and_exit_1(run: Run, command: tuple[str, ...]) -> None:
    code, out, err = run(*command, "--db", "nowhere.duckdb")
    assert (code, out) == (1, "")
    assert err.startswith("callmood: nowhere.duckdb: no such database; run `callmood analyze` first")
    assert err.count("\n") == 1


def test_a_busy_database_exits_with_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise DatabaseBusyError("calls.duckdb: another process is using the database.")

    monkeypatch.setattr(callmood, "analyze", busy)
    assert run("analyze", "calls")[::2] == (
        4,
        "callmood: calls.duckdb: another process is using the database.\n",
    )


def test_the_environment_names_the_database_and_the_option_beats_it(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLMOOD_DB", str(database))
    assert run("sql", "SELECT 1")[0] == 0
    assert run("sql", "SELECT 1", "--db", "nowhere.duckdb")[0] == 1


# Report


def test_report_prints_a_row_per_call_within_125_columns(reading: Run, database: Path) -> None:
    with Store(database) as store:
        store.write(
            make_result("0123456789abcdef", agent_id="charlotte", started_at=NOON),
            make_run(),
            analyzed_at=NOON,
        )
    code, out, err = reading("report")
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= 125
    heading, *rows = (line.split() for line in out.splitlines())
    assert heading == [
        "call",
        "file",
        "agent",
        "started",
        "length",
        "mood",
        "esc",
        "score",
        "worst",
        "status",
    ]
    assert [row[0] for row in rows] == ["0123456789abcdef", "call-1", "call-3", "call-2"]
    # Valence is +0.81 for happy, which starts the customer's call; the end is half neutral, half angry.
    assert rows[1][1:] == ["call-1.wav", "alice", "0:30", "+0.81", "→", "-0.25", "1", "0.75", "0:27"]
    assert rows[3][1:] == ["call-2.wav", "alice", "-", "-", "-", "-", "-", "unreadable"]


def test_columns_that_no_row_has_are_left_out_of_tables_only(reading: Run) -> None:
    assert "started" not in reading("report")[1]
    assert "started_at" in reading("report", "--csv")[1]


def test_report_in_json_and_csv_holds_the_whole_view(reading: Run) -> None:
    records = json.loads(reading("report", "--json")[1])
    rows = read_csv(reading("report", "--csv")[1])
    assert [record["call_id"] for record in records] == ["call-1", "call-3", "call-2"]
    assert list(records[0]) == list(rows[0])
    assert records[2]["duration_s"] is None
    assert rows[2]["duration_s"] == ""
    assert records[0]["worst_s"] == float(rows[0]["worst_s"]) == 27.0


@pytest.mark.parametrize("arguments", [("--agent", "--json"), ("--json", "--agent"), ("--agent=", "--json")])
def test_agent_without_an_id_means_all_agents(reading: Run, arguments: tuple[str, ...]) -> None:
    code, out, _ = reading("report", *arguments)
    assert code == 0
    assert [record["agent_id"] for record in json.loads(out)] == ["alice", "bob"]


@pytest.mark.parametrize("arguments", [("--agent", "alice", "--json"), ("--json", "--agent=alice")])
def test_agent_with_an_id_is_that_agent_with_all_calls(reading: Run, arguments: tuple[str, ...]) -> None:
    (agent,) = json.loads(reading("report", *arguments)[1])
    assert (agent["agent_id"], agent["calls"], agent["calls_escalated"]) == ("alice", 2, 1)
    assert [call["call_id"] for call in agent["call_summary"]] == ["call-1", "call-2"]


def test_agent_at_the_end_of_the_line_means_all_agents(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLMOOD_DB", str(database))
    out = run("report", "--agent")[1]
    assert [line.split()[0] for line in out.splitlines()] == ["agent", "alice", "bob"]


def test_one_agent_in_the_terminal_is_the_summary_the_measures_and_then_the_calls(reading: Run) -> None:
    summary, *_, calls = reading("report", "--agent", "alice")[1].split("\n\n")
    assert ["escalated", "1", "of", "1"] in [line.split() for line in summary.splitlines()]
    assert [line.split()[0] for line in calls.splitlines()] == ["Calls", "call", "call-1", "call-2"]
    assert [row["call_id"] for row in read_csv(reading("report", "--agent", "alice", "--csv")[1])] == [
        "call-1",
        "call-2",
    ]


def test_an_unknown_agent_exits_with_2(reading: Run) -> None:
    code, _, err = reading("report", "--agent", "bobby")
    assert code == 2
    assert "the nearest are bob, alice" in err


def test_escalations_say_who_when_how_long_and_whether_recovered(reading: Run) -> None:
    rows = reading("report", "--escalations", "--agent", "bob")[1].splitlines()
    assert rows[1].split() == [
        "call-3",
        "bob",
        "sales",
        "S2",
        "customer",
        "0:21",
        "0:27",
        "0:09",
        "0.75",
        "no",
        "silent",
    ]
    assert len(rows) == 2
    assert len(json.loads(reading("report", "--escalations", "--json")[1])) == 2


def test_reports_that_exclude_one_another_are_refused(reading: Run) -> None:
    assert reading("report", "--json", "--csv")[0] == 2
    assert reading("report", "--agent", "--escalations")[0] == 2


def test_limit(reading: Run) -> None:
    assert len(json.loads(reading("report", "--top", "2", "--json")[1])) == 2
    assert reading("report", "--top", "0")[0] == 2


def test_an_empty_report_says_so_to_people_and_stays_parseable(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    Store(path).__exit__(None, None, None)
    assert run("report", "--db", path) == (0, "", "no calls yet; run `callmood analyze`\n")
    assert run("report", "--db", path, "--json")[1] == "[]\n"
    assert run("report", "--db", path, "--csv")[1].startswith("call_id,")
    assert "--metadata" in run("report", "--agent", "--db", path)[2]


# Show


def test_show_prints_turns_trajectory_escalations_and_the_worst_moment(reading: Run) -> None:
    code, out, _ = reading("show", "call-1")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert "worst moment  0:27, S2, negativity 0.75" in out
    assert ["0:07", "0:13", "S2", "customer", "happy", "100%", "0.00"] in rows
    assert ["0:14", "0:16", "S1", "agent", "-", "-", "-"] in rows
    # One bar per second: the customer's windows are centred at 8, 10, 21 and 27 s.
    (bars,) = [line for line in out.splitlines() if line.startswith("S2 customer   ") and "▁" in line]
    assert bars[14:] == " " * 8 + "▁ ▁" + " " * 10 + "▃" + " " * 5 + "▇"
    assert rows[-1] == ["S2", "customer", "0:21", "0:27", "0:09", "0.75", "no", "silent"]


def test_show_of_a_call_without_results_says_why(reading: Run) -> None:
    code, out, _ = reading("show", "call-2")
    assert code == 0
    assert "error         /calls/call-2.wav: no audio." in out
    assert "Turns" not in out


def test_show_in_json_holds_the_views_by_name(reading: Run) -> None:
    shown = json.loads(reading("show", "/calls/call-1.wav", "--json")[1])
    assert shown["call_summary"]["call_id"] == "call-1"
    assert [len(shown[name]) for name in ("speaker_summary", "turns", "trajectory", "escalations")] == [
        2,
        4,
        5,
        1,
    ]
    assert shown["turns"][2]["p_angry"] is None
    assert [moment["why"] for moment in shown["moments"]] == ["escalation"]
    assert shown["why"][0].startswith("Flagged, since")


def test_show_begins_with_why_the_call_was_flagged(reading: Run) -> None:
    code, out, _ = reading("show", "call-1", "--why")
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith("Flagged, since the negativity of S2 customer rises by 0.75")
    assert second.startswith("The call's score is 0.75; ")
    assert reading("show", "call-1")[1].startswith(f"{out}\ncall ")
    (row,) = read_csv(reading("show", "call-1", "--why", "--csv")[1])
    assert row["call_id"] == "call-1"
    assert f"{row['why']}\n{row['heard']}\n" == out


def test_the_play_list_is_a_table_of_times(reading: Run) -> None:
    heading, row = reading("show", "call-1", "--play-list")[1].splitlines()
    assert heading.split() == ["from", "to", "who", "why", "peak", "strength"]
    assert row.split() == ["0:19", "0:30", "S2", "customer", "escalation", "0:27", "0.75"]
    (record,) = json.loads(reading("show", "call-1", "--play-list", "--json")[1])
    assert (record["start_s"], record["end_s"], record["why"]) == (19.0, 30.0, "escalation")
    assert read_csv(reading("show", "call-1", "--play-list", "--csv")[1])[0]["speaker"] == "S2"
    assert reading("show", "call-2", "--play-list") == (0, "", "nobody's emotion was inferred in it\n")


def test_a_plot_is_a_file_and_nothing_else(reading: Run, tmp_path: Path) -> None:
    assert reading("show", "call-1", "--plot", tmp_path / "plot.png") == (0, "", "")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    for options in (("--why", "--play-list"), ("--why", "--plot", "x.png"), ("--plot", "x.png", "--json")):
        assert reading("show", "call-1", *options)[0] == 2


def test_the_page_is_a_file_and_excludes_other_reports(reading: Run, tmp_path: Path) -> None:
    assert reading("report", "--html", tmp_path / "r.html", "--top", "1") == (0, "", "")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").count("<article") == 1
    for options in (("--agent",), ("--agent", "alice"), ("--escalations",), ("--json",), ("--csv",)):
        code, out, err = reading("report", "--html", tmp_path / "r.html", *options)
        assert (code, out) == (2, "")
        assert "--html is one page of all" in err


def test_export_writes_text_files_or_a_snapshot(reading: Run, tmp_path: Path) -> None:
    code, out, err = reading("export", "call-1", "--format", "webvtt")
    assert (code, out.splitlines()[0], err) == (0, "WEBVTT", "")
    assert reading("export", "--format", "rttm")[1].count("SPEAKER") == 8
    assert reading("export", "--format", "audacity", "--out", "labels") == (
        0,
        "",
        "wrote 2 files to labels\n",
    )
    assert reading("export", "--snapshot", "copy.duckdb") == (0, "", "")
    assert calls_in(tmp_path / "copy.duckdb") == 3
    for options, said in (
        ((), "Give either --format"),
        (("--format", "rttm", "--snapshot", "x"), "Give either --format"),
        (("call-1", "--snapshot", "x"), "leave out CALLS and --out"),
        (("--format", "srt"), "There is no format 'srt'"),
        (("call-9", "--format", "rttm"), "There is no call 'call-9'"),
    ):
        code, out, err = reading("export", *options)
        assert (code, out) == (2, "")
        assert said in err


def calls_in(database: Path) -> int:
    with callmood.connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM call_summary").fetchone()[0])


def test_show_of_an_unknown_call_exits_with_2(reading: Run) -> None:
    code, out, err = reading("show", "call-9")
    assert (code, out) == (2, "")
    assert "call-1, call-2, call-3" in err


@pytest.mark.parametrize(("value", "bar"), [(0.0, "▁"), (0.124, "▁"), (0.126, "▂"), (0.5, "▅"), (1.0, "█")])
def test_bars_stand_for_eighths(value: float, bar: str) -> None:
    assert bar_of(value) == bar


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (187.2, "3:07"), (3787, "1:03:07"), (None, "-")]
)
def test_clock(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


# SQL, and what all output has in common


def test_sql_values_are_plain_in_json_and_csv(reading: Run) -> None:
    query = (
        "SELECT TIMESTAMPTZ '2026-03-02 12:00:00+00' AS t, NULL AS n, 'nan'::DOUBLE AS x, [1, 2] AS l, "
        "{'a': 1.5} AS s, true AS b, DATE '2026-03-02' AS d, 1.5::DECIMAL(4, 2) AS m"
    )
    (record,) = json.loads(reading("sql", query, "--json")[1])
    assert record["t"][:4] == "2026"
    assert record["t"][-6] in "+-"
    del record["t"]
    assert record == {
        "n": None,
        "x": None,
        "l": [1, 2],
        "s": {"a": 1.5},
        "b": True,
        "d": "2026-03-02",
        "m": 1.5,
    }
    (row,) = read_csv(reading("sql", query, "--csv")[1])
    assert (row["n"], row["x"], row["l"], row["b"], row["d"], row["m"]) == (
        "",
        "",
        "[1, 2]",
        "true",
        "2026-03-02",
        "1.5",
    )


def test_sql_that_writes_or_is_wrong_exits_with_2(reading: Run, database: Path) -> None:
    for query in ("DELETE FROM calls", "SELECT 1; SELECT 2", "SELECT nothing FROM calls"):
        code, out, err = reading("sql", query)
        assert (code, out) == (2, "")
        assert err.startswith("callmood: ")
        assert err.count("\n") == 1
    assert json.loads(reading("sql", "SELECT count(*) AS n FROM calls", "--json")[1]) == [{"n": 3}]


def test_csv_disarms_formulas_in_texts_but_not_numbers(reading: Run) -> None:
    query = (
        "SELECT '=1+1' AS a, '+1' AS b, '-1' AS c, '@x' AS d, chr(9) AS e, -1 AS f, 'a=b' AS g, '2' AS \"=h\""
    )
    header, row = list(csv.reader(io.StringIO(reading("sql", query, "--csv")[1])))
    assert header == ["a", "b", "c", "d", "e", "f", "g", "'=h"]
    assert row == ["'=1+1", "'+1", "'-1", "'@x", "'\t", "-1", "a=b", "2"]


def test_tables_and_sentences_cannot_steer_the_terminal(reading: Run, database: Path) -> None:
    with Store(database) as store:
        store.write(make_result("evil\x1b[2J\x07", agent_id="\u202eecila\nbob"), make_run(), analyzed_at=NOON)
    for arguments in (("report",), ("report", "--agent"), ("show", "evil"), ("sql", "SELECT * FROM calls")):
        code, out, _ = reading(*arguments)
        assert code == 0
        assert "\\x1b[2J" in out or "\\u202e" in out
        assert all(char.isprintable() for char in out.replace("\n", ""))
    err = reading("show", "\x1b[2J")[2]
    assert "\x1b" not in err
    found = json.loads(reading("sql", "SELECT call_id FROM calls ORDER BY 1 DESC", "--json")[1])
    assert found[0]["call_id"] == "evil\x1b[2J\x07"


def test_rich_markup_in_texts_is_shown_as_it_is(reading: Run) -> None:
    assert "[red]x[/red]" in reading("sql", "SELECT '[red]x[/red]' AS a")[1]


@pytest.mark.parametrize(("no_color", "bold"), [("", True), ("1", False)])
def test_styles_appear_on_terminals_only_and_not_under_no_color(
    database: Path, no_color: str, bold: bool
) -> None:
    command = [sys.executable, "-m", "callmood", "report", "--db", str(database)]
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm", "COLUMNS": "100"}
    main_end, terminal = pty.openpty()
    on_terminal = subprocess.run(command, stdout=terminal, env=environment, cwd=ROOT)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(main_end, 4096):
            shown += chunk
    except OSError:
        pass  # Linux ends a terminal that nobody holds any more so
    os.close(main_end)
    assert on_terminal.returncode == 0
    assert b"call-1" in shown
    assert (b"\x1b[" in shown) is bold
    piped = subprocess.run(command, capture_output=True, env=environment, cwd=ROOT)
    assert b"call-1" in piped.stdout
    assert b"\x1b" not in piped.stdout


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_a_reader_that_leaves_early_causes_no_noise(database: Path, form: str) -> None:
    query = "SELECT * FROM range(200000)"
    command = [sys.executable, "-m", "callmood", "sql", query, form, "--db", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# Analyze


def make_summary(**changes: Any) -> RunSummary:
    values = {
        "run_id": "run-1",
        "emotion_for": "everyone",
        "found": 11,
        "analyzed": 11,
        "already_known": 0,
        "failures": (),
        "truncated": (),
        "skipped": 0,
        "duplicates": 0,
        "other_settings": 0,
        "warnings": (),
        "audio_s": 1440.0,
        "wall_s": 52.4,
    }
    return RunSummary(**(values | changes))


def failed(number: int) -> CallResult:
    call_id = f"bad-{number}"
    return CallResult(
        recording=make_recording(call_id), status="unreadable", error=f"/calls/{call_id}.wav: no audio."
    )


@pytest.fixture
def analyzing(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `analyze` with a hand-made outcome."""

    def analyzing(summary: RunSummary, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(callmood, "analyze", lambda *_, **__: summary)
        return run("analyze", "calls", *arguments)

    return analyzing


def test_analyze_hands_on_paths_and_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def analyze(*paths: str, **options: Any) -> RunSummary:
        seen.update(options, paths=paths)
        return make_summary()

    monkeypatch.setattr(callmood, "analyze", analyze)
    run(
        "analyze",
        "a",
        "b",
        "--force",
        "--quiet",
        "--emotion-for",
        "customer",
        "--jobs",
        "2",
        "--pattern",
        "{call_id}",
    )
    given = {name: value for name, value in seen.items() if value is not None and name != "stopping"}
    assert given == {
        "paths": ("a", "b"),
        "force": True,
        "stale": False,
        "include_purged": False,
        "emotion_for": "customer",
        "jobs": 2,
        "pattern": "{call_id}",
    }


def test_analyze_says_what_it_did(analyzing: Run) -> None:
    code, out, err = analyzing(make_summary(already_known=3, skipped=1, duplicates=2))
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "skipped 1 file without audio",
        "left out 2 files with the content of another",
        "emotions of everyone were inferred; --emotion-for customer leaves agents out",
        "analyzed 11 recordings (24.0 min) in 52 s; 0 failed; 3 already known",
    ]


def test_analyze_says_when_there_is_nothing_new_and_how_to_redo(analyzing: Run) -> None:
    code, _, err = analyzing(make_summary(analyzed=0, already_known=11, other_settings=2, audio_s=0.0))
    assert code == 0
    assert err.splitlines() == [
        "2 recordings had been analyzed with other settings or another model and stayed as they were; "
        "--stale analyzes them again",
        "nothing new: 11 recordings already known",
    ]


@pytest.mark.parametrize("whose", ["customers alone", "agents alone", "everyone"])
def test_analyze_says_whose_emotions_were_inferred(analyzing: Run, whose: str) -> None:
    summary = make_summary(emotion_for=whose.split()[0].removesuffix("s"))
    assert f"emotions of {whose}" in analyzing(summary)[2]


def test_failures_are_told_one_by_one_and_exit_with_3(analyzing: Run) -> None:
    failures = tuple(failed(number) for number in range(25))
    code, _, err = analyzing(make_summary(failures=failures, warnings=("metadata.csv: no date.",)))
    said = err.splitlines()
    assert code == 3
    assert said[0] == "warning: metadata.csv: no date."
    assert said[1] == "/calls/bad-0.wav: no audio."
    assert said[20] == "/calls/bad-19.wav: no audio."
    assert said[21].startswith("and 5 more; see `callmood sql ")
    assert "25 failed" in said[-1]


def test_the_query_that_lists_failures_lists_them(analyzing: Run, reading: Run) -> None:
    err = analyzing(make_summary(failures=tuple(failed(number) for number in range(21))))[2]
    query = err.split('callmood sql "')[1].split('"')[0]
    assert json.loads(reading("sql", query, "--json")[1]) == [
        {"path": "/calls/call-2.wav", "status": "unreadable", "error": "/calls/call-2.wav: no audio."}
    ]


def test_a_truncated_recording_is_told_with_the_seconds_lost(analyzing: Run) -> None:
    result = replace(make_result("cut"), error="/calls/cut.wav: truncated, 12.3 s of it did not decode.")
    code, _, err = analyzing(make_summary(truncated=(result,)))
    assert code == 0
    assert "/calls/cut.wav: truncated, 12.3 s of it did not decode." in err
    assert "0 failed, 1 truncated" in err


def test_quiet_leaves_failures_only(analyzing: Run) -> None:
    assert analyzing(make_summary(), "--quiet") == (0, "", "")
    assert analyzing(make_summary(failures=(failed(1),)), "--quiet") == (
        3,
        "",
        "/calls/bad-1.wav: no audio.\n",
    )


def test_analyze_in_json(analyzing: Run) -> None:
    code, out, _ = analyzing(make_summary(failures=(failed(1),), skipped=4), "--json")
    summary = json.loads(out)
    assert code == summary["exit_code"] == 3
    assert (summary["analyzed"], summary["failed"], summary["skipped"]) == (11, 1, 4)
    assert summary["failures"] == [
        {
            "call_id": "bad-1",
            "path": "/calls/bad-1.wav",
            "status": "unreadable",
            "error": "/calls/bad-1.wav: no audio.",
        }
    ]


def test_an_interrupted_run_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(callmood, "analyze", interrupted)
    assert run("analyze", "calls") == (
        130,
        "",
        "interrupted; finished recordings are kept, run again to go on\n",
    )


def step(done: int, *, audio_s: float) -> Progress:
    return Progress(done=done, total=900, audio_s=audio_s, result=make_result())


def test_progress_lines_come_every_half_minute_at_most() -> None:
    written: list[str] = []
    clock_s = iter([0.0, 1.0, 29.0, 40.0, 50.0, 80.0, 800.0])
    callback = lines(written.append, clock_s=lambda: next(clock_s))
    for done in (1, 2, 60, 61, 90, 900):
        callback(step(done, audio_s=60.0 * done))
    assert written == [
        "60 of 900 recordings, 1.0 h of audio, 90 x real time, about 9 min left",
        "90 of 900 recordings, 1.5 h of audio, 68 x real time, about 12 min left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_calls_hours_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with progress_shown(quiet=False) as callback:
        assert callback is not None
        callback(step(300, audio_s=7200.0))
    shown = terminal.getvalue()
    assert "300/900" in shown
    assert "2.0 h of audio" in shown
    assert "x real time" in shown
    assert "left" in shown


def test_quiet_shows_no_progress() -> None:
    with progress_shown(quiet=True) as callback:
        assert callback is None


# Classify, config, doctor


def test_classify_names_emotions_and_reports_files_that_fail(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def classify(paths: list[str], *, models: str | None) -> list[SimpleNamespace]:
        (path,) = paths
        assert models == "folder"
        if path == "bad.wav":
            raise RecordingError("bad.wav: no audio.")
        heard = path == "angry.wav"
        return [
            SimpleNamespace(
                emotion="angry" if heard else None,
                confidence=1.0 if heard else None,
                probabilities=certain("angry")[0] if heard else np.full(7, np.nan, dtype=np.float32),
                duration_s=2.5,
                speech_s=2.0 if heard else 0.0,
            )
        ]

    monkeypatch.setattr(callmood, "classify", classify)
    files = ("angry.wav", "bad.wav", "silent.wav", "--models", "folder")
    code, out, err = run("classify", *files, "--json")
    angry, silent = json.loads(out)
    assert (code, err) == (3, "callmood: bad.wav: no audio.\n")
    assert (angry["path"], angry["emotion"], angry["p_angry"], angry["speech_s"]) == (
        "angry.wav",
        "angry",
        1.0,
        2.0,
    )
    assert (silent["emotion"], silent["confidence"], silent["p_angry"]) == (None, None, None)
    assert run("classify", "angry.wav", "--models", "folder")[0] == 0
    assert "no speech" in run("classify", *files)[1]


def test_diarize_prints_turns_and_rttm_and_reports_files_that_fail(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_turns(path: str, **settings: Any) -> Diarization:
        assert settings["speakers"] == "auto"
        if path == "bad.wav":
            raise RecordingError("bad.wav: no audio.")
        turn = Turn(speaker="S2", channel=1, start_s=0.5, end_s=2.0, overlap_s=0.25)
        silent = path == "silent.wav"
        return Diarization(turns=() if silent else (turn,), engine="x", lost_s=1.25 if silent else 0.0)

    monkeypatch.setattr(callmood, "find_turns", find_turns)
    files = ("my call.wav", "bad.wav", "--speakers", "auto")
    code, out, err = run("diarize", *files, "--json")
    assert (code, err) == (3, "callmood: bad.wav: no audio.\n")
    assert json.loads(out) == [
        {
            "path": "my call.wav",
            "speaker": "S2",
            "channel": 1,
            "start_s": 0.5,
            "end_s": 2.0,
            "overlap_s": 0.25,
            "confidence": None,
        }
    ]
    assert run("diarize", *files, "--rttm")[1] == ("SPEAKER my_call 2 0.500 1.500 <NA> <NA> S2 <NA> <NA>\n")
    assert run("diarize", files[0], "--speakers", "auto")[0] == 0
    code, _, err = run("diarize", "silent.wav", "--speakers", "auto")
    assert (code, err.splitlines()) == (
        0,
        [
            "no turns",
            "callmood: silent.wav: no speech.",
            "callmood: silent.wav: truncated, at least 1.2 s did not decode; fetch it again.",
        ],
    )
    code, out, err = run("diarize", "a/call.wav", "b/call.mp3", "--rttm")
    assert (code, out) == (2, "")
    assert "several files are called call" in err
    code, out, err = run("diarize", *files, "--rttm", "--csv")
    assert (code, out) == (2, "")
    assert "exclude one another" in err


def test_config_says_where_each_setting_comes_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("callmood.toml").write_text("jobs = 3\n")
    monkeypatch.setenv("CALLMOOD_DB", "here.duckdb")
    effective = {record["name"]: record for record in json.loads(run("config", "--json")[1])}
    assert effective["db"] == {"name": "db", "value": "here.duckdb", "source": "CALLMOOD_DB"}
    assert effective["jobs"] == {"name": "jobs", "value": 3, "source": "callmood.toml"}
    assert effective["device"] == {"name": "device", "value": "auto", "source": "default"}
    rows = [line.split() for line in run("config")[1].splitlines()]
    assert ["jobs", "3", "callmood.toml"] in rows


def checks(out: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(out)}


def test_doctor_is_content_where_the_default_path_works(run: Run, database: Path) -> None:
    code, out, _ = run("doctor", "--json", "--db", database)
    found = checks(out)
    assert code == 0, out
    assert found["callmood"]["found"] == callmood.__version__
    assert (
        found["tensorflow"]["state"] == found["ffmpeg"]["state"] == found["diarizer builtin"]["state"] == "ok"
    )
    assert found["model emotion.weights.h5"]["state"] == "ok"
    assert found["database"]["found"] == f"{database}: schema {len(MIGRATIONS)}, 3 calls"


def test_doctor_does_not_load_tensorflow() -> None:
    script = (
        "import sys\nfrom callmood.report.doctor import examine\nfrom callmood.settings import Settings\n"
        "examine(Settings())\nsys.exit(str({'tensorflow', 'torch', 'librosa'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip() == ""


def test_doctor_exits_with_1_where_a_model_was_changed(run: Run, model_copy: Path) -> None:
    with (model_copy / "emotion.weights.h5").open("ab") as stream:
        stream.write(b"x")
    code, out, _ = run("doctor", "--json", "--models", model_copy)
    check = checks(out)["model emotion.weights.h5"]
    assert code == 1
    assert check["state"] == "problem"
    assert "SHA-256 differs" in check["found"]
    assert "--models" in check["advice"]
    assert checks(out)["database"]["state"] == "ok"


def test_doctor_tells_a_missing_manifest_and_a_broken_database(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.duckdb").write_text("no database")
    code, out, _ = run("doctor", "--json", "--db", tmp_path / "broken.duckdb", "--models", tmp_path)
    found = checks(out)
    assert code == 1
    assert "manifest.json: no readable model manifest" in found["models"]["found"]
    assert found["database"]["state"] == "problem"


def test_doctor_minds_pyannote_only_where_it_is_chosen(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CALLMOOD_PYANNOTE_PIPELINE", str(tmp_path / "nowhere"))
    code, out, _ = run("doctor", "--json")
    assert (code, checks(out)["diarizer pyannote"]["state"]) == (0, "absent")
    monkeypatch.setenv("CALLMOOD_DIARIZER", "pyannote")
    code, out, _ = run("doctor", "--json")
    assert (code, checks(out)["diarizer pyannote"]["state"]) == (1, "problem")
    assert checks(out)["diarizer pyannote"]["advice"]
