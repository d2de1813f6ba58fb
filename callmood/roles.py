"""Who of a call is the agent, by the best source that knows: docs/roles.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from callmood.types import LinkedAgent, Recording, Role, RoleSource, Turn

TOLD_CONFIDENCE = 1.0
"""Of roles that were told: by the agent's channel, by the metadata of a leg, by the names in an RTTM file."""
GUESS_CONFIDENCE = 0.6
"""Of the guess that the agent speaks first. It is a convention, not a measurement: a little more than a coin, and
below what `min_role_confidence` asks for unless it is lowered."""
LEAST_AGREEMENT = 0.8
"""How well the speech of a speaker must match the linked agent's, where a call was diarized anew since."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The turns of a call with their roles, and how these are known."""

    turns: tuple[Turn, ...]
    source: RoleSource | None = None
    """None where nothing tells the roles."""
    confidence: float | None = None
    """Probability in [0, 1] that they are right."""


def roles_of(turns: tuple[Turn, ...], *, recording: Recording, channels: int, guess: bool = False) -> Roles:
    """Roles from the first of these that tells them: the agent's channel, metadata, the agent's voice, a guess.

    Parameters
    ----------
    turns
        Of the call, without roles.
    recording
        With what was told of it, and what `callmood link-agents` found.
    channels
        Of the audio that the turns are heard in; a party has a channel of its own in none but two.
    guess
        Whether the guess may be made.
    """
    told = recording.metadata.agent_channel
    if channels == 2 and told is not None:
        cast = tuple(replace(turn, role="agent" if turn.channel == told else "customer") for turn in turns)
        return Roles(turns=cast, source=told_by(recording), confidence=TOLD_CONFIDENCE)
    named = _named_roles(turns)
    if any(turn.role is not None for turn in named):
        return Roles(turns=named, source="metadata", confidence=TOLD_CONFIDENCE)
    linked = recording.linked
    if linked is not None and linked.agent_id == recording.metadata.agent_id:
        speaker, agreement = speaker_of(turns, linked)
        if speaker is not None:
            return Roles(
                turns=with_agent(turns, speaker), source="voice", confidence=linked.confidence * agreement
            )
    if guess and len({turn.speaker for turn in turns}) == 2:
        return Roles(
            turns=with_agent(turns, turns[0].speaker), source="heuristic", confidence=GUESS_CONFIDENCE
        )
    return Roles(turns=turns)


def told_by(recording: Recording) -> RoleSource:
    """What tells the agent's channel of a recording of which it is known: the metadata of a leg, or the channel."""
    return "metadata" if any(leg.role is not None for leg in recording.legs) else "channel"


def with_agent(turns: Iterable[Turn], agent: str) -> tuple[Turn, ...]:
    """Roles where one speaker is known to be the agent.

    The other of two is the customer. Of more, none is: a second agent may be among them.
    """
    turns = tuple(turns)
    other: Role | None = "customer" if len({turn.speaker for turn in turns}) == 2 else None
    return tuple(replace(turn, role="agent" if turn.speaker == agent else other) for turn in turns)


def speaker_of(turns: Sequence[Turn], linked: LinkedAgent) -> tuple[str | None, float]:
    """The speaker whose speech is the linked agent's, and how well it matches; None where nobody's does well enough.

    The match is the Dice coefficient of the two sets of moments, 1 where the call was not diarized anew.
    """
    best: tuple[str | None, float] = (None, 0.0)
    linked_s = sum(end_s - start_s for start_s, end_s in linked.spans)
    for speaker in sorted({turn.speaker for turn in turns}):
        own = [(turn.start_s, turn.end_s) for turn in turns if turn.speaker == speaker]
        shared_s = sum(
            max(0.0, min(end_s, to_s) - max(start_s, from_s))
            for start_s, end_s in own
            for from_s, to_s in linked.spans
        )
        agreement = 2 * shared_s / (linked_s + sum(end_s - start_s for start_s, end_s in own))
        if agreement > best[1]:
            best = (speaker, min(agreement, 1.0))
    return best if best[1] >= LEAST_AGREEMENT else (None, best[1])


def _named_roles(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Roles of speakers that are called `agent` or `customer`, as in an RTTM file of another program."""
    names: dict[str, Role] = {"agent": "agent", "customer": "customer"}
    return tuple(replace(turn, role=names.get(turn.speaker.lower())) for turn in turns)
