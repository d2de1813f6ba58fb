"""A whole recording through the live code: `callmood analyze --causal`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from callmood.diarize.turns import mark_overlap, require_telephone_rate
from callmood.diarize.vad import RATE_HZ
from callmood.emotion.score import HOP_S
from callmood.emotions import EMOTIONS
from callmood.live.engine import ENGINE, Engine, Hop, HopHeard, ScoredTurn, ScoredWindow, Stream
from callmood.live.wire import StreamFormat
from callmood.trajectory import affect_of, course_of
from callmood.trajectory.escalation import other_party
from callmood.types import Affect, Analysis, Audio, Escalation, Role, Turn, Windows

_TOGETHER_S = 60.0
"""Hops of so much sound go through the emotion network together."""


@dataclass(frozen=True, kw_only=True)
class _Own:
    """A turn of a channel with what was heard in it."""

    turn: Turn
    scored: ScoredTurn
    windows: tuple[ScoredWindow, ...]


def analyze_causally(
    audio: Audio, engine: Engine, *, agent_channel: int | None = None, party: Role | None = None
) -> Analysis:
    """Turns, scores, trajectory and escalations as a live stream of the same sound would have told them.

    One channel is one speaker, S1: nothing that is to be told at once can tell voices apart that have hardly been heard.
    """
    require_telephone_rate(audio, RATE_HZ)
    stream = engine.open(
        StreamFormat(rate_hz=audio.rate_hz, channels=audio.channels, agent_channel=agent_channel, party=party)
    )
    stream.feed(audio.samples.T)
    stream.end()
    windows: dict[int, list[ScoredWindow]] = {}
    owns: list[_Own] = []
    for hop in _hops(engine, stream):
        for channel in hop.channels:
            for window in channel.windows:
                windows.setdefault(window.turn, []).append(window)
            for scored in channel.over:
                turn = Turn(
                    speaker=channel.speaker,
                    channel=channel.channel,
                    start_s=scored.start_s,
                    end_s=scored.end_s,
                    role=channel.role,
                )
                owns.append(_Own(turn=turn, scored=scored, windows=tuple(windows.pop(scored.turn, ()))))
    turns = mark_overlap(own.turn for own in owns)
    owns.sort(key=lambda own: (own.turn.start_s, own.turn.end_s, own.turn.speaker))
    return Analysis(
        duration_s=audio.duration_s,
        channels=audio.source_channels,
        rate_hz=audio.source_rate_hz,
        codec=audio.codec,
        lost_s=audio.lost_s,
        diarizer=ENGINE,
        turns=turns,
        turn_affect=_joined([own.scored.affect for own in owns]),
        windows=_windows(owns),
        escalations=_escalations(stream, owns, turns),
        escalation_scores=tuple(
            channel.watch.score for channel in stream.channels if channel.watch.score is not None
        ),
    )


def _escalations(stream: Stream, owns: list[_Own], turns: tuple[Turn, ...]) -> tuple[Escalation, ...]:
    """Of all channels, by onset, with what the other party did then."""
    ends_s = {(own.turn.speaker, window.start_s): window.end_s for own in owns for window in own.windows}
    found = [event for channel in stream.channels for event in channel.watch.escalations()]
    return tuple(
        replace(
            event,
            other_party=other_party(
                turns, event.speaker, onset_s=event.onset_s, until_s=ends_s[event.speaker, event.onset_s]
            ),
        )
        for event in sorted(found, key=lambda event: (event.onset_s, event.speaker))
    )


def _hops(engine: Engine, stream: Stream) -> Iterator[Hop]:
    while stream.due:
        heard: list[HopHeard] = []
        while stream.due and len(heard) < _TOGETHER_S / HOP_S:
            heard += engine.hear([stream])
        yield from engine.tell([stream], [heard])[0]


def _joined(affects: list[Affect]) -> Affect:
    rows = [affect.probabilities for affect in affects]
    return affect_of(np.concatenate([np.zeros((0, len(EMOTIONS)), dtype=np.float32), *rows]))


def _windows(owns: list[_Own]) -> Windows:
    each = [(index, window) for index, own in enumerate(owns) for window in own.windows]
    window_turn = np.array([index for index, _ in each], dtype=np.int32)
    affect = _joined([window.affect for _, window in each])
    steps_s = np.array([window.step_s for _, window in each], dtype=np.float64)
    course = course_of(affect, window_turn, steps_s, [own.turn for own in owns], causal=True)
    return Windows(
        turn_index=window_turn,
        start_s=np.array([window.start_s for _, window in each], dtype=np.float64),
        end_s=np.array([window.end_s for _, window in each], dtype=np.float64),
        affect=affect,
        negativity_smooth=course.negativity,
        course=course,
    )
