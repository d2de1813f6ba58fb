"""Who is the agent, by which source; and that the network never hears whom it may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import NOON, make_recording, make_result, make_run

from callmood.features import FrontEnd
from callmood.pipeline import Engines, analyze_audio
from callmood.results.store import Store
from callmood.roles import roles_of, speaker_of, with_agent
from callmood.types import Analysis, Audio, Floats, Leg, LinkedAgent, Recording, Turn

RATE_HZ = 8000


def turn(speaker: str, start_s: float, end_s: float, *, channel: int = 0) -> Turn:
    return Turn(speaker=speaker, channel=channel, start_s=start_s, end_s=end_s)


TURNS = (turn("S1", 0.0, 4.0), turn("S2", 4.0, 7.0), turn("S1", 8.0, 10.0))
LINKED = LinkedAgent(agent_id="alice", confidence=0.95, spans=((4.0, 7.0),))


def roles(turns: tuple[Turn, ...]) -> list[str | None]:
    return [turn.role for turn in turns]


# Sources, in their order


def test_the_channel_of_the_agent_comes_first() -> None:
    turns = (turn("S1", 0, 4, channel=0), turn("S2", 4, 7, channel=1))
    recording = replace(make_recording(agent_id="alice", agent_channel=1), linked=LINKED)

    found = roles_of(turns, recording=recording, channels=2, guess=True)

    assert (roles(found.turns), found.source, found.confidence) == (["customer", "agent"], "channel", 1.0)


def test_roles_of_legs_come_from_the_metadata() -> None:
    legs = (Leg(path=Path("a.wav"), role="agent"), Leg(path=Path("c.wav"), role="customer"))
    recording = replace(make_recording(agent_channel=0), legs=legs)
    found = roles_of((turn("S1", 0, 4),), recording=recording, channels=2)

    assert (found.source, found.confidence) == ("metadata", 1.0)


def test_speakers_that_are_called_by_their_roles_have_them() -> None:
    turns = (turn("Agent", 0, 4), turn("customer", 4, 7), turn("other", 7, 8))
    found = roles_of(turns, recording=make_recording(), channels=1)

    assert (roles(found.turns), found.source) == (["agent", "customer", None], "metadata")


def test_the_voice_comes_before_the_guess() -> None:
    recording = replace(make_recording(agent_id="alice"), linked=LINKED)
    found = roles_of(TURNS, recording=recording, channels=1, guess=True)

    assert (roles(found.turns), found.source) == (["customer", "agent", "customer"], "voice")
    assert found.confidence == pytest.approx(0.95)


def test_a_voice_of_another_agent_says_nothing() -> None:
    recording = replace(make_recording(agent_id="bob"), linked=LINKED)

    assert roles_of(TURNS, recording=recording, channels=1).source is None


def test_the_guess_is_made_where_asked_for_and_is_not_sure() -> None:
    recording = make_recording(agent_id="alice")

    assert roles_of(TURNS, recording=recording, channels=1).source is None
    found = roles_of(TURNS, recording=recording, channels=1, guess=True)
    assert (roles(found.turns), found.source, found.confidence) == (
        ["agent", "customer", "agent"],
        "heuristic",
        0.6,
    )


@pytest.mark.parametrize("turns", [(), TURNS[:1], (*TURNS, turn("S3", 10, 12))])
def test_nothing_is_guessed_unless_there_are_two(turns: tuple[Turn, ...]) -> None:
    assert roles_of(turns, recording=make_recording(), channels=1, guess=True).source is None


def test_a_channel_that_was_told_of_one_channel_audio_says_nothing() -> None:
    assert roles_of(TURNS, recording=make_recording(agent_channel=0), channels=1).source is None


def test_with_a_third_speaker_nobody_is_taken_for_the_customer() -> None:
    assert roles(with_agent((*TURNS, turn("S3", 10, 12)), "S2")) == [None, "agent", None, None]


def test_the_linked_speaker_is_found_again_under_another_number() -> None:
    # S1 has 3.2 of its 3.4 s in the 3 s linked: 2 * 3.0 / (3.0 + 3.4).
    again = (turn("S2", 0.0, 3.8), turn("S1", 3.8, 7.2))
    speaker, agreement = speaker_of(again, LINKED)

    assert speaker == "S1"
    assert agreement == pytest.approx(6.0 / 6.4)


def test_a_speaker_who_matches_too_little_is_nobody() -> None:
    assert speaker_of((turn("S1", 0.0, 5.5), turn("S2", 5.5, 7.0)), LINKED)[0] is None


# Whose emotions: what reaches the network


class Listening:
    """A network that keeps what it is shown."""

    front_end = FrontEnd()

    def __init__(self) -> None:
        self.shown: list[Floats] = []

    def probabilities(self, stretches, spans):
        self.shown += stretches
        return [np.full((len(rows), 7), 1 / 7, dtype=np.float32) for rows in spans]


class Told:
    """A diarizer that was told the turns."""

    name = "told"

    def __init__(self, turns: tuple[Turn, ...], *, by_channel: bool) -> None:
        self.turns, self.by_channel = turns, by_channel

    def __call__(self, _: Audio) -> tuple[Turn, ...]:
        return self.turns


def analysis_of(
    samples: Floats, turns: tuple[Turn, ...], recording: Recording, **options: object
) -> tuple[Analysis, list[Floats]]:
    audio = Audio(
        samples=samples, rate_hz=RATE_HZ, source_rate_hz=RATE_HZ, source_channels=len(samples), codec="PCM_16"
    )
    network = Listening()
    engines = Engines(
        diarizer=Told(turns, by_channel=len(samples) == 2),
        model=network,
        **({"emotion_for": "customer", "min_role_confidence": 0.9} | options),  # type: ignore[arg-type]
    )
    return analyze_audio(audio, recording, engines), network.shown


def with_other_agent(samples: Floats, turns: tuple[Turn, ...], agent: str) -> Floats:
    """The same call, in which the agent says something else."""
    changed = samples.copy()
    rng = np.random.default_rng(1)
    for own in (turn for turn in turns if turn.speaker == agent):
        span = slice(round(own.start_s * RATE_HZ), round(own.end_s * RATE_HZ))
        changed[own.channel, span] = rng.normal(0, 0.5, size=len(changed[own.channel, span]))
    return changed


OVERLAPPED = (
    turn("S1", 0.0, 3.0),
    turn("S2", 2.8, 8.0),
    turn("S1", 5.0, 5.6),
    turn("S2", 8.3, 10.0),
    turn("S1", 10.0, 12.0),
    turn("S1", 8.1, 8.2),
)


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param(tuple(sorted(OVERLAPPED, key=lambda t: t.start_s)), id="mono, overlapped"),
        pytest.param(
            tuple(
                replace(turn, channel=int(turn.speaker == "S2"))
                for turn in sorted(OVERLAPPED, key=lambda t: t.start_s)
            ),
            id="two channels",
        ),
    ],
)
def test_nothing_that_the_agent_says_changes_what_the_network_hears(turns: tuple[Turn, ...]) -> None:
    channels = 1 + max(turn.channel for turn in turns)
    samples = np.random.default_rng(0).normal(0, 0.1, size=(channels, 12 * RATE_HZ)).astype(np.float32)
    spans = tuple((turn.start_s, turn.end_s) for turn in turns if turn.speaker == "S1")
    recording = replace(
        make_recording(agent_id="alice", agent_channel=0 if channels == 2 else None),
        linked=LinkedAgent(agent_id="alice", confidence=0.99, spans=spans),
    )

    one, heard = analysis_of(samples, turns, recording)
    other, heard_of_other = analysis_of(with_other_agent(samples, turns, "S1"), turns, recording)

    assert heard
    assert [stretch.shape for stretch in heard] == [stretch.shape for stretch in heard_of_other]
    for stretch, of_other in zip(heard, heard_of_other, strict=True):
        assert np.array_equal(stretch, of_other)
    assert np.array_equal(one.turn_affect.valence, other.turn_affect.valence, equal_nan=True)
    # Agents have conversation measures alone.
    scored = ~np.isnan(one.turn_affect.valence)
    assert {turn.role for turn, has in zip(one.turns, scored, strict=True) if has} == {"customer"}
    assert {one.turns[index].role for index in one.windows.turn_index} == {"customer"}


def test_a_changed_customer_does_change_what_it_hears() -> None:
    """The test above can fail."""
    turns = tuple(sorted(OVERLAPPED, key=lambda t: t.start_s))
    samples = np.random.default_rng(0).normal(0, 0.1, size=(1, 12 * RATE_HZ)).astype(np.float32)
    spans = tuple((turn.start_s, turn.end_s) for turn in turns if turn.speaker == "S1")
    recording = replace(
        make_recording(agent_id="alice"),
        linked=LinkedAgent(agent_id="alice", confidence=0.99, spans=spans),
    )
    _, heard = analysis_of(samples, turns, recording)
    _, heard_of_other = analysis_of(with_other_agent(samples, turns, "S2"), turns, recording)

    assert not np.array_equal(heard[0], heard_of_other[0])


def test_the_agent_is_heard_where_everyone_is() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, size=(1, 12 * RATE_HZ)).astype(np.float32)
    found, heard = analysis_of(samples, TURNS, make_recording(), emotion_for="everyone")

    assert len(heard) == 3
    assert found.role_source is None


@pytest.mark.parametrize("emotion_for", ["customer", "agent"])
@pytest.mark.parametrize(
    ("confidence", "heard_any"), [(0.89, False), (0.9, True)], ids=["unsure", "sure enough"]
)
def test_roles_that_are_not_sure_enough_let_nobody_be_heard(
    emotion_for: str, confidence: float, heard_any: bool
) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, size=(1, 12 * RATE_HZ)).astype(np.float32)
    recording = replace(make_recording(agent_id="alice"), linked=replace(LINKED, confidence=confidence))
    found, heard = analysis_of(samples, TURNS, recording, emotion_for=emotion_for)

    assert bool(heard) is heard_any
    # The roles themselves are told all the same.
    assert (roles(found.turns), found.role_source) == (
        ["customer", "agent", "customer"],
        "voice",
    )


def test_a_guess_lets_nobody_be_heard_unless_the_minimum_is_lowered_to_it() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, size=(1, 12 * RATE_HZ)).astype(np.float32)
    _, heard = analysis_of(samples, TURNS, make_recording(), guess_roles=True)
    _, heard_lower = analysis_of(samples, TURNS, make_recording(), guess_roles=True, min_role_confidence=0.6)

    assert heard == []
    assert len(heard_lower) == 1


def test_of_three_speakers_the_network_hears_none_but_a_told_customer() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, size=(1, 13 * RATE_HZ)).astype(np.float32)
    recording = replace(make_recording(agent_id="alice"), linked=LINKED)
    _, heard = analysis_of(samples, (*TURNS, turn("S3", 10.0, 12.0)), recording)

    assert heard == []


def test_an_agent_who_turns_out_another_has_no_linked_role(tmp_path: Path) -> None:
    database = tmp_path / "x.duckdb"
    with Store(database) as store:
        store.write(make_result("a", agent_id="alice"), make_run(), analyzed_at=NOON)
        store.connection.execute("UPDATE calls SET role_source = 'voice', role_confidence = 0.95")
        store.connection.execute(
            "INSERT INTO linked_agents SELECT call_id, content_hash, 'alice', 'S1', 0.95, 3, '[]' FROM calls"
        )
        store.update_metadata([make_recording("a", agent_id="robert")])
        found = store.connection.execute(
            "SELECT agent_id, role_source, (SELECT count(role) FROM turns), (SELECT count(*) FROM linked_agents) "
            "FROM calls"
        ).fetchall()

    assert found == [("robert", None, 0, 0)]
