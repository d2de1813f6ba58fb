"""Metadata files: formats, columns, dates, and which file a row is about."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from callmood.discover import Discovery, discover
from callmood.discover.fields import read_date, time_zone
from callmood.errors import UsageError
from callmood.types import Leg, Role


def leg_of(path: Path, role: Role | None = None) -> Leg:
    return Leg(path=path, role=role, content_hash=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A directory with three recordings of different content."""
    directory = tmp_path / "calls"
    directory.mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        (directory / name).write_text(name)
    return directory


def with_metadata(calls: Path, text: str, name: str = "meta.csv") -> Discovery:
    path = calls.parent / name
    path.write_bytes(text.encode())
    return discover([calls], metadata=path)


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def test_csv_columns_are_read_and_further_ones_kept(calls: Path) -> None:
    found = with_metadata(
        calls,
        "path,call_id,agent_id,customer_id,queue,started_at,agent_channel,Score\n"
        "calls/a.wav,0001,007,c9,billing,2024-05-01T10:00:00+02:00,right,4.50\n",
    )
    first = found.recordings[0]
    assert first.call_id == "0001"
    known = first.metadata
    assert (known.agent_id, known.customer_id, known.queue) == ("007", "c9", "billing")
    assert known.started_at == datetime(2024, 5, 1, 8, tzinfo=UTC)
    assert known.agent_channel == 1
    assert known.extra == {"Score": "4.50"}
    assert found.recordings[1].metadata.agent_id is None
    assert found.warnings == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiter_byte_order_mark_and_header_case_do_not_matter(calls: Path, delimiter: str) -> None:
    lines = [["Call_ID", "AGENT_ID", "note"], ["a", "ann", "x"], ["b", "", "y"]]
    found = with_metadata(calls, "\ufeff" + "\r\n".join(delimiter.join(line) for line in lines))
    assert [(r.call_id, r.metadata.agent_id) for r in found.recordings[:2]] == [("a", "ann"), ("b", None)]
    assert found.recordings[0].metadata.extra == {"note": "x"}


def test_csv_may_have_blanks_behind_its_commas_and_any_line_ends(calls: Path) -> None:
    found = with_metadata(calls, 'call_id, agent_id, queue\ra, 007, "x, y"\r')
    assert found.recordings[0].metadata.agent_id == "007"
    assert found.recordings[0].metadata.queue == "x, y"


def test_utf16_csv_is_read(calls: Path) -> None:
    path = calls.parent / "meta.csv"
    path.write_bytes("call_id\tagent_id\na\tZoë\n".encode("utf-16"))
    assert discover([calls], metadata=path).recordings[0].metadata.agent_id == "Zoë"


def test_json_lines_keep_scalars_and_spell_ids_as_text(calls: Path) -> None:
    rows = [
        {"call_id": "a", "agent_id": 7, "ok": True, "score": 1.5, "tags": ["x"], "none": None},
        {"path": "calls/b.wav", "agent_id": 7.0, "agent_channel": 2},
    ]
    found = with_metadata(calls, "\n\n".join(json.dumps(row) for row in rows), "meta.jsonl")
    a, b, _ = found.recordings
    assert a.metadata.agent_id == b.metadata.agent_id == "7"
    assert a.metadata.extra == {"ok": True, "score": 1.5, "tags": '["x"]', "none": None}
    assert b.metadata.agent_channel == 1
    assert b.call_id == sha("b.wav")[:16]


def test_parquet_is_read_with_its_types(calls: Path) -> None:
    import duckdb

    # A name that DuckDB would take for a glob, in a directory that it would take for a partition.
    directory = calls.parent / "agent_id=wrong"
    directory.mkdir()
    path = directory / "meta*.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT '007' AS call_id, '../calls/a.wav' AS path, 12::DOUBLE AS agent_id,"
            " TIMESTAMPTZ '2024-05-01 10:00:00+02' AS started_at, 3 AS score, 'nan'::DOUBLE AS missing)"
            f" TO '{path}' (FORMAT parquet)"
        )
        connection.execute(
            f"COPY (SELECT 'b' AS call_id) TO '{directory / 'meta-2.parquet'}' (FORMAT parquet)"
        )
    found = discover([calls], metadata=path)
    assert found.warnings == ()
    assert found.recordings[0].call_id == "007"
    known = found.recordings[0].metadata
    assert known.agent_id == "12"
    assert known.started_at == datetime(2024, 5, 1, 8, tzinfo=UTC)
    assert known.extra == {"score": 3, "missing": None}


def test_paths_are_relative_to_the_metadata_file_and_then_to_the_inputs(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
        (root / f"{root.name}.wav").write_text(root.name)
        (root / "both.wav").write_text(f"both {root.name}")
    meta = tmp_path / "two" / "meta.csv"
    meta.write_text(f"path,agent_id\none.wav,A\nboth.wav,B\n{tmp_path}/one/../two/two.wav,C\n")
    found = discover(roots, metadata=meta)
    agents = {str(r.path.relative_to(tmp_path)): r.metadata.agent_id for r in found.recordings}
    assert agents == {"one/both.wav": None, "one/one.wav": "A", "two/both.wav": "B", "two/two.wav": "C"}


@pytest.mark.parametrize("content", ["", "name,when\nx,y\n", "{nonsense\n", "[1]", "\ud800"])
def test_an_unusable_metadata_file_is_refused(calls: Path, content: str) -> None:
    path = calls.parent / "meta.csv"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=r"meta\.csv"):
        discover([calls], metadata=path)


@pytest.mark.parametrize("name", ["absent.csv", "calls"])
def test_a_metadata_file_that_is_none_is_refused(calls: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be read"):
        discover([calls], metadata=calls.parent / name)


def test_a_broken_parquet_file_is_refused(calls: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        with_metadata(calls, "PAR1 no footer PAR1", "meta.parquet")


def test_a_repeated_column_is_refused(calls: Path) -> None:
    with pytest.raises(UsageError, match="two columns agent_id"):
        with_metadata(calls, "call_id,agent_id,Agent_ID\na,x,y\n")


def test_rows_without_a_recording_are_counted_and_the_first_is_named(calls: Path) -> None:
    found = with_metadata(calls, "path,call_id\ngone.wav,\n,gone\n,a\n,,\n")
    (warning,) = found.warnings
    assert "meta.csv line 2 (path 'gone.wav') and 1 more" in warning


def test_a_row_with_too_many_cells_is_not_guessed_at(calls: Path) -> None:
    found = with_metadata(calls, "call_id,queue,agent_id\na,billing,EU,ann\nb,sales,bob\n")
    assert found.recordings[0].metadata.agent_id is None
    assert found.recordings[1].metadata.agent_id == "bob"
    assert "line 2" in found.warnings[0]


def test_contradictory_rows_keep_the_first_and_agreeing_ones_are_merged(calls: Path) -> None:
    found = with_metadata(
        calls,
        "path,call_id,agent_id,queue\ncalls/a.wav,1,ann,\ncalls/a.wav,1,bob,x\ncalls/b.wav,,cat,\n,b,,q\n",
    )
    a, b, _ = found.recordings
    assert (a.call_id, a.metadata.agent_id, a.metadata.queue) == ("1", "ann", None)
    assert (b.call_id, b.metadata.agent_id, b.metadata.queue) == ("b", "cat", "q")
    (warning,) = found.warnings
    assert "contradict" in warning
    assert "a.wav" in warning


def test_unknown_channels_roles_and_dates_stay_empty_with_one_warning_each(calls: Path) -> None:
    found = with_metadata(
        calls,
        "call_id,agent_channel,started_at,path,role\n"
        "1,LEFT,yesterday,calls/a.wav,boss\n2,middle,soon,calls/b.wav,\n3,,,calls/c.wav,\n",
    )
    assert [r.metadata.agent_channel for r in found.recordings] == [0, None, None]
    assert [r.metadata.started_at for r in found.recordings] == [None, None, None]
    assert len(found.warnings) == 3
    dates = next(w for w in found.warnings if "date" in w)
    assert "'yesterday'" in dates
    assert "1 more" in dates


def test_legs_become_one_call_in_the_order_of_their_channels(calls: Path) -> None:
    found = with_metadata(
        calls,
        "call_id,path,channel,role,agent_id,queue\n77,calls/a.wav,2,agent,ann,\n77,calls/b.wav,1,,,sales\n",
    )
    assert [r.path.name for r in found.recordings] == ["b.wav", "c.wav"]
    call = found.recordings[0]
    assert call.call_id == "77"
    assert call.legs == (leg_of(calls / "b.wav", "customer"), leg_of(calls / "a.wav", "agent"))
    assert call.content_hash == sha(f"{sha('b.wav')}:{sha('a.wav')}")
    assert (call.metadata.agent_id, call.metadata.queue, call.metadata.agent_channel) == ("ann", "sales", 1)


def test_legs_without_channels_begin_with_the_agent(calls: Path) -> None:
    found = with_metadata(calls, "call_id,path,role\n7,calls/a.wav,customer\n7,calls/b.wav,agent\n")
    assert [(leg.path.name, leg.role) for leg in found.recordings[0].legs] == [
        ("b.wav", "agent"),
        ("a.wav", "customer"),
    ]


def test_the_agents_channel_gives_the_roles_of_legs(calls: Path) -> None:
    found = with_metadata(
        calls, "call_id,path,channel,agent_channel\n7,calls/a.wav,left,2\n7,calls/b.wav,right,2\n"
    )
    assert [leg.role for leg in found.recordings[0].legs] == ["customer", "agent"]


def test_a_copy_of_a_leg_is_a_duplicate(calls: Path) -> None:
    (calls / "d.wav").write_text("a.wav")
    found = with_metadata(calls, "call_id,path,role\n7,calls/a.wav,agent\n7,calls/b.wav,customer\n")
    assert found.duplicates == ((calls / "d.wav", calls / "a.wav"),)
    assert len(found.recordings) == 2


def test_a_lone_leg_and_three_legs_are_calls_of_their_own(calls: Path) -> None:
    (calls / "d.wav").write_text("d")
    found = with_metadata(
        calls,
        "call_id,path,role\n7,calls/a.wav,agent\n7,calls/b.wav,customer\n7,calls/c.wav,agent\n8,calls/d.wav,agent\n",
    )
    assert [(r.call_id, len(r.legs), r.legs[0].role) for r in found.recordings] == [
        ("7", 1, "agent"),
        (f"7~{sha('b.wav')[:8]}", 1, "customer"),
        (f"7~{sha('c.wav')[:8]}", 1, "agent"),
        ("8", 1, "agent"),
    ]
    assert any("more than two legs" in warning for warning in found.warnings)
    assert any("Only one leg" in warning for warning in found.warnings)


def test_a_leg_without_a_path_is_about_the_whole_file(calls: Path) -> None:
    found = with_metadata(calls, "call_id,role,agent_id\na,agent,ann\na,customer,\n")
    assert found.recordings[0].legs == (leg_of(calls / "a.wav"),)
    assert found.recordings[0].metadata.agent_id == "ann"
    assert "and 1 more" in found.warnings[0]


def test_legs_that_claim_the_same_role_have_none(calls: Path) -> None:
    found = with_metadata(calls, "call_id,path,role\n7,calls/a.wav,agent\n7,calls/b.wav,agent\n")
    assert [leg.role for leg in found.recordings[0].legs] == [None, None]
    assert "Both legs" in found.warnings[0]


def test_ids_are_data_but_hold_no_control_characters_and_end_somewhere(calls: Path) -> None:
    rows = [
        {"path": "calls/a.wav", "call_id": "x\n\x1b[31m/../y"},
        {"path": "calls/b.wav", "call_id": "9" * 10_000, "agent_id": " 007 "},
        {"path": "calls/c.wav", "call_id": "\n", "agent_id": "\ud800"},
    ]
    found = with_metadata(calls, "\n".join(json.dumps(row) for row in rows))
    a, b, c = found.recordings
    assert a.call_id == "x[31m/../y"
    assert b.call_id == "9" * 255
    assert b.metadata.agent_id == " 007 "
    assert c.call_id == sha("c.wav")[:16]
    assert c.metadata.agent_id == "\\ud800"
    assert len(found.warnings) == 1
    assert "and 3 more" in found.warnings[0]


BERLIN = time_zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-01T10:15:30Z", datetime(2024, 5, 1, 10, 15, 30, tzinfo=UTC)),
        ("2024-05-01 10:15:30+0530", datetime(2024, 5, 1, 4, 45, 30, tzinfo=UTC)),
        ("2024-05-01 10:15:30 UTC", datetime(2024, 5, 1, 10, 15, 30, tzinfo=UTC)),
        ("2024-05-01T10:15", datetime(2024, 5, 1, 8, 15, tzinfo=UTC)),  # Berlin in summer: +02:00
        ("2024-01-01", datetime(2023, 12, 31, 23, tzinfo=UTC)),  # and in winter: +01:00
        ("20240501", datetime(2024, 4, 30, 22, tzinfo=UTC)),
        ("20240501101530", datetime(2024, 5, 1, 8, 15, 30, tzinfo=UTC)),
        ("20240501T101530Z", datetime(2024, 5, 1, 10, 15, 30, tzinfo=UTC)),
        ("2024-05-01T10-15-30", datetime(2024, 5, 1, 8, 15, 30, tzinfo=UTC)),
        ("2024/05/01 10:15:30", datetime(2024, 5, 1, 8, 15, 30, tzinfo=UTC)),
        ("01.05.2024 10:15", datetime(2024, 5, 1, 8, 15, tzinfo=UTC)),
        ("13/05/2024 10:15", datetime(2024, 5, 13, 8, 15, tzinfo=UTC)),
        ("05/13/2024 1:15 PM", datetime(2024, 5, 13, 11, 15, tzinfo=UTC)),
        ("05/05/2024", datetime(2024, 5, 4, 22, tzinfo=UTC)),
        ("1 May 2024 10:15:30", datetime(2024, 5, 1, 8, 15, 30, tzinfo=UTC)),
        ("Wed, 01 May 2024 10:15:30 GMT", datetime(2024, 5, 1, 10, 15, 30, tzinfo=UTC)),
        # 19,844 days and 10:15:30 after 1970-01-01
        (1714558530, datetime(2024, 5, 1, 10, 15, 30, tzinfo=UTC)),
        ("1714558530.5", datetime(2024, 5, 1, 10, 15, 30, 500_000, tzinfo=UTC)),
        (1714558530000.0, datetime(2024, 5, 1, 10, 15, 30, tzinfo=UTC)),
        ("1612013000000", datetime(2021, 1, 30, 13, 23, 20, tzinfo=UTC)),
    ],
)
def test_dates_are_read(value: object, expected: datetime) -> None:
    assert read_date(value, zone=BERLIN) == expected


@pytest.mark.parametrize(
    "value",
    ["", None, "now", "05/06/2024", "2024-13-01", "0001-01-01", "12", "1" * 400, True, float("nan"), "10:15"],
)
def test_what_is_no_sure_date_is_none(value: object) -> None:
    assert read_date(value, zone=BERLIN) is None


def test_utc_needs_no_time_zone_database() -> None:
    assert time_zone("utc") is UTC


def test_an_offset_in_the_date_outranks_the_time_zone() -> None:
    moment = read_date("2024-05-01T10:00:00-07:00", zone=BERLIN)
    assert moment == datetime(2024, 5, 1, 10, tzinfo=timezone(timedelta(hours=-7)))


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "America", "a\x00b"])
def test_an_unknown_time_zone_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="time zone"):
        discover([tmp_path], timezone=name)
