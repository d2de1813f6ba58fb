"""Linking agents by voice, on directions drawn by hand, and what it leaves in a database."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import NOON, make_result, make_run

import callmood
from callmood import link_run
from callmood.linking import Voices, choose
from callmood.results import connect
from callmood.results.store import Store
from callmood.types import LinkedAgent


def call(number: int, *angles: float, told: int | None = None) -> Voices:
    """Voices as directions in the plane, in degrees."""
    radians = np.radians(angles)
    return Voices(
        call_id=f"call-{number}",
        speakers=tuple(f"S{i + 1}" for i in range(len(angles))),
        embeddings=np.column_stack([np.cos(radians), np.sin(radians)]).astype(np.float32),
        told=told,
    )


CALLS = [call(1, 10, 120), call(2, 200, 0), call(3, 350, 270), call(4, 90, 5)]


def test_the_voice_that_all_calls_share_is_the_agents() -> None:
    assert [choice.speaker for choice in choose(CALLS)] == ["S1", "S2", "S1", "S2"]


def test_the_order_of_calls_does_not_matter() -> None:
    assert choose(CALLS[::-1]) == choose(CALLS)


def test_two_calls_tell_nothing() -> None:
    assert choose(CALLS[:2]) == []


def test_a_told_agent_decides_between_voices_that_agree_equally_well() -> None:
    calls = [call(n, 0, 180) for n in (1, 2)]
    for told, speaker in ((0, "S1"), (1, "S2")):
        assert {c.speaker for c in choose([*calls, call(3, 0, 180, told=told)])} == {speaker}


def test_a_clear_choice_is_surer_than_a_narrow_one() -> None:
    clear, *_, narrow = choose([*CALLS, call(5, 0, 8)])

    assert clear.confidence > 0.9
    # A margin near 0 says no more than that nothing is known.
    assert narrow.confidence < 0.5


def test_roles_are_written_and_emotions_that_they_forbid_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    run = make_run()
    object.__setattr__(run, "emotion_for", "customer")
    with Store(path) as store:
        store.begin_run(run)
        store.write(make_result(agent_id="alice"), run, analyzed_at=NOON)
        turns = store.linkable_turns()["call-1"][1]
        # The voice says that S2, scored as the customer, is the agent.
        link = LinkedAgent(agent_id="alice", confidence=0.95, spans=((7.0, 13.0), (20.0, 28.0)))
        linking = {
            "linked_at": NOON,
            "version": "0",
            "model_hash": "m",
            "agents": 1,
            "calls": 1,
            "calls_linked": 1,
        }
        store.write_links(["call-1"], {"call-1": ("S2", link, link_run.with_agent(turns, "S2"))}, linking)
        assert [known.rescore for known in store.known_calls()] == [True]
        (linked,) = store.with_linked_agents([make_result(agent_id="alice").recording])
        assert linked.linked == link
    with connect(path) as connection:
        roles = connection.execute("SELECT DISTINCT speaker, role FROM turns ORDER BY 1").fetchall()
        scored = connection.execute("SELECT count(*) FROM turns WHERE valence IS NOT NULL AND role = 'agent'")
        assert roles == [("S1", "customer"), ("S2", "agent")]
        assert scored.fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM escalation_events").fetchone() == (0,)
        source = connection.execute("SELECT role_source, role_confidence FROM call_summary").fetchone()
        assert source == ("voice", pytest.approx(0.95))


def test_after_linking_a_run_for_customers_takes_the_calls_up(
    analyze_small, small_calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "m.csv"
    metadata.write_text("call_id,agent_id\n" + "".join(f"{n},alice\n" for n in range(4)))
    options = {"metadata": str(metadata), "emotion_for": "customer"}
    analyze_small(**options)

    def voices_of(recording, turns, model, *, told):  # type: ignore[no-untyped-def]
        # The second half is the agent's in each call; the customers differ.
        return call(int(recording.call_id), 60 + 90 * int(recording.call_id), 0)

    monkeypatch.setattr(link_run, "_voices", lambda r, t, m, told: voices_of(r, t, m, told=told))
    monkeypatch.setattr(
        link_run,
        "choose",
        lambda calls: [
            type(c)(**{**vars(c), "call_id": c.call_id.removeprefix("call-"), "confidence": 0.99})
            for c in choose(calls)
        ],
    )
    summary = callmood.link_agents(db=str(tmp_path / "x.duckdb"))
    again = analyze_small(**options)
    after = analyze_small(**options)

    assert (summary.linked, summary.missing) == (4, 0)
    assert (again.analyzed, after.analyzed) == (4, 0)
    with connect(tmp_path / "x.duckdb") as connection:
        found = connection.execute(
            "SELECT speaker, role, count(emotion) FROM turns GROUP BY ALL ORDER BY 1"
        ).fetchall()
        spans = connection.execute("SELECT spans FROM linked_agents LIMIT 1").fetchone()[0]
    assert found == [("S1", "customer", 4), ("S2", "agent", 0)]
    assert json.loads(spans) == [[1.0, 2.0]]
