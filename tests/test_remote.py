"""Recordings that lie elsewhere: an S3-compatible server on 127.0.0.1."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import callmood
from benchmarks.cluster import DaskProcesses
from benchmarks.kills import differences, make_calls, stand_in_work
from callmood import workers
from callmood.discover import discover, hash_file
from callmood.errors import UsageError
from callmood.remote import RemotePath, list_files

pytest.importorskip("s3fs")
pytest.importorskip("moto")

SECRET = "a-secret-of-the-tests"


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Where the server is and who we are, as the environment says it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables
    server.stop()


@pytest.fixture
def store(environment: dict[str, str]) -> Iterator[Any]:
    """The server's files, with the bucket `calls` that is empty."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.mkdir("calls")
    yield files
    files.rm("calls", recursive=True)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    make_calls(folder, count=6)
    hour_ago = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (hour_ago, hour_ago))
    return folder


def database_with_urls(database: Path, folder: Path, url: str) -> Path:
    """A copy of a database with the paths of a folder as if they had been found at a URL."""
    copy = Path(shutil.copy(database, database.with_name("as-if.duckdb")))
    with duckdb.connect(str(copy)) as connection:
        for table, column in (("calls", "path"), ("calls", "legs"), ("calls", "error"), ("files", "path")):
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", [str(folder.resolve()), url]
            )
    return copy


def test_a_cluster_reads_from_the_store_what_one_machine_reads_from_its_disk(
    local: Path, store: Any, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_work", stand_in_work)
    (local / "empty.wav").unlink()  # known by its path alone
    store.put(str(local), "calls/2026", recursive=True)
    one, many = tmp_path / "one.duckdb", tmp_path / "many.duckdb"
    callmood.analyze(local, db=str(one), jobs=1)
    with DaskProcesses(workers=2, environment=environment) as cluster:
        options = {"db": str(many), "backend": "dask", "scheduler": cluster.address}
        summary = callmood.analyze("s3://calls/2026", **options)
        again = callmood.analyze("s3://calls/2026", **options)

    assert summary.analyzed == 5
    assert (again.analyzed, again.already_known) == (0, 5)
    assert differences(many, database_with_urls(one, local, "s3://calls/2026")) == []
    assert SECRET.encode() not in many.read_bytes()


def test_names_metadata_and_patterns_work_with_urls(local: Path, store: Any, tmp_path: Path) -> None:
    store.put(str(local / "call-0.wav"), "calls/2026/ann_17.wav")
    store.put(str(local / "call-1.wav"), "calls/2026/bob_18.wav")
    store.put(str(local / "call-1.wav"), "calls/2026/notes.txt")
    store.put(str(local / "call-2.wav"), "calls/asked/is it?.wav")
    (tmp_path / "calls.csv").write_text("path,queue\ns3://calls/2026/ann_17.wav,sales\nbob_18.wav,billing\n")
    found = discover(["s3://calls/2026/"], metadata=tmp_path / "calls.csv", pattern="{agent_id}_{call_id}")

    assert [(str(r.path), r.call_id, r.metadata.agent_id, r.metadata.queue) for r in found.recordings] == [
        ("s3://calls/2026/ann_17.wav", "17", "ann", "sales"),
        ("s3://calls/2026/bob_18.wav", "18", "bob", "billing"),
    ]
    assert [str(path) for path in found.skipped] == ["s3://calls/2026/notes.txt"]
    assert found.warnings == ()
    globbed = discover(["s3://calls/*/bob*.wav"])
    assert [str(recording.path) for recording in globbed.recordings] == ["s3://calls/2026/bob_18.wav"]
    for asked in ("s3://calls/asked", "s3://calls/asked/is it?.wav"):
        (recording,) = discover([asked]).recordings
        assert (recording.path.name, recording.legs[0].has_content) == ("is it?.wav", True)


def test_urls_and_pseudonyms_are_refused_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLMOOD_PSEUDONYM_KEY", "a key of the tests, not secret")
    with pytest.raises(UsageError, match="hides no folders of a URL"):
        callmood.analyze("s3://calls", db=str(tmp_path / "x.duckdb"), pseudonymize=True)


def test_trouble_while_a_file_is_read_is_that_of_an_unreadable_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: Any) -> int:
            raise RuntimeError("the connection broke")

    monkeypatch.setattr(RemotePath, "open", lambda *_: Broken())
    with pytest.raises(OSError, match=r"s3://calls/a\.wav: RuntimeError: the connection broke"):
        hash_file(RemotePath("s3://calls/a.wav"))


def test_content_is_read_again_only_where_the_store_says_that_it_changed(store: Any) -> None:
    store.pipe("calls/a.wav", b"one")
    (before,) = list_files("s3://calls")[1]
    store.pipe("calls/a.wav", b"two")
    (after,) = list_files("s3://calls")[1]

    assert before == after == RemotePath("s3://calls/a.wav")
    assert before.stat().st_size == after.stat().st_size == RemotePath("s3://calls/a.wav").stat().st_size
    assert before.stat().st_mtime_ns != after.stat().st_mtime_ns
    assert after.stat().st_mtime_ns == RemotePath("s3://calls/a.wav").stat().st_mtime_ns


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://tester:word@calls/x", "carries a password"),
        ("https://host/a.wav?X-Amz-Signature=word", "carries a password or a query"),
        ("https://word@host/a.wav", "or a user's name"),
        ("s3://calls/nowhere", "does not exist"),
        ("sftp://host/calls", "sftp:// is not supported"),
        ("gs://calls/x", r"callmood\[gs\]"),
        ("nothing://calls/x", "cannot be opened"),
    ],
)
def test_urls_that_cannot_be_used_are_refused_in_one_sentence(
    store: Any, tmp_path: Path, url: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as raised:
        callmood.analyze(url, db=str(tmp_path / "x.duckdb"))
    assert "word@" not in str(raised.value)
    assert "=word" not in str(raised.value)
    assert not (tmp_path / "x.duckdb").exists()


def test_an_object_that_goes_before_its_turn_is_a_failure_to_be_tried_again(
    local: Path, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(recording: Any, settings: Any) -> Any:
        store.rm(str(recording.path)[5:])
        return stand_in_work(recording, settings)

    store.put(str(local / "call-0.wav"), "calls/a.wav")
    monkeypatch.setattr(workers, "results", lambda todo, settings, **_: [gone(r, settings) for r in todo])
    monkeypatch.setattr("callmood.batch.results", workers.results)
    summary = callmood.analyze("s3://calls", db=str(tmp_path / "x.duckdb"))

    (failure,) = summary.failures
    assert failure.status == "failed"
    assert str(failure.error).startswith("s3://calls/a.wav could not be fetched (FileNotFoundError")
