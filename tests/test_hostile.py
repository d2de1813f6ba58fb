"""Files and queries that mean harm: mutated recordings, and SQL that would reach out of the database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz_decode import fuzz, make_originals, mutated
from callmood.decode import decode_file
from callmood.decode.ffmpeg_source import open_ffmpeg
from callmood.errors import RecordingError, UsageError
from callmood.report import run_sql
from callmood.results import connect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and descriptors are Linux's")


def test_mutated_files_decode_or_are_refused_and_leave_nothing_behind() -> None:
    report = fuzz(files=60, seed=1)

    assert report.troubles == []
    assert report.kinds["samples"] + report.kinds["refused"] == 60
    assert min(report.kinds["samples"], report.kinds["refused"]) > 5


def test_the_same_seed_and_number_make_the_same_file(tmp_path: Path) -> None:
    originals = make_originals(tmp_path)

    assert len(originals) >= 10
    assert mutated(originals, seed=1, number=7) == mutated(originals, seed=1, number=7)
    assert mutated(originals, seed=1, number=7) != mutated(originals, seed=1, number=8)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.wav\n",
        "#EXTM3U\n#EXTINF:1,\nfile:///{secret}\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        '<?xml version="1.0"?><MPD><BaseURL>file://{secret}</BaseURL></MPD>',
    ],
    ids=["hls to the network", "hls to a file", "concat", "sdp", "dash"],
)
@pytest.mark.parametrize("name", ["x.wav", "x.m3u8", "x.sdp"])
def test_files_that_name_other_files_or_hosts_are_not_followed(tmp_path: Path, name: str, text: str) -> None:
    (secret,) = (path for path in make_originals(tmp_path) if path.name == "x.wav")
    secret = secret.rename(tmp_path / "secret.wav")
    path = tmp_path / "sent" / name
    path.parent.mkdir()
    path.write_text(text.format(secret=secret))

    with pytest.raises(RecordingError):
        decode_file(path, rate_hz=8000)


def test_ffmpeg_runs_under_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = subprocess.Popen

    def popen(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        child = original(*arguments, **options)  # type: ignore[call-overload]
        children.append(child.pid)
        return child

    children: list[int] = []
    monkeypatch.setattr(subprocess, "Popen", popen)
    (path,) = (path for path in make_originals(tmp_path) if path.name == "x.wav")
    children.clear()
    with open_ffmpeg(path):
        limits = Path(f"/proc/{children[-1]}/limits").read_text().splitlines()
    values = {line[:26].strip(): line[26:].split()[0] for line in limits}

    assert values["Max cpu time"] == "3600"
    assert values["Max address space"] == str(2 << 30)
    assert values["Max file size"] == "0"


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM calls",
        "CREATE TABLE mine AS SELECT 1",
        "UPDATE calls SET agent_id = 'x'",
        "DROP VIEW call_summary",
        "COPY calls TO 'out.csv'",
        "EXPORT DATABASE 'out'",
        "ATTACH 'other.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA enable_external_access = true",
        "SET enable_external_access = true",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('/*')",
        "SELECT getenv('HOME')",
        "SELECT * FROM calls; DELETE FROM calls",
        "WITH x AS (DELETE FROM calls RETURNING *) SELECT * FROM x",
    ],
)
def test_sql_neither_writes_nor_reads_files_nor_loads_extensions(
    database: Path, tmp_path: Path, query: str
) -> None:
    (tmp_path / "secret.csv").write_text("a\nhidden\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    with connect(database) as connection, pytest.raises(UsageError):
        list(run_sql(connection, query.format(secret=tmp_path / "secret.csv")).rows)

    assert sorted(path.name for path in tmp_path.iterdir()) == before
    with connect(database) as connection:
        assert connection.execute("SELECT count(*), count(agent_id) FROM calls").fetchone() == (3, 3)
