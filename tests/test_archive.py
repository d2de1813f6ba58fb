"""Results as partitioned Parquet, and bringing them into a database."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

import callmood
from benchmarks.cluster import DaskProcesses
from benchmarks.kills import differences, make_calls, stand_in_work
from callmood import workers
from callmood.cluster import WorkerLostError
from callmood.cluster.on_worker import Task, carry_out_here
from callmood.discover.identity import hash_file
from callmood.errors import ArchiveError, ClusterError, Exit, StoppedError, UsageError
from callmood.results import archive as archives
from callmood.stopping import Stopping
from callmood.types import CallResult

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT, flags=re.S)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(workers, "_work", stand_in_work)
    folder = tmp_path / "calls"
    make_calls(folder, count=6)
    (tmp_path / "calls.csv").write_text(
        "call_id,path,started_at,queue\na,call-0.wav,2026-11-24T23:30:00Z,sales\n"
        "b,call-1.wav,2026-11-25T08:00:00Z,billing\nc,call-2.wav,2026-11-25T09:00:00Z,billing\n"
    )
    age(folder)
    return folder


def age(folder: Path) -> None:
    hour_ago = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (hour_ago, hour_ago))


def analyze(calls: Path, **settings: Any) -> Any:
    return callmood.analyze(calls, metadata=str(calls.with_name("calls.csv")), jobs=1, **settings)


def test_what_is_loaded_is_what_a_direct_run_writes(calls: Path, tmp_path: Path) -> None:
    out, direct, loaded = tmp_path / "out", tmp_path / "direct.duckdb", tmp_path / "loaded.duckdb"
    analyze(calls, db=str(direct))
    summary = analyze(calls, out=str(out), db=str(tmp_path / "none.duckdb"))
    first = callmood.load(out, db=str(loaded))
    second = callmood.load(out, db=str(loaded))

    assert summary.analyzed == 6
    assert not (tmp_path / "none.duckdb").exists()
    assert {path.parent.name for path in (out / "turns").rglob("*.parquet")} == {
        "date=2026-11-24",
        "date=2026-11-25",
        "date=__HIVE_DEFAULT_PARTITION__",
    }
    assert all(path.suffix == ".parquet" for path in out.rglob("*") if path.is_file())
    assert (first.loaded, first.already_known) == (6, 0)
    assert (second.loaded, second.already_known) == (0, 6)
    assert differences(loaded, direct) == []
    with callmood.connect(loaded) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        assert connection.execute("SELECT current FROM statistics_made").fetchone() == (True,)


def test_the_next_run_goes_on_and_new_content_takes_the_place_of_old(calls: Path, tmp_path: Path) -> None:
    out, direct, loaded = tmp_path / "out", tmp_path / "direct.duckdb", tmp_path / "loaded.duckdb"
    analyze(calls, out=str(out))
    callmood.load(out, db=str(loaded))
    analyze(calls, db=str(direct))
    (calls / "call-3.wav").write_bytes((calls / "call-0.wav").read_bytes()[:-4000])
    age(calls)
    again = analyze(calls, out=str(out))
    analyze(calls, db=str(direct))
    summary = callmood.load(out, db=str(loaded))

    assert (again.analyzed, again.already_known) == (1, 5)
    assert (summary.found, summary.loaded) == (6, 1)
    assert differences(loaded, direct) == []
    assert callmood.load(out, db=str(loaded)).loaded == 0
    assert differences(loaded, direct) == []


def test_of_a_call_that_went_and_came_again_the_newest_row_decides(calls: Path, tmp_path: Path) -> None:
    out, direct = tmp_path / "out", tmp_path / "direct.duckdb"
    between, loaded = tmp_path / "between.duckdb", tmp_path / "loaded.duckdb"

    def analyze_both() -> None:
        age(calls)
        analyze(calls, out=str(out))
        analyze(calls, db=str(direct))

    analyze_both()
    callmood.load(out, db=str(between))
    first = (calls / "call-3.wav").read_bytes()
    for shorter in (4000, 8000):
        (calls / "call-3.wav").write_bytes(first[:-shorter])
        analyze_both()
    callmood.load(out, db=str(between))
    assert differences(between, direct) == []

    (calls / "again.wav").write_bytes(first)
    analyze_both()
    for database in (between, loaded):
        assert callmood.load(out, db=str(database)).found == 7
        assert differences(database, direct) == []


def test_a_part_that_was_never_finished_does_not_count(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, direct, loaded = tmp_path / "out", tmp_path / "direct.duckdb", tmp_path / "loaded.duckdb"
    put = archives.Archive.put

    def die(self: archives.Archive, local: Path, name: str) -> None:
        if name.startswith("calls/") and list((tmp_path / "out" / "calls").rglob("*.parquet")):
            raise KeyboardInterrupt
        put(self, local, name)

    with monkeypatch.context() as patch:
        patch.setattr(archives.Archive, "put", die)
        with pytest.raises(KeyboardInterrupt):
            analyze(calls, out=str(out))
    summary = analyze(calls, out=str(out))
    callmood.load(out, db=str(loaded))
    analyze(calls, db=str(direct))

    assert summary.analyzed < 6
    assert differences(loaded, direct) == []


def test_what_was_purged_stays_away(calls: Path, tmp_path: Path) -> None:
    out, loaded = tmp_path / "out", tmp_path / "loaded.duckdb"
    analyze(calls, out=str(out))
    callmood.load(out, db=str(loaded))
    callmood.purge(call="b", db=str(loaded))
    summary = callmood.load(out, db=str(loaded))

    assert (summary.loaded, summary.purged) == (0, 1)
    with duckdb.connect(str(loaded)) as connection:
        left = "SELECT count(*) FROM files WHERE content_hash IN (SELECT content_hash FROM purged_recordings)"
        assert connection.execute(left).fetchone() == (0,)


def test_workers_of_a_cluster_write_their_parts_themselves(calls: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    out, direct, loaded = tmp_path / "out", tmp_path / "direct.duckdb", tmp_path / "loaded.duckdb"
    analyze(calls, db=str(direct))
    with DaskProcesses(workers=2) as cluster:
        summary = analyze(calls, out=str(out), backend="dask", scheduler=cluster.address)
    callmood.load(out, db=str(loaded))

    assert (summary.analyzed, len(summary.failures)) == (6, 2)
    assert summary.audio_s == pytest.approx(32.0)
    assert differences(loaded, direct) == []


def test_duckdb_reads_the_archive_as_the_documentation_says(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze(calls, out=str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    (query,) = QUERIES
    rows = duckdb.connect().execute(query).fetchall()

    assert [row[:3] for row in rows] == [("billing", 2, 4), ("sales", 1, 2), (None, 1, 2)]


def test_places_that_hold_nothing_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--out"):
        callmood.load(tmp_path / "nowhere", db=str(tmp_path / "x.duckdb"))
    assert not (tmp_path / "x.duckdb").exists()


def test_foreign_and_damaged_parquet_is_told_in_one_sentence(calls: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    analyze(calls, out=str(out))
    (part, *_) = sorted(out.glob("turns/*/*.parquet"))
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(ArchiveError, match="holds Parquet that is damaged"):
        callmood.load(out, db=str(tmp_path / "x.duckdb"))
    duckdb.execute(f"COPY (SELECT 1 AS x) TO '{out}/calls/date=2026-11-24/x.parquet'")
    with pytest.raises(ArchiveError, match="or another program wrote"):
        callmood.load(out, db=str(tmp_path / "x.duckdb"))


def test_what_cannot_be_written_is_tried_twice_and_ends_the_run(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def refuse(self: archives.Archive, local: Path, name: str) -> None:
        tries.append(name)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(archives.Archive, "_put", refuse)
    monkeypatch.setattr(archives, "_AGAIN_S", 0.0)
    with pytest.raises(ArchiveError, match="cannot be written there") as raised:
        analyze(calls, out=str(tmp_path / "out"))
    assert (len(tries), raised.value.exit_code) == (2, 1)


def test_nothing_is_loaded_beside_pseudonyms(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLMOOD_PSEUDONYM_KEY", "a key of the tests, not secret")
    analyze(calls, db=str(tmp_path / "x.duckdb"), pseudonymize=True)
    analyze(calls, out=str(tmp_path / "out"))
    with pytest.raises(UsageError, match="its ids are pseudonyms"):
        callmood.load(tmp_path / "out", db=str(tmp_path / "x.duckdb"))


def test_load_refuses_to_pseudonymize_and_makes_no_database(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze(calls, out=str(tmp_path / "out"))
    monkeypatch.setenv("CALLMOOD_PSEUDONYM_KEY", "a key of the tests, not secret")
    monkeypatch.setenv("CALLMOOD_PSEUDONYMIZE", "true")
    with pytest.raises(UsageError, match="ids as they were given, and load keeps them so") as raised:
        callmood.load(tmp_path / "out", db=str(tmp_path / "x.duckdb"))
    assert raised.value.exit_code == Exit.USAGE
    assert not (tmp_path / "x.duckdb").exists()


class OneWorker:
    """A cluster of one worker, which is this process; `loses` says which tasks are lost with it."""

    def __init__(self, loses: Callable[[Task], bool] = lambda _: False) -> None:
        self._loses = loses
        self.tasks: list[Task] = []
        self._ended: list[int] = []

    def slots(self) -> int:
        return 1

    def submit(self, task: Task) -> int:
        self._ended.append(len(self.tasks))
        self.tasks.append(task)
        return self._ended[-1]

    def finished(self, *, wait_s: float) -> list[int]:
        ended, self._ended = self._ended, []
        return ended

    def results(self, submitted: int) -> Sequence[CallResult]:
        task = self.tasks[submitted]
        if self._loses(task):
            raise WorkerLostError
        return carry_out_here(replace(task, isolated=False))

    def close(self) -> None:
        pass


def test_of_recordings_lost_together_only_the_one_that_does_it_is_quarantined(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = str(calls / "call-2.wav")
    cluster = OneWorker(lambda task: any(str(recording.path) == poison for recording in task.recordings))
    monkeypatch.setattr("callmood.cluster.connect", lambda _: cluster)
    monkeypatch.setattr(
        "callmood.cluster._portions",
        lambda waiting, **_: [[r for r in waiting if r.metadata.queue == "billing"]],
    )
    summary = analyze(calls, out=str(tmp_path / "out"), backend="dask", scheduler="tcp://127.0.0.1:1")
    callmood.load(tmp_path / "out", db=str(tmp_path / "x.duckdb"))

    assert [len(task.recordings) for task in cluster.tasks] == [2, 1, 1]
    assert summary.analyzed == 2
    assert any("callmood load" in warning for warning in summary.warnings)
    with callmood.connect(tmp_path / "x.duckdb") as connection:
        rows = connection.execute("SELECT call_id, status FROM calls ORDER BY ALL").fetchall()
    assert rows == [("b", "ok"), ("c", "quarantined")]


def test_finished_calls_and_hashes_are_kept_when_a_run_is_cut_off(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stopping = Stopping()
    reads: list[str] = []

    def hash_one(path: Path) -> str:
        reads.append(path.name)
        stopping.ask()
        return hash_file(path)

    def cut_off(todo: Any, settings: Any, **_: Any) -> Iterator[CallResult]:
        yield stand_in_work(todo[0], settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("callmood.discover.identity.hash_file", hash_one)
    with pytest.raises(StoppedError):
        analyze(calls, out=str(out), stopping=stopping)
    with monkeypatch.context() as patch:
        patch.setattr("callmood.batch.results", cut_off)
        with pytest.raises(KeyboardInterrupt):
            analyze(calls, out=str(out))
    summary = analyze(calls, out=str(out))

    assert sorted(reads) == sorted(path.name for path in calls.iterdir())
    assert (summary.analyzed, summary.already_known) == (5, 1)


def test_a_worker_that_does_not_see_the_folder_of_the_results_says_so(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(task: Task) -> bool:
        assert task.out is not None
        assert task.out.root == str(tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        return False

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("callmood.cluster.connect", lambda _: OneWorker(elsewhere))
    with pytest.raises(ClusterError, match=r"does not see in .*/out what the run put there"):
        analyze(calls, out="out", backend="dask", scheduler="tcp://127.0.0.1:1")
