"""Measures of mood and conversation, on timelines drawn by hand with values worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import NOON, certain, make_recording, make_result, make_run

import callmood
from callmood.diarize.turns import mark_overlap
from callmood.results.derived import DERIVED
from callmood.results.metrics import metrics_document
from callmood.results.schema import MIGRATIONS, Connection, m001_initial, migrate
from callmood.results.store import Store
from callmood.results.views import MEASURES
from callmood.statistics.measures import MEASURES as GROUP_MEASURES
from callmood.trajectory import affect_of
from callmood.types import Analysis, CallResult, Nonspeech, Turn, TurnSignal, Windows

ROLES = {"S1": "agent", "S2": "customer"}


def turn(speaker: str, start_s: float, end_s: float, *, channel: int | None = None) -> Turn:
    own = int(speaker[1:]) - 1 if channel is None else channel
    return Turn(
        speaker=speaker,
        channel=own,
        start_s=start_s,
        end_s=end_s,
        role=ROLES.get(speaker),  # type: ignore[arg-type]
    )


def drawn(call_id: str, *turns: Turn, duration_s: float, **changes: Any) -> CallResult:
    """A call of the given turns in which nothing was scored, unless `changes` say more."""
    ordered = mark_overlap(turns)
    analysis = Analysis(
        duration_s=duration_s,
        channels=2,
        rate_hz=8000,
        codec="ULAW",
        lost_s=0.0,
        diarizer="channels 1",
        turns=ordered,
        turn_affect=affect_of(certain(*[None] * len(ordered))),
        windows=Windows(
            turn_index=np.zeros(0, dtype=np.int32),
            start_s=np.zeros(0),
            end_s=np.zeros(0),
            affect=affect_of(certain()),
            negativity_smooth=np.zeros(0, dtype=np.float32),
        ),
        escalations=(),
    )
    return CallResult(
        recording=make_recording(call_id, agent_id="alice"),
        status="ok" if turns else "no_speech",
        analysis=replace(analysis, **changes),
    )


def talked() -> CallResult:
    """100 s in which S1 answers early twice and late once, S2 says a word in between and then talks for long.

    S1  0----8      14====20                         46--50                         89.7--92
    S2         9----15  16=17  20.5----30 31----40            70-----80   84------90
                                        tone 40-43        music 54.5-69
    """
    kinds = [
        (8, 9, "silence"),
        (20, 20.5, "silence"),
        (30, 31, "silence"),
        (40, 43, "tone"),
        (43, 46, "silence"),
        (50, 54.5, "silence"),
        (54.5, 69, "music"),
        (69, 70, "silence"),
        (80, 84, "silence"),
        (92, 100, "silence"),
    ]
    signals = {
        0: TurnSignal(level_dbfs=-30, syllables=32),
        9: TurnSignal(level_dbfs=-20),
        14: TurnSignal(level_dbfs=-30, syllables=24),
        16: TurnSignal(level_dbfs=-20),
        20.5: TurnSignal(level_dbfs=-20),
        31: TurnSignal(level_dbfs=-20),
        46: TurnSignal(level_dbfs=-30, syllables=16),
        70: TurnSignal(level_dbfs=-20),
        84: TurnSignal(level_dbfs=-30),
        89.7: TurnSignal(level_dbfs=-20),
    }
    return drawn(
        "talked",
        turn("S1", 0, 8),
        turn("S2", 9, 15),
        turn("S1", 14, 20),
        turn("S2", 16, 17),
        turn("S2", 20.5, 30),
        turn("S2", 31, 40),
        turn("S1", 46, 50),
        turn("S2", 70, 80),
        turn("S2", 84, 90),
        turn("S1", 89.7, 92),
        duration_s=100.0,
        turn_signals=tuple(signals.values()),
        nonspeech=tuple(
            Nonspeech(start_s=start, end_s=end, kind=kind, level_dbfs=-60.0)  # type: ignore[arg-type]
            for start, end, kind in kinds
        ),
    )


def felt() -> CallResult:
    """40 s; six turns of the customer of 4 s with four windows each, and a turn of the agent with one."""
    starts = (0.0, 5.0, 12.0, 20.0, 30.0, 35.0)
    emotions = ("neutral", "happy", "angry", "angry", "neutral", "happy")
    turns = [turn("S2", start, start + 4) for start in starts]
    agent = turn("S1", 26.0, 28.0)
    ordered = [*turns[:4], agent, *turns[4:]]
    begins = [
        (index, spoken.start_s + hop)
        for index, spoken in enumerate(ordered)
        if spoken is not agent
        for hop in (0, 0.5, 1, 1.5)
    ]
    begins = sorted([*begins, (4, 26.0)])
    of_turn = [*emotions[:4], "sad", *emotions[4:]]
    # Twice the same height; the first counts.
    peaks = {20.5: 0.9, 21.0: 0.9}
    return drawn(
        "felt",
        *ordered,
        duration_s=40.0,
        turn_affect=affect_of(certain(*of_turn)),
        windows=Windows(
            turn_index=np.array([index for index, _ in begins], dtype=np.int32),
            start_s=np.array([start for _, start in begins]),
            end_s=np.array([start + 2 for _, start in begins]),
            affect=affect_of(certain(*(of_turn[index] for index, _ in begins))),
            negativity_smooth=np.array([peaks.get(start, 0.25) for _, start in begins], dtype=np.float32),
        ),
    )


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """What was drawn above, calls with too little in them, and one that does not decode."""
    path = tmp_path / "calls.duckdb"
    results = [
        talked(),
        felt(),
        drawn("alone", turn("S1", 0, 30), duration_s=40.0),
        drawn(
            "nobody",
            duration_s=20.0,
            nonspeech=(Nonspeech(start_s=0, end_s=20, kind="music", level_dbfs=-20.0),),
        ),
        *(
            drawn(
                name,
                turn("S1", 0, 10, channel=0),
                turn("S2", 11, 20, channel=0),
                duration_s=70.0,
                diarizer=diarizer,
            )
            for name, diarizer in (("one-channel", "builtin 2"), ("nobody talked over", "builtin 6"))
        ),
        CallResult(recording=make_recording("broken"), status="unreadable", error="no audio."),
    ]
    with Store(path) as store:
        for result in results:
            store.write(result, make_run(), analyzed_at=NOON)
    with callmood.connect(path) as connection:
        yield connection


def row(connection: Connection, view: str, call_id: str, speaker: str | None = None) -> dict[str, Any]:
    query = f"SELECT * FROM {view} WHERE call_id = ?" + (" AND speaker = ?" if speaker else "")
    answer = connection.execute(query, [call_id, speaker] if speaker else [call_id])
    names = [column[0] for column in answer.description]
    (values,) = answer.fetchall()
    return dict(zip(names, values, strict=True))


def check(found: dict[str, Any], **expected: Any) -> None:
    assert {name: found[name] for name in expected} == {
        name: pytest.approx(value) if isinstance(value, float) else value for name, value in expected.items()
    }


def test_how_the_agent_of_the_drawn_call_talked(connection: Connection) -> None:
    # 8 + 6 + 4 + 2.3 of 61.8 s of speech and of 100 s. Takes the floor at 14 (-1 s), 46 (6 s) and 89.7 s (-0.3 s).
    # Begins over S2 at 14 (1 s, S2 yields) and at 89.7 s (0.3 s: too short to interrupt). 72 syllables in the 18 s
    # in which they were counted. -30 dBFS in the first third, -20 in the last.
    check(
        row(connection, "speaker_conversation", "talked", "S1"),
        role="agent",
        agent_id="alice",
        turns=4,
        speech_s=20.3,
        talk_share=20.3 / 61.8,
        talk_share_of_call=0.203,
        turn_length_mean_s=20.3 / 4,
        monologue_s=8.0,
        monologue_start_s=0.0,
        responses=3,
        responses_overlapping=2,
        response_median_gap_s=-0.3,
        response_overlap_share=2 / 3,
        overtalks_begun=2,
        overtalk_begun_s=1.3,
        interruptions=1,
        interrupted=0,
        interruptions_per_hour=36.0,
        speech_rate=4.0,
        level_change_db=10.0,
        too_thin=None,
    )


def test_how_the_customer_of_the_drawn_call_talked(connection: Connection) -> None:
    # Takes the floor at 9 (1 s), 20.5 (0.5 s) and 70 s (20 s: no response to what was said before). The word at 16 s
    # takes no floor and interrupts nobody. From 20.5 to 40 s nobody else takes it; before 84 s the pause is too long.
    # The last third: 10 s at -20 and 6 s at -30 dBFS, which is a mean power of 0.106 / 16.
    found = row(connection, "speaker_conversation", "talked", "S2")
    check(
        found,
        turns=6,
        speech_s=41.5,
        monologue_s=19.5,
        monologue_start_s=20.5,
        responses=2,
        response_median_gap_s=None,
        overtalks_begun=1,
        overtalk_begun_s=1.0,
        interruptions=0,
        interrupted=1,
        speech_rate=None,
        level_change_db=10 * float(np.log10(0.106 / 16)) + 20,
    )
    assert found["too_thin"] == (
        "response_median_gap_s: fewer than 3 responses; response_overlap_share: fewer than 3 responses; "
        "speech_rate: syllables were not counted when the call was analyzed"
    )


def test_how_the_drawn_call_was_talked(connection: Connection) -> None:
    # Together from 14 to 15, 16 to 17 and 89.7 to 90 s. Changes of the floor after 1, -1, 0.5, 6, 20 and -0.3 s.
    # Silences of 4.5, 4 and 8 s are over 3 s; that of 3 s is not.
    check(
        row(connection, "call_conversation", "talked"),
        speakers=2,
        turns=10,
        spoken_s=59.5,
        speech_share_of_call=0.595,
        speaker_changes=6,
        responses=5,
        response_median_gap_s=0.5,
        response_overlap_share=0.4,
        overtalk_s=2.3,
        overtalk_share_of_call=0.023,
        overtalk_share_of_speech=2.3 / 59.5,
        overtalks=3,
        interruptions=1,
        unspoken_s=40.5,
        silence_s=23.0,
        silence_share_of_call=0.23,
        longest_silence_s=8.0,
        dead_airs=3,
        dead_air_s=16.5,
        tone_s=3.0,
        music_s=14.5,
        noise_s=0.0,
        too_thin=None,
    )


def test_changes_of_the_floor_are_rows(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT from_speaker, speaker, round(gap_s, 6) FROM speaker_changes WHERE call_id = 'talked' ORDER BY start_s"
    ).fetchall()

    assert rows == [
        ("S1", "S2", 1.0),
        ("S2", "S1", -1.0),
        ("S1", "S2", 0.5),
        ("S2", "S1", 6.0),
        ("S1", "S2", 20.0),
        ("S2", "S1", -0.3),
    ]


def test_overtalks_are_rows_with_who_began_and_who_yielded(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT speaker, over_speaker, start_s, end_s, yielded, interruption FROM overtalks WHERE call_id = 'talked' "
        "ORDER BY start_s"
    ).fetchall()

    assert rows == [
        ("S1", "S2", 14.0, 15.0, "S2", True),
        ("S2", "S1", 16.0, 17.0, "S2", False),
        ("S1", "S2", 89.7, 90.0, "S2", False),
    ]


def test_two_who_begin_at_once_interrupt_nobody(tmp_path: Path) -> None:
    path = tmp_path / "calls.duckdb"
    with Store(path) as store:
        store.write(
            drawn("tie", turn("S1", 0, 5), turn("S2", 0, 8), duration_s=10.0), make_run(), analyzed_at=NOON
        )
    with callmood.connect(path) as connection:
        check(row(connection, "overtalks", "tie"), speaker=None, yielded="S1", interruption=False)
        check(row(connection, "call_conversation", "tie"), overtalk_s=5.0, interruptions=0, speaker_changes=0)


def test_time_of_three_at_once_counts_once_as_overtalk(tmp_path: Path) -> None:
    path = tmp_path / "calls.duckdb"
    three = drawn("three", turn("S1", 0, 10), turn("S2", 4, 6), turn("S3", 5, 7), duration_s=10.0)
    with Store(path) as store:
        store.write(three, make_run(), analyzed_at=NOON)
    with callmood.connect(path) as connection:
        check(row(connection, "call_conversation", "three"), overtalk_s=3.0, spoken_s=10.0, overtalks=3)


def test_mood_of_the_drawn_call(connection: Connection) -> None:
    # Windows centred 1, 1.5, 2 and 2.5 s after each turn's start; thirds end at 13.33 and 26.67 s, so the angry turn
    # at 12 s has its first window in the first third. Valence: happy 0.81, angry -0.51, neutral 0.
    # Steps between turns: 0.81, -1.32, 0, 0.51, 0.81 of valence; 0, 1, 0, -1, 0 of negativity.
    check(
        row(connection, "speaker_mood", "felt", "S2"),
        mood_quarter_1=0.405,
        mood_quarter_2=-0.51,
        mood_quarter_3=-0.51,
        mood_quarter_4=0.405,
        windows_third_1=9,
        mood_third_1=(4 * 0.81 - 0.51) / 9,
        mood_third_2=-0.51,
        mood_third_3=0.405,
        mood_change=0.405 - (4 * 0.81 - 0.51) / 9,
        scored_s=24.0,
        neutral_share=1 / 3,
        happy_share=1 / 3,
        angry_share=1 / 3,
        sad_share=0.0,
        valence_volatility=(3.3147 / 5) ** 0.5,
        negativity_volatility=0.4**0.5,
        worst_s=21.5,
        worst_negativity=pytest.approx(0.9),
        best_s=6.0,
        best_valence=0.81,
        too_thin=None,
    )


def test_a_speaker_with_one_window_has_no_mood_and_a_reason(connection: Connection) -> None:
    found = row(connection, "speaker_mood", "felt", "S1")

    check(found, mood_third_3=None, sad_share=None, valence_volatility=None, worst_s=None, windows_third_3=1)
    assert "sad_share: less than 10 s of speech whose emotion was inferred" in found["too_thin"]
    assert "mood_third_3: fewer than 4 windows of speech in the last third of the call" in found["too_thin"]


def test_one_party_alone_has_no_share_of_the_conversation(connection: Connection) -> None:
    found = row(connection, "speaker_conversation", "alone", "S1")

    check(
        found, talk_share=None, talk_share_of_call=0.75, interruptions=None, responses=None, monologue_s=30.0
    )
    assert "talk_share: only one party is heard" in found["too_thin"]


def test_an_engine_that_heard_one_speaker_at_a_time_tells_nothing_of_overtalk(connection: Connection) -> None:
    found = row(connection, "call_conversation", "one-channel")

    check(found, overtalk_s=None, interruptions=None, speaker_changes=1, silence_s=None)
    assert "overtalk_s: the engine that made the turns gives each moment to one speaker" in found["too_thin"]
    assert "silence_s: silence, tones and music were not told apart" in found["too_thin"]

    check(row(connection, "call_conversation", "nobody talked over"), overtalk_s=0.0, interruptions=0)


def test_a_call_in_which_nobody_speaks_is_all_hold_music(connection: Connection) -> None:
    check(
        row(connection, "call_conversation", "nobody"),
        speakers=0,
        unspoken_s=20.0,
        music_s=20.0,
        silence_s=0.0,
        speech_share_of_call=0.0,
        overtalk_s=None,
    )


@pytest.mark.parametrize("view", MEASURES)
def test_whatever_is_unknown_is_named_with_its_reason(connection: Connection, view: str) -> None:
    answer = connection.execute(f"SELECT * FROM {view}")
    columns = [column[0] for column in answer.description]
    rows = [dict(zip(columns, values, strict=True)) for values in answer.fetchall()]
    measures = {measure.name for measure in MEASURES[view]}
    assert any(found["too_thin"] for found in rows)

    for found in rows:
        named = set(re.findall(r"(?:^|; )(\w+): ", found["too_thin"] or ""))
        assert named == {name for name in measures if found[name] is None}, found["call_id"]


def test_components_stand_beside_their_measures(connection: Connection) -> None:
    for view, measures in MEASURES.items():
        columns = {column[0] for column in connection.execute(f"SELECT * FROM {view} LIMIT 0").description}
        for measure in measures:
            assert {measure.name, *measure.components} <= columns


def test_every_decoded_call_has_one_row_and_every_speaker_one(connection: Connection) -> None:
    def counted(query: str) -> Any:
        return connection.execute(query).fetchone()

    assert counted("SELECT count(*), count(DISTINCT call_id) FROM call_conversation") == (6, 6)
    for view in ("speaker_conversation", "speaker_mood", "speaker_summary"):
        assert counted(f"SELECT count(*) FROM {view}") == (9,), view


def test_writing_a_call_again_replaces_what_was_derived_of_it(tmp_path: Path) -> None:
    path = tmp_path / "calls.duckdb"
    with Store(path) as store:
        store.write(talked(), make_run(), analyzed_at=NOON)
        store.write(drawn("talked", turn("S1", 0, 5), duration_s=10.0), make_run(), analyzed_at=NOON)
        store.write(make_result("other"), make_run(), analyzed_at=NOON, supersedes=["talked"])
    with callmood.connect(path) as connection:
        for table in DERIVED:
            ids = connection.execute(f"SELECT DISTINCT call_id FROM {table}").fetchall()
            assert ids == [("other",)], table


def test_what_is_derived_of_one_call_is_what_is_derived_of_all(connection: Connection) -> None:
    stored = {
        table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in DERIVED
    }

    for table, query in DERIVED.items():
        assert connection.execute(f"SELECT * FROM ({query}) ORDER BY ALL").fetchall() == stored[table]


def test_a_database_of_the_first_schema_gets_its_measures(tmp_path: Path, connection: Connection) -> None:
    old = duckdb.connect(str(tmp_path / "old.duckdb"))
    old.execute(
        "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name VARCHAR, applied_at TIMESTAMPTZ DEFAULT now())"
    )
    m001_initial(old)
    old.execute("INSERT INTO schema_migrations (version, name) VALUES (1, 'm001_initial')")
    for table in ("calls", "turns", "windows"):
        names = [r[0] for r in old.execute(f"DESCRIBE {table}").fetchall()]
        listed = ", ".join(names)
        rows = connection.execute(f"SELECT {listed} FROM {table}").fetchall()
        old.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", rows)

    assert migrate(old) == 1
    assert old.execute("SELECT max(version) FROM schema_migrations").fetchone() == (len(MIGRATIONS),)
    assert row(old, "speaker_mood", "felt", "S2") == row(connection, "speaker_mood", "felt", "S2")
    found, now = (
        row(old, "speaker_conversation", "talked", "S1"),
        row(connection, "speaker_conversation", "talked", "S1"),
    )
    check(found, interruptions=now["interruptions"], talk_share=now["talk_share"], speech_rate=None)
    assert "speech_rate: syllables were not counted when the call was analyzed" in found["too_thin"]
    old.close()


def test_the_document_of_measures_is_that_of_the_views(connection: Connection) -> None:
    written = (Path(__file__).resolve().parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert written == metrics_document()

    for view, section in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", written, flags=re.M | re.S):
        documented = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.M))
        if view == "group_statistics":
            assert documented == {measure.name for measure in GROUP_MEASURES}
            continue
        made_of = {
            name
            for row in re.findall(r"^\| `.*$", section, flags=re.M)
            for name in re.findall(r"`(\w+)`", row)
        }
        columns = {column[0] for column in connection.execute(f"SELECT * FROM {view} LIMIT 0").description}
        if view not in MEASURES:
            assert documented == columns
            continue
        keys = {
            "call_id",
            "speaker",
            "role",
            "agent_id",
            "queue",
            "started_at",
            "turn_confidence",
            "role_confidence",
            "too_thin",
        }
        assert columns - keys == made_of | documented, view
        assert documented == {measure.name for measure in MEASURES[view]}
