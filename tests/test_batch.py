"""The whole path, with the real models, on calls that the project made itself."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
import soundfile

import callmood
from callmood.errors import Exit, RecordingError, UsageError
from callmood.results import connect

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CALLS = Path(__file__).resolve().parents[2] / "shared" / "calls"


def rows(database: Path, query: str) -> list[tuple]:
    with connect(database) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, callmood.RunSummary]:
    """The example calls, and four recordings that are none, analyzed by two workers."""
    folder = tmp_path_factory.mktemp("batch")
    shutil.copytree(EXAMPLES, folder / "examples")
    calls = folder / "examples" / "calls"
    (calls / "empty.wav").write_bytes(b"")
    (calls / "text.wav").write_text("This is no audio.\n")
    soundfile.write(calls / "header.wav", np.zeros(0, dtype=np.float32), 8000)
    whole = (calls / "outage-0419.mp3").read_bytes()
    (calls / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    (calls / "notes.txt").write_text("call them back")
    database = folder / "calls.duckdb"
    summary = callmood.analyze(
        calls, db=str(database), metadata=str(folder / "examples" / "metadata.csv"), jobs=2, device="cpu"
    )
    return database, summary


def test_everything_that_can_be_read_is_analyzed_and_the_rest_is_told(analyzed) -> None:
    _, summary = analyzed

    assert summary.found == summary.analyzed == 8
    assert summary.skipped == 1
    assert summary.exit_code == Exit.SOME_FAILED
    assert sorted(result.recording.path.name for result in summary.failures) == [
        "empty.wav",
        "header.wav",
        "text.wav",
    ]
    assert [result.recording.path.name for result in summary.truncated] == ["cut.mp3"]


def test_the_rows_say_why(analyzed) -> None:
    database, _ = analyzed
    found = {
        Path(path).name: (status, error, truncated, lost_s)
        for path, status, error, truncated, lost_s in rows(
            database, "SELECT path, status, error, truncated, lost_s FROM calls WHERE error IS NOT NULL"
        )
    }

    assert {name: values[0] for name, values in found.items()} == {
        "empty.wav": "empty",
        "header.wav": "empty",
        "text.wav": "unreadable",
        "cut.mp3": "ok",
    }
    assert all(name in values[1] for name, values in found.items())
    # Half of 39 s.
    assert found["cut.mp3"][2] is True
    assert found["cut.mp3"][3] == pytest.approx(39.2 / 2, abs=1.0)


def test_the_statistics_of_agents_are_made_at_the_end(analyzed) -> None:
    database, _ = analyzed

    assert rows(database, "SELECT current, timezone FROM statistics_made") == [(True, "UTC")]
    agents = rows(database, "SELECT agent_id, calls FROM agent_statistics WHERE measure = 'escalation_rate'")
    assert sorted(agents) == rows(database, "SELECT agent_id, calls FROM agent_summary ORDER BY agent_id")


def test_two_channels_are_two_speakers_with_roles(analyzed) -> None:
    database, _ = analyzed
    found = rows(
        database,
        "SELECT DISTINCT speaker, role, channel FROM turns WHERE call_id = 'billing-0417' ORDER BY speaker",
    )

    assert found == [("S1", "agent", 0), ("S2", "customer", 1)]


def test_turns_of_the_two_channel_call_match_its_script(analyzed) -> None:
    # In the script the other party takes over ten times.
    database, _ = analyzed
    speakers = [
        speaker
        for (speaker,) in rows(
            database, "SELECT speaker FROM turns WHERE call_id = 'billing-0417' ORDER BY turn_index"
        )
    ]
    changes = sum(before != after for before, after in pairwise(speakers))

    assert speakers[0] == "S1"
    assert changes == 10


def test_a_mono_call_has_two_speakers_without_roles(analyzed) -> None:
    database, _ = analyzed
    found = rows(
        database, "SELECT count(DISTINCT speaker), count(role) FROM turns WHERE call_id = 'outage-0419'"
    )

    assert found == [(2, 0)]


def test_metadata_reaches_the_reports(analyzed) -> None:
    database, _ = analyzed
    found = rows(
        database,
        "SELECT agent_id, customer_id, queue, metadata->>'team', epoch(started_at) FROM calls "
        "WHERE call_id = 'delivery-0418'",
    )

    # 2026-04-18 10:40 at +02:00.
    assert found == [("robert", "C-1002", "parcels", "south", 1776501600.0)]


def test_every_scored_turn_has_windows_and_probabilities(analyzed) -> None:
    database, _ = analyzed
    wrong = rows(
        database,
        """
        SELECT count(*) FROM turns AS t
        WHERE (emotion IS NULL) <> (end_s - start_s < 0.5)
           OR (emotion IS NULL) <> (NOT EXISTS (
                SELECT 1 FROM windows AS w WHERE w.call_id = t.call_id AND w.turn_index = t.turn_index))
           OR abs(p_neutral + p_happy + p_sad + p_angry + p_fearful + p_disgust + p_surprised - 1) > 1e-3
        """,
    )

    assert wrong == [(0,)]


def test_windows_lie_inside_their_turns(analyzed) -> None:
    database, _ = analyzed
    outside = rows(
        database,
        "SELECT count(*) FROM windows AS w JOIN turns AS t USING (call_id, turn_index) "
        "WHERE w.start_s < t.start_s OR w.end_s > t.end_s OR w.end_s <= w.start_s",
    )

    assert outside == [(0,)]


def test_a_second_run_does_nothing(analyzed, tmp_path: Path) -> None:
    database, _ = analyzed
    copy = tmp_path / "copy.duckdb"
    shutil.copy(database, copy)
    calls = database.parent / "examples"
    again = callmood.analyze(calls / "calls", db=str(copy), metadata=str(calls / "metadata.csv"), jobs=1)

    assert (again.analyzed, again.already_known) == (0, 8)
    assert again.exit_code == Exit.OK
    assert rows(copy, "SELECT count(*) FROM runs") == [(2,)]


def test_under_customer_nobody_else_is_scored(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    for name in ("delivery-0418.wav", "renewal-0420.opus"):
        shutil.copy(EXAMPLES / "calls" / name, folder / name)
    database = tmp_path / "x.duckdb"
    callmood.analyze(
        folder,
        db=str(database),
        metadata=str(_metadata_for(tmp_path)),
        jobs=1,
        emotion_for="customer",
        device="cpu",
    )
    scored = rows(
        database,
        "SELECT call_id, role, count(*), count(emotion) > 0, count(valence) FROM turns GROUP BY ALL ORDER BY ALL",
    )

    assert [(call_id, role, some) for call_id, role, _, some, _ in scored] == [
        ("delivery-0418", "agent", False),
        ("delivery-0418", "customer", True),
        ("renewal-0420", None, False),
    ]
    assert rows(database, "SELECT emotion_for FROM runs") == [("customer",)]
    assert rows(
        database,
        "SELECT count(*) FROM windows JOIN turns USING (call_id, turn_index) WHERE role <> 'customer'",
    ) == [(0,)]


def test_turns_may_be_brought_along(tmp_path: Path) -> None:
    folder, turns = tmp_path / "calls", tmp_path / "turns"
    folder.mkdir()
    turns.mkdir()
    for name in ("delivery-0418.wav", "renewal-0420.opus"):
        shutil.copy(EXAMPLES / "calls" / name, folder / name)
    (turns / "renewal-0420.rttm").write_text(
        "SPEAKER x 1 0.5 2.0 <NA> <NA> Ann <NA> <NA>\nSPEAKER x 1 3.0 4.0 <NA> <NA> Bob <NA> <NA>\n"
    )
    database = tmp_path / "x.duckdb"
    summary = callmood.analyze(folder, db=str(database), rttm=str(turns), jobs=1, device="cpu")

    assert len(summary.failures) == 1
    assert "delivery-0418.wav: no turns at " in str(summary.failures[0].error)
    assert rows(
        database, "SELECT speaker, start_s, end_s, emotion IS NOT NULL FROM turns ORDER BY start_s"
    ) == [
        ("Ann", 0.5, 2.5, True),
        ("Bob", 3.0, 7.0, True),
    ]
    assert rows(database, "SELECT diarizer FROM calls WHERE status = 'ok'") == [("rttm",)]


def _metadata_for(folder: Path) -> Path:
    text = (EXAMPLES / "metadata.csv").read_text()
    path = folder / "metadata.csv"
    path.write_text(text)
    return path


def test_two_legs_are_one_call(tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(EXAMPLES / "calls" / "delivery-0418.wav", dtype="float32")
    for channel, name in enumerate(("left.wav", "right.wav")):
        soundfile.write(tmp_path / name, samples[:, channel], rate_hz)
    (tmp_path / "calls.csv").write_text("call_id,path,role\nd1,left.wav,agent\nd1,right.wav,customer\n")
    database = tmp_path / "x.duckdb"
    callmood.analyze(tmp_path, db=str(database), metadata=str(tmp_path / "calls.csv"), jobs=1, device="cpu")

    assert rows(database, "SELECT call_id, channels, status FROM calls") == [("d1", 1, "ok")]
    assert rows(database, "SELECT DISTINCT speaker, role FROM turns ORDER BY ALL") == [
        ("S1", "agent"),
        ("S2", "customer"),
    ]


def test_a_leg_on_its_own_is_one_party_with_its_role(tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(EXAMPLES / "calls" / "delivery-0418.wav", dtype="float32")
    soundfile.write(tmp_path / "right.wav", samples[:, 1], rate_hz)
    (tmp_path / "calls.csv").write_text("call_id,path,role\nd1,right.wav,customer\n")
    database = tmp_path / "x.duckdb"
    callmood.analyze(
        tmp_path / "right.wav", db=str(database), metadata=str(tmp_path / "calls.csv"), jobs=1, device="cpu"
    )

    assert rows(database, "SELECT DISTINCT call_id, speaker, role FROM turns") == [("d1", "S1", "customer")]


def test_silence_is_no_failure(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(40_000, dtype=np.float32), 8000)
    database = tmp_path / "x.duckdb"
    summary = callmood.analyze(tmp_path, db=str(database), jobs=1, device="cpu")

    assert summary.exit_code == Exit.OK
    assert rows(database, "SELECT status, duration_s FROM calls") == [("no_speech", 5.0)]


def test_a_missing_input_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        callmood.analyze(tmp_path / "nowhere", db=str(tmp_path / "x.duckdb"))


def test_what_analyze_wrote_is_plain_sql_for_anyone(analyzed) -> None:
    database, _ = analyzed
    with duckdb.connect(str(database), read_only=True) as connection:
        settings = json.loads(connection.execute("SELECT settings FROM runs").fetchone()[0])

    assert settings["emotion_for"] == "everyone"


@pytest.mark.skipif(not CALLS.is_dir(), reason="the shared calls are not there")
def test_a_real_two_channel_call_matches_its_reference_turns(tmp_path: Path) -> None:
    """At least 85 % of 10 ms frames of the role-played call have the right set of speakers."""
    (tmp_path / "calls.csv").write_text(
        "call_id,path,role\n"
        f"auto,{CALLS / 'Auto_Repairs_40_UTC_agent.wav'},agent\n"
        f"auto,{CALLS / 'Auto_Repairs_40_UTC_caller.wav'},customer\n"
    )
    database = tmp_path / "x.duckdb"
    callmood.analyze(
        CALLS / "Auto_Repairs_40_UTC_agent.wav",
        CALLS / "Auto_Repairs_40_UTC_caller.wav",
        db=str(database),
        metadata=str(tmp_path / "calls.csv"),
        jobs=1,
        device="cpu",
    )
    spoken = np.zeros((2, 24_600), dtype=bool)
    reference = np.zeros_like(spoken)
    for role, start_s, end_s in rows(database, "SELECT role, start_s, end_s FROM turns"):
        spoken[role == "customer", round(start_s * 100) : round(end_s * 100)] = True
    for line in (CALLS / "Auto_Repairs_40_UTC.rttm").read_text().splitlines():
        fields = line.split()
        start_s, length_s = float(fields[3]), float(fields[4])
        reference[fields[7] != "agent", round(start_s * 100) : round((start_s + length_s) * 100)] = True

    assert (spoken == reference).all(axis=0).mean() > 0.85


def test_turns_of_a_file_without_a_database(tmp_path: Path) -> None:
    two = callmood.find_turns(EXAMPLES / "calls" / "delivery-0418.wav")
    assert two.engine.startswith("channels")
    assert {turn.channel for turn in two.turns} == {0, 1}
    one = callmood.find_turns(EXAMPLES / "calls" / "renewal-0420.opus", device="cpu")
    assert one.engine.startswith("builtin")
    assert {turn.speaker for turn in one.turns} == {"S1", "S2"}
    assert one.lost_s == 0.0

    whole = (EXAMPLES / "calls" / "outage-0419.mp3").read_bytes()
    (tmp_path / "cut.wav").write_bytes((EXAMPLES / "calls" / "delivery-0418.wav").read_bytes()[: len(whole)])
    assert callmood.find_turns(tmp_path / "cut.wav").lost_s > 1.0
    (tmp_path / "cut.rttm").write_text("SPEAKER x 1 0.5 1.0 <NA> <NA> Ann <NA> <NA>\n")
    told = callmood.find_turns(tmp_path / "cut.wav", rttm=str(tmp_path))
    assert (told.engine, [turn.speaker for turn in told.turns]) == ("rttm", ["Ann"])
    with pytest.raises(RecordingError, match=r"renewal-0420\.opus: .*--diarizer builtin or auto"):
        callmood.find_turns(EXAMPLES / "calls" / "renewal-0420.opus", diarizer="channels")
