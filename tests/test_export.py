"""Exports, each read back by a program that is not ours where there is one."""

from __future__ import annotations

import csv
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import audformat
import duckdb
import pandas as pd
import pytest
import webvtt
from conftest import NOON, make_recording, make_result, make_run

import callmood
from callmood.errors import DatabaseBusyError, UsageError
from callmood.exports.audformat import timedelta
from callmood.exports.write import FORMATS, as_text, file_stem
from callmood.results.publish import log_path
from callmood.results.read import SnapshotWarning
from callmood.results.store import Store
from callmood.types import Leg

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = '=a --> b\t<c> &amp; "d"\n\nWEBVTT ü😀\u202e'
"""A call_id with what each format could stumble over."""


def text(database: Path, form: str, *call_ids: str) -> str:
    with callmood.connect(database) as connection:
        return "".join(as_text(connection, call_ids or None, form))


@pytest.fixture
def hostile(database: Path) -> Path:
    """The database, with a call whose id and speakers are hostile."""
    result = make_result(HOSTILE, agent_id=HOSTILE)
    assert result.analysis is not None
    names = {"S1": "-->\t<v S2>&", "S2": "=S 2\n"}
    analysis = replace(
        result.analysis,
        turns=tuple(replace(turn, speaker=names[turn.speaker]) for turn in result.analysis.turns),
        escalations=tuple(replace(e, speaker=names[e.speaker]) for e in result.analysis.escalations),
    )
    with Store(database) as store:
        store.write(replace(result, analysis=analysis), make_run(), analyzed_at=NOON)
    return database


def test_rttm_holds_all_turns_of_all_calls(database: Path) -> None:
    lines = text(database, "rttm").splitlines()

    assert lines[0] == "SPEAKER call-1 1 0.000 6.000 <NA> <NA> S1 0.900 <NA>"
    assert [line.split()[1] for line in lines] == ["call-1"] * 4 + ["call-3"] * 4


def test_pyannote_reads_the_rttm_that_is_written(hostile: Path, tmp_path: Path) -> None:
    util = pytest.importorskip("pyannote.database.util")
    path = tmp_path / "all.rttm"
    path.write_text(text(hostile, "rttm"), encoding="utf-8")
    read = util.load_rttm(str(path))

    assert len(read) == 3
    assert [
        (segment.start, segment.end, label)
        for segment, _, label in read["call-1"].itertracks(yield_label=True)
    ] == [(0.0, 6.0, "S1"), (7.0, 13.0, "S2"), (14.0, 16.0, "S1"), (20.0, 28.0, "S2")]
    (other,) = set(read) - {"call-1", "call-3"}
    assert read[other].labels() == ["-->_<v_S2>&", "=S_2"]


def test_calls_that_rttm_cannot_tell_apart_are_refused_on_standard_output_only(
    database: Path, tmp_path: Path
) -> None:
    with Store(database) as store:
        for call_id in ("a b", "a_b"):
            store.write(make_result(call_id), make_run(), analyzed_at=NOON)

    with pytest.raises(UsageError, match="'a b' and 'a_b' are both called a_b in RTTM"):
        text(database, "rttm")
    written = callmood.export("a b", "a_b", format="rttm", out=tmp_path / "out", db=database)
    assert [path.name for path in written] == ["a%20b.rttm", "a_b.rttm"]


def test_audacity_labels_are_start_end_and_text_in_the_order_of_time(database: Path) -> None:
    assert text(database, "audacity", "call-1").splitlines() == [
        "0.000000\t6.000000\tS1 agent: neutral 100%, negativity 0.00",
        "7.000000\t13.000000\tS2 customer: happy 100%, negativity 0.00",
        "14.000000\t16.000000\tS1 agent: speaks",
        "20.000000\t28.000000\tS2 customer: angry 100%, negativity 1.00",
        "21.000000\t30.000000\tS2 customer: escalation, height 0.75, not recovered",
    ]


def test_no_name_breaks_an_audacity_label_in_two(hostile: Path) -> None:
    labels = [line.split("\t") for line in text(hostile, "audacity", HOSTILE).splitlines()]

    assert [len(label) for label in labels] == [3] * 5
    assert labels[0][2] == "-->\\t<v S2>& agent: neutral 100%, negativity 0.00"


def test_a_webvtt_reader_finds_the_cues_and_who_speaks(database: Path) -> None:
    written = text(database, "webvtt", "call-1")
    captions = webvtt.from_buffer(io.StringIO(written))

    assert [(c.start, c.end, c.voice, c.text) for c in captions][1:] == [
        ("00:00:07.000", "00:00:13.000", "S2 customer", "happy 100%, negativity 0.00"),
        ("00:00:14.000", "00:00:16.000", "S1 agent", "speaks"),
        ("00:00:20.000", "00:00:28.000", "S2 customer", "angry 100%, negativity 1.00"),
        ("00:00:21.000", "00:00:30.000", "S2 customer", "escalation, height 0.75, not recovered"),
    ]


def test_no_name_is_an_arrow_a_tag_or_an_entity_in_webvtt(hostile: Path) -> None:
    written = text(hostile, "webvtt", HOSTILE)

    assert len(webvtt.from_buffer(io.StringIO(written)).captions) == 5
    assert "<v --&gt;\\t&lt;v S2&gt;&amp; agent>neutral 100%" in written
    # One arrow for each cue, and nothing but blank lines between cues.
    assert written.count("-->") == 5
    assert written.count("\n\n") == 5


@pytest.mark.parametrize("form", ["audformat", "audformat-parquet"])
def test_audformat_loads_what_is_written(database: Path, tmp_path: Path, form: str) -> None:
    callmood.export(format=form, out=tmp_path / "out", db=database)
    read = audformat.Database.load(str(tmp_path / "out"))
    turns = read["turns"].df

    assert audformat.is_segmented_index(turns.index)
    assert len(turns) == 8
    second = turns.iloc[1]
    assert second.name == ("/calls/call-1.wav", pd.Timedelta("7s"), pd.Timedelta("13s"))
    assert (second["call_id"], second["role"], second["emotion"]) == ("call-1", "customer", "happy")
    assert (second["channel"], second["p_happy"], second["negativity"]) == (1, 1.0, 0.0)
    third = turns.iloc[2]
    assert third[["emotion", "confidence", "p_happy", "valence"]].isna().all()
    escalation = read["escalations"].df.iloc[0]
    assert escalation.name == ("/calls/call-1.wav", pd.Timedelta("21s"), pd.Timedelta("30s"))
    assert (escalation["height"], escalation["recovered"]) == (0.75, False)


def test_a_later_audformat_export_is_not_hidden_by_an_earlier_one(database: Path, tmp_path: Path) -> None:
    callmood.export(format="audformat-parquet", out=tmp_path / "out", db=database)
    callmood.export("call-3", format="audformat", out=tmp_path / "out", db=database)

    read = audformat.Database.load(str(tmp_path / "out"))
    assert set(read["turns"].df["call_id"]) == {"call-3"}


def test_a_turn_lies_in_the_file_of_its_party(database: Path) -> None:
    result = make_result("legs")
    legs = (Leg(path=Path("/calls/agent.wav")), Leg(path=Path("/calls/customer.wav")))
    with Store(database) as store:
        store.write(
            replace(result, recording=replace(make_recording("legs"), legs=legs)),
            make_run(),
            analyzed_at=NOON,
        )
    rows = list(csv.DictReader(io.StringIO(text(database, "audformat", "legs"))))

    assert [(row["speaker"], row["file"]) for row in rows[:2]] == [
        ("S1", "/calls/agent.wav"),
        ("S2", "/calls/customer.wav"),
    ]


def test_csv_disarms_formulas_and_parquet_keeps_them(hostile: Path, tmp_path: Path) -> None:
    (row,) = [
        row
        for row in csv.DictReader(io.StringIO(text(hostile, "audformat", HOSTILE)))
        if row["start"] == "0 days 00:00:07.000000"
    ]
    assert (row["call_id"], row["speaker"]) == (f"'{HOSTILE}", "'=S 2\n")

    callmood.export(HOSTILE, format="audformat-parquet", out=tmp_path / "out", db=hostile)
    read = duckdb.read_parquet(str(tmp_path / "out" / "db.turns.parquet")).fetchall()
    assert read[1][3:5] == (HOSTILE, "=S 2\n")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0 days 00:00:00.000000"),
        (1.5, "0 days 00:00:01.500000"),
        (59.9999999, "0 days 00:01:00.000000"),
        (90061.25, "1 days 01:01:01.250000"),
    ],
)
def test_times_are_written_as_pandas_reads_them(seconds: float, written: str) -> None:
    assert timedelta(seconds) == written
    assert pd.Timedelta(written).total_seconds() == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("form", ["rttm", "audacity", "webvtt"])
def test_a_folder_gets_a_file_for_each_call_that_has_turns(database: Path, tmp_path: Path, form: str) -> None:
    written = callmood.export(format=form, out=tmp_path / "new" / "out", db=database)

    assert [path.stem for path in written] == ["call-1", "call-3"]
    assert sorted((tmp_path / "new" / "out").iterdir()) == sorted(written)
    assert written[0].read_text(encoding="utf-8") == text(database, form, "call-1")


@pytest.mark.parametrize(
    ("call_id", "stem"),
    [
        ("call-7_a.b", "call-7_a.b"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (".", "%2E"),
        ("a/b\\c:d*", "a%2Fb%5Cc%3Ad%2A"),
        ("Gespräch", "Gespräch"),
        ("a\0b", "a%00b"),
        ("100%", "100%25"),
    ],
)
def test_file_names_are_harmless(call_id: str, stem: str) -> None:
    assert file_stem(call_id) == stem


def test_long_and_empty_ids_get_names_too() -> None:
    long = [file_stem("é" * 150 + end) for end in ("a", "b")]

    assert long[0] != long[1]
    assert max(len(name.encode()) for name in long) <= 200
    assert file_stem("") == "~e3b0c44298fc1c14"


def test_what_cannot_be_exported_is_said(database: Path, tmp_path: Path) -> None:
    for form, call_ids, said in (
        ("webvtt", (), "webvtt holds one call"),
        ("audacity", ("call-1", "call-3"), "audacity holds one call"),
        ("webvtt", ("call-2",), "'call-2' has no turns to export"),
        ("audformat-parquet", (), "name a folder with --out"),
        ("srt", ("call-1",), f"must be one of {', '.join(FORMATS)}"),
    ):
        with pytest.raises(UsageError, match=said):
            text(database, form, *call_ids)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/out: cannot be written \(Not a directory\)"):
        callmood.export(format="rttm", out=tmp_path / "file" / "out", db=database)


# Snapshots


def counted(database: Path) -> int:
    with duckdb.connect(str(database), read_only=True) as connection:
        return int(connection.execute("SELECT count(*) FROM call_summary").fetchone()[0])


def test_a_snapshot_is_a_read_only_copy_and_replaced_by_the_next(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "dashboard.duckdb"
    callmood.snapshot(target, db=database)
    assert counted(target) == 3
    assert stat.S_IMODE(target.stat().st_mode) & 0o222 == 0

    with Store(database) as store:
        store.write(make_result("call-4"), make_run(), analyzed_at=NOON)
    callmood.snapshot(target, db=database)
    assert counted(target) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.duckdb", "dashboard.duckdb"]
    # The database itself can be written to as before.
    with Store(database) as store:
        assert len(store.known_calls()) == 4


WRITER = """
import sys
sys.path.insert(0, "tests")
from conftest import NOON, make_result, make_run
from callmood.results.store import Store
with Store(sys.argv[1]) as store:
    if "publish" in sys.argv:
        store.publish()
    store.write(make_result("unpublished"), make_run(), analyzed_at=NOON)
    print("ready", flush=True)
    sys.stdin.readline()
    if "die" in sys.argv:
        import os
        os._exit(9)
"""


@pytest.fixture
def writer() -> Callable[..., subprocess.Popen[str]]:
    """Starts a process that holds a database and has written a call to it."""

    def start(database: Path, *how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(database), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    return start


def test_while_a_run_writes_its_published_snapshot_is_copied(
    database: Path, tmp_path: Path, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    with writer(database, "publish") as process:
        with pytest.warns(SnapshotWarning, match="is being written to; this is its snapshot of"):
            callmood.snapshot(tmp_path / "dashboard.duckdb", db=database)
        process.communicate("\n")

    assert process.returncode == 0
    assert counted(tmp_path / "dashboard.duckdb") == 3
    assert counted(database) == 4


def test_without_a_published_snapshot_the_writer_is_told(
    database: Path, tmp_path: Path, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    with writer(database) as process:
        with pytest.raises(DatabaseBusyError, match="another process is using the database"):
            callmood.snapshot(tmp_path / "dashboard.duckdb", db=database)
        process.communicate("\n")
    assert not (tmp_path / "dashboard.duckdb").exists()


def test_what_a_killed_run_left_in_its_log_is_in_the_snapshot(
    database: Path, tmp_path: Path, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    with writer(database, "die") as process:
        process.communicate("\n")
    assert process.returncode == 9
    assert log_path(database).exists()

    callmood.snapshot(tmp_path / "dashboard.duckdb", db=database)
    assert counted(tmp_path / "dashboard.duckdb") == 4
    assert not log_path(tmp_path / "dashboard.duckdb").exists()
    # The log itself is left for the next run.
    assert log_path(database).exists()
    with Store(database) as store:
        assert len(store.known_calls()) == 4


@pytest.mark.parametrize("name", ["calls.duckdb", "calls.snapshot.duckdb"])
def test_the_database_is_not_overwritten_by_its_snapshot(database: Path, name: str) -> None:
    before = database.read_bytes()
    with pytest.raises(UsageError, match="is the database's own"):
        callmood.snapshot(database.with_name(name), db=database)
    assert database.read_bytes() == before
