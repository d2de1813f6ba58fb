"""Run after run on one database, with a stand-in for the networks: what is redone, left, retried and published."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import duckdb
import pytest
from audio import voice, write_wav

import callmood
from benchmarks import kills
from benchmarks.kills import stand_in_work
from callmood import workers
from callmood.batch import Snapshots
from callmood.discover.settled import Looks, open_for_writing
from callmood.errors import DatabaseBusyError, DatabaseError, Exit, StoppedError
from callmood.limits import LimitExceeded
from callmood.monitor import LogWarning
from callmood.results import connect
from callmood.results.publish import half_path, snapshot_path
from callmood.results.read import SnapshotWarning
from callmood.results.store import Store
from callmood.run import Progress, RunSummary
from callmood.settings import Settings
from callmood.stopping import Stopping
from callmood.types import CallResult, Recording

ROOT = Path(__file__).resolve().parents[1]

Analyze = Callable[..., RunSummary]


def work_or_trouble(recording: Recording, settings: Settings) -> CallResult:
    """The stand-in's result; where a file of that name lies beside the recording, trouble of that kind."""
    folder = recording.path.parent
    if (folder / f"{recording.path.name}.kill").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / f"{recording.path.name}.slow").exists():
        return workers.within_limits(recording, settings, never)
    if (folder / f"{recording.path.name}.grow").exists():
        with recording.path.open("ab") as file:
            file.write(b"more")
    return stand_in_work(recording, settings)


def never() -> CallResult:
    raise LimitExceeded("took longer than 1 s (--max-seconds-per-call)")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A folder with four calls of 2 s, changed an hour ago."""
    folder = tmp_path / "calls"
    folder.mkdir()
    for number in range(4):
        aged(write_wav(folder / f"{number}.wav", voice(seconds=2.0, seed=number)))
    return folder


def aged(path: Path) -> Path:
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    return path


@pytest.fixture
def analyze(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Analyze:
    # Workers cannot import these, so they travel by value.
    for module in (sys.modules[__name__], kills):
        cloudpickle.register_pickle_by_value(module)
    monkeypatch.setattr(workers, "_work", work_or_trouble)

    def analyze(**options: Any) -> RunSummary:
        return callmood.analyze(calls, **({"db": str(tmp_path / "x.duckdb"), "jobs": 1} | options))

    return analyze


@pytest.fixture
def statuses(tmp_path: Path) -> Callable[[], dict[str, str]]:
    def statuses() -> dict[str, str]:
        with connect(tmp_path / "x.duckdb") as connection:
            rows = connection.execute("SELECT path, status FROM calls").fetchall()
        return {Path(path).name: status for path, status in rows}

    return statuses


# What is redone


def test_stale_redoes_what_other_settings_made_and_nothing_else(analyze: Analyze, calls: Path) -> None:
    analyze()
    write_wav(calls / "late.wav", voice(seconds=2.0, seed=9))

    left = analyze(escalation_threshold=2.0)
    redone = analyze(escalation_threshold=2.0, stale=True)
    again = analyze(escalation_threshold=2.0, stale=True)

    assert (left.analyzed, left.other_settings, left.already_known) == (1, 4, 4)
    assert (redone.analyzed, redone.other_settings, redone.already_known) == (4, 0, 1)
    assert (again.analyzed, again.other_settings) == (0, 0)


def test_results_say_by_which_settings_and_model_they_were_made(analyze: Analyze, tmp_path: Path) -> None:
    analyze()
    with connect(tmp_path / "x.duckdb") as connection:
        found = connection.execute(
            "SELECT count(*) FROM calls JOIN runs USING (run_id, settings_hash, model_hash)"
        ).fetchone()

    assert found == (4,)


def test_moved_and_renamed_files_are_known(analyze: Analyze, calls: Path, statuses) -> None:
    analyze()
    (calls / "sub").mkdir()
    (calls / "0.wav").rename(calls / "sub" / "other.wav")

    again = analyze()

    assert (again.analyzed, again.already_known) == (0, 4)
    assert sorted(statuses()) == ["1.wav", "2.wav", "3.wav", "other.wav"]


# Failures and their repetition


def test_quarantined_and_failed_calls_are_retried_and_unreadable_ones_where_asked(
    analyze: Analyze, calls: Path, tmp_path: Path, statuses
) -> None:
    (calls / "0.wav.kill").touch()
    (calls / "1.wav.slow").touch()
    (calls / "text.wav").write_text("no audio")
    analyze()
    before = statuses()
    (calls / "0.wav.kill").unlink()
    (calls / "1.wav.slow").unlink()

    first = callmood.retry(db=str(tmp_path / "x.duckdb"), jobs=1)
    second = callmood.retry(db=str(tmp_path / "x.duckdb"), jobs=1)
    third = callmood.retry(db=str(tmp_path / "x.duckdb"), jobs=1, unreadable=True)

    assert before == {
        "0.wav": "quarantined",
        "1.wav": "failed",
        "2.wav": "ok",
        "3.wav": "ok",
        "text.wav": "unreadable",
    }
    assert statuses() == before | {"0.wav": "ok", "1.wav": "ok"}
    assert (first.analyzed, len(first.failures)) == (2, 0)
    assert (second.found, second.analyzed) == (0, 0)
    assert (third.analyzed, third.exit_code) == (1, Exit.SOME_FAILED)


def test_a_call_whose_file_has_gone_is_not_retried_and_stays(
    analyze: Analyze, calls: Path, tmp_path: Path, statuses
) -> None:
    (calls / "0.wav.slow").touch()
    analyze()
    (calls / "0.wav").unlink()

    summary = callmood.retry(db=str(tmp_path / "x.duckdb"), jobs=1)

    assert (summary.analyzed, summary.already_known) == (0, 1)
    assert "0.wav: not there any more" in summary.warnings[0]
    assert statuses()["0.wav"] == "failed"


def test_retry_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no such database"):
        callmood.retry(db=str(tmp_path / "none.duckdb"))
    assert not (tmp_path / "none.duckdb").exists()


# Files that are being written


def test_a_file_that_a_writer_holds_open_waits_for_the_next_run(
    analyze: Analyze, calls: Path, statuses
) -> None:
    with (calls / "0.wav").open("ab"):
        first = analyze()
    second = analyze()

    assert (first.analyzed, first.writing, first.exit_code) == (3, 1, Exit.OK)
    assert "0.wav: still being written" in first.warnings[0]
    assert (second.analyzed, second.writing) == (1, 0)
    assert len(statuses()) == 4


def test_a_reader_is_no_writer(calls: Path) -> None:
    with (calls / "0.wav").open("rb"), (calls / "1.wav").open("r+b"):
        assert open_for_writing([calls / "0.wav", calls / "1.wav"]) == {calls / "1.wav"}


def test_a_file_that_changes_while_it_is_analyzed_waits_for_the_next_run(
    analyze: Analyze, calls: Path, statuses
) -> None:
    (calls / "0.wav.grow").touch()
    first = analyze()
    (calls / "0.wav.grow").unlink()
    second = analyze()

    assert (first.analyzed, first.writing) == (3, 1)
    assert (second.analyzed, second.writing) == (1, 0)
    assert set(statuses().values()) == {"ok"}


def test_a_recent_file_is_looked_at_twice_and_taken_where_it_stays_the_same(calls: Path) -> None:
    looks = Looks(lambda path: "hash")
    still, growing, old = (calls / f"{number}.wav" for number in range(3))
    for path in (still, growing):
        path.touch()
    for path in (still, growing, old):
        looks.hash(path)
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        growing.write_bytes(growing.read_bytes() + b"more")

    assert looks.unsettled([still, growing, old], now_s=time.time(), pause=pause) == {growing}
    assert paused == [1.0]


def test_old_files_are_not_waited_for(calls: Path) -> None:
    looks = Looks(lambda path: "hash")
    looks.hash(calls / "0.wav")

    def pause(seconds: float) -> None:
        raise AssertionError

    assert looks.unsettled([calls / "0.wav"], now_s=time.time(), pause=pause) == set()


def test_an_empty_file_that_a_writer_holds_open_waits_for_the_next_run(
    analyze: Analyze, calls: Path, statuses
) -> None:
    aged(calls / "0.wav").write_bytes(b"")
    with (calls / "0.wav").open("ab"):
        first = analyze()
    second = analyze()

    assert (first.analyzed, first.writing, first.exit_code) == (3, 1, Exit.OK)
    assert (second.analyzed, second.exit_code) == (1, Exit.SOME_FAILED)
    assert statuses()["0.wav"] == "empty"


# Ending early


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_run_whose_time_is_up_begins_nothing_and_waits_a_while_for_what_is_at_hand() -> None:
    clock = Clock()
    stopping = Stopping(max_runtime_s=10, finish_within_s=5, clock_s=clock)
    seen = []
    for clock.now_s in (100.0, 109.9, 110.0, 114.9, 115.0):
        seen.append((stopping.due, stopping.overdue))

    assert seen == [(False, False), (False, False), (True, False), (True, False), (True, True)]


def test_a_run_that_is_asked_to_end_waits_from_then_on() -> None:
    clock = Clock()
    stopping = Stopping(finish_within_s=5, clock_s=clock)
    clock.now_s = 200.0
    before = stopping.due
    stopping.ask()
    clock.now_s = 204.0
    during = (stopping.due, stopping.overdue)
    stopping.ask()  # once more does not put the end off
    clock.now_s = 205.0

    assert (before, during, stopping.overdue) == (False, (True, False), True)


def test_what_is_left_is_told_and_done_by_the_next_run(analyze: Analyze, statuses) -> None:
    stopping = Stopping()

    def ask(_: Progress) -> None:
        stopping.ask()

    first = analyze(progress=ask, stopping=stopping)
    second = analyze()

    assert first.analyzed + first.left == 4
    assert first.left > 0
    assert first.exit_code == Exit.INTERRUPTED
    assert (second.analyzed, second.exit_code) == (first.left, Exit.OK)
    assert len(statuses()) == 4


def test_a_run_that_is_to_end_reads_no_further_file_and_says_so(analyze: Analyze) -> None:
    stopping = Stopping()
    stopping.ask()
    with pytest.raises(StoppedError, match="asked to end before all files were looked at") as asked:
        analyze(stopping=stopping)
    clock = Clock()
    late = Stopping(max_runtime_s=10, clock_s=clock)
    clock.now_s = 200.0
    with pytest.raises(StoppedError, match="--max-runtime is over before"):
        analyze(stopping=late)

    assert asked.value.exit_code == 130
    assert analyze().analyzed == 4


def test_waiting_for_the_database_ends_when_the_run_is_to_end(analyze: Analyze, database: Path) -> None:
    held = holding(database)
    stopping = Stopping()
    threading.Timer(1.0, stopping.ask).start()
    try:
        with pytest.raises(DatabaseBusyError):
            analyze(db=str(database), wait=600, stopping=stopping)
    finally:
        held.communicate("")


RUN = """
import sys
sys.path.insert(0, "tests")
import cloudpickle
import test_runs
from callmood import workers
from callmood.batch import Snapshots
from callmood.cli import main
cloudpickle.register_pickle_by_value(test_runs)
workers._work = test_runs.slow_work
main(sys.argv[1:])
"""


def slow_work(recording: Recording, settings: Settings) -> CallResult:
    """Takes two seconds, and says when it began."""
    recording.path.with_suffix(".begun").touch()
    time.sleep(2.0)
    return CallResult(recording=recording, status="empty")


@pytest.mark.skipif(sys.platform != "linux", reason="signals of groups")
def test_sigterm_to_the_whole_group_lets_the_calls_at_hand_finish(calls: Path, tmp_path: Path) -> None:
    run = subprocess.Popen(
        [
            *(sys.executable, "-c", RUN, "analyze", str(calls), "--db", str(tmp_path / "x.duckdb")),
            *("--jobs", "1", "--one-line"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        process_group=0,
    )
    until_s = time.monotonic() + 60
    while not list(calls.glob("*.begun")) and time.monotonic() < until_s:
        time.sleep(0.05)
    # As systemd and `kill -TERM -GROUP` do: the workers get it too.
    os.killpg(run.pid, signal.SIGTERM)
    out, err = run.communicate(timeout=90)

    assert run.returncode == 130
    assert "asked to end: finishing the calls at hand" in err
    with duckdb.connect(str(tmp_path / "x.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT status, count(*) FROM calls GROUP BY 1").fetchall()
    ((status, count),) = found
    assert (status, 1 <= count < 4) == ("empty", True)
    assert f"callmood: {count} analyzed" in out
    assert f"{4 - count} left" in out


# One writer, many readers


def holding(database: Path) -> subprocess.Popen[str]:
    """A process that holds a database as a run does, until its standard input ends."""
    program = (
        "import sys; from callmood.results.store import Store\n"
        "with Store(sys.argv[1]) as store:\n"
        "    store.publish(); print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_second_writer_is_told_process_host_and_user_or_waits(database: Path) -> None:
    held = holding(database)
    try:
        with pytest.raises(DatabaseBusyError, match=rf"PID {held.pid} on \S+, -c of \S+ since 20") as refused:
            Store(database)
        assert refused.value.exit_code == 4
        threading.Timer(1.0, held.communicate, args=("",)).start()
        with Store(database, wait_s=30) as store:
            assert len(store.known_calls()) == 3
    finally:
        held.wait(30)
    assert not (database.parent / "calls.duckdb.holder").exists()


def test_readers_get_the_snapshot_while_a_run_writes(database: Path) -> None:
    held = holding(database)
    try:
        with pytest.warns(SnapshotWarning, match="is being written to; this is its snapshot of 20"):
            connection = connect(database)
        with connection:
            assert connection.execute("SELECT count(*) FROM call_summary").fetchone() == (3,)
            # The old file stays whole for who has it open while a new one takes its place.
            before = snapshot_path(database).stat().st_ino
            shutil.copy(snapshot_path(database), database.parent / "new")
            (database.parent / "new").replace(snapshot_path(database))
            assert snapshot_path(database).stat().st_ino != before
            assert connection.execute("SELECT count(*) FROM turns").fetchone() == (8,)
    finally:
        held.communicate("")


def test_publishing_does_not_give_the_lock_away(database: Path) -> None:
    held = holding(database)
    try:
        with pytest.raises(DatabaseBusyError):
            Store(database)
    finally:
        held.communicate("")


def test_a_run_publishes_what_it_committed(analyze: Analyze, tmp_path: Path) -> None:
    seen: list[int] = []

    def count(_: Progress) -> None:
        with duckdb.connect(str(tmp_path / "x.snapshot.duckdb"), read_only=True) as connection:
            seen.append(connection.execute("SELECT count(*) FROM calls").fetchone()[0])

    analyze(progress=count, snapshot_every=1)
    with duckdb.connect(str(tmp_path / "x.snapshot.duckdb"), read_only=True) as connection:
        last = connection.execute(
            "SELECT count(*), count(finished_at) FROM calls JOIN runs USING (run_id)"
        ).fetchone()

    # Never ahead of what was committed, and complete once the run is over.
    assert all(0 <= count <= number for number, count in enumerate(seen, start=1))
    assert last == (4, 4)


def test_what_is_deleted_does_not_live_on_in_the_snapshot(database: Path) -> None:
    from conftest import NOON, make_result, make_run

    with Store(database) as store:
        store.publish()
    with Store(database) as store:
        store.write(make_result("call-7"), make_run(), analyzed_at=NOON, supersedes=["call-1"])

    with duckdb.connect(str(snapshot_path(database)), read_only=True) as connection:
        ids = connection.execute("SELECT call_id FROM calls ORDER BY 1").fetchall()
    assert ids == [("call-2",), ("call-3",), ("call-7",)]


def test_copies_that_a_killed_run_began_are_removed(database: Path) -> None:
    halves = [half_path(snapshot_path(database)), half_path(database.with_name("other.snapshot.duckdb"))]
    for half in halves:
        half.write_bytes(b"half")

    with Store(database):
        pass

    # The other one is of another database, whose writer may be at it.
    assert [half.exists() for half in halves] == [False, True]


def test_snapshots_that_take_long_come_less_often(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, published = [1000.0], []
    monkeypatch.setattr("callmood.batch.time.monotonic", lambda: now_s[0])

    def publish(store: Store) -> None:
        published.append(now_s[0])
        now_s[0] += 30.0

    monkeypatch.setattr(Store, "publish", publish)
    with Store(database) as store:
        snapshots = Snapshots(store, every_s=300, warnings=[])
        snapshots.publish()
        # Twenty times what the last one took, from its end: at 1630, not at 1330.
        for now_s[0] in (1330.0, 1629.0, 1631.0):
            snapshots.publish_if_due()

    assert published == [1000.0, 1631.0]


def test_a_call_that_the_database_does_not_take_fails_alone(
    analyze: Analyze, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Store.write_all

    def spoiled(result: CallResult) -> CallResult:
        if result.analysis is None or result.recording.path.name != "1.wav":
            return result
        turns = (replace(result.analysis.turns[0], speaker=None), *result.analysis.turns[1:])  # type: ignore[arg-type]
        return replace(result, analysis=replace(result.analysis, turns=turns))

    def write_all(store: Store, results: Sequence[CallResult], *arguments: Any, **options: Any) -> None:
        written(store, [spoiled(result) for result in results], *arguments, **options)

    monkeypatch.setattr(Store, "write_all", write_all)
    summary = analyze()

    assert (summary.analyzed, len(summary.failures)) == (4, 1)
    assert str(summary.failures[0].error).startswith(f"{calls / '1.wav'}: cannot be stored; ")
    with connect(tmp_path / "x.duckdb") as connection:
        rows = connection.execute("SELECT status, count(*) FROM calls GROUP BY 1 ORDER BY 1").fetchall()
        turns = connection.execute(
            "SELECT count(*) FROM turns JOIN calls USING (call_id) WHERE status = 'failed'"
        ).fetchone()
    assert rows == [("failed", 1), ("ok", 3)]
    assert turns == (0,)


def test_no_snapshot_where_none_is_wanted(analyze: Analyze, tmp_path: Path) -> None:
    analyze(snapshot_every=0)

    assert not (tmp_path / "x.snapshot.duckdb").exists()


# What a run leaves for monitoring


def test_log_heartbeat_and_metrics_tell_of_the_run(analyze: Analyze, calls: Path, tmp_path: Path) -> None:
    (calls / "0.wav.slow").touch()
    analyze(
        log_file=str(tmp_path / "x.log"),
        heartbeat_file=str(tmp_path / "x.json"),
        metrics_file=str(tmp_path / "x.prom"),
    )

    events = [json.loads(line) for line in (tmp_path / "x.log").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", *["recording"] * 4, "finished"]
    assert sorted(event["status"] for event in events[1:5]) == ["failed", "ok", "ok", "ok"]
    assert (events[-1]["recordings_analyzed"], events[-1]["exit_code"]) == (4, 3)
    heartbeat = json.loads((tmp_path / "x.json").read_text())
    assert (heartbeat["state"], heartbeat["done"], heartbeat["total"]) == ("finished", 4, 4)
    values = dict(
        line.split() for line in (tmp_path / "x.prom").read_text().splitlines() if not line.startswith("#")
    )
    assert values["callmood_last_run_recordings_failed"] == "1"
    assert values["callmood_last_run_success"] == "1.0"


def test_a_run_that_ends_in_an_error_is_told_too(analyze: Analyze, database: Path, tmp_path: Path) -> None:
    held = holding(database)
    try:
        with pytest.raises(DatabaseBusyError):
            analyze(db=str(database), metrics_file=str(tmp_path / "x.prom"), log_file=str(tmp_path / "x.log"))
    finally:
        held.communicate("")

    assert "callmood_last_run_exit_code 4\n" in (tmp_path / "x.prom").read_text()
    assert json.loads((tmp_path / "x.log").read_text().splitlines()[-1])["event"] == "failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_log_that_cannot_be_written_any_more_is_told_once_and_stops_nothing(
    analyze: Analyze, tmp_path: Path
) -> None:
    # Opening it works, writing does not: as on a disk that has become full.
    (tmp_path / "x.log").symlink_to("/dev/full")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        summary = analyze(log_file=str(tmp_path / "x.log"))

    told = [str(warning.message) for warning in caught if warning.category is LogWarning]
    assert summary.analyzed == 4
    assert len(told) == 1
    assert "the log cannot be written any more" in told[0]
