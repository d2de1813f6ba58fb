"""Which speaker of each call is the agent, from the voices of calls that bear the same agent_id.

Nobody is enrolled: of all ways to choose one speaker from each call, the one is taken in which the chosen voices are
most alike, since the agent is in all the calls and every customer in few. Docs: docs/roles.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callmood.types import Floats

MIN_CALLS = 3
"""Of two calls, any two voices that happen to be alike would do."""
_STARTS = 40
"""Voices, in the order of calls, that the search begins from."""
_ROUNDS = 50
CONFIDENCE = (-1.31, 9.03)
"""Log-odds that a choice is right: for a margin of 0, and for each unit of margin. Set by hand, on
the low side: on the calls of `benchmarks/linking.py` too few choices are wrong to fit it to."""


@dataclass(frozen=True, kw_only=True)
class Voices:
    """The voices of one call."""

    call_id: str
    speakers: tuple[str, ...]
    """Two or more."""
    embeddings: Floats
    """Unit vectors, shape (speakers, dimensions)."""
    told: int | None = None
    """Index of the agent, where it is known otherwise."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The agent of one call."""

    call_id: str
    speaker: str
    margin: float
    """By how much the voice is nearer to the agent's of the other calls than the next one's is, as a difference of
    cosines."""
    confidence: float
    """Probability in [0, 1] that it is the agent; see `CONFIDENCE`."""
    calls: int
    """Calls that were compared, this one among them."""


def choose(calls: Sequence[Voices]) -> list[Choice]:
    """The speaker of each call of one agent that agrees best with those of the others, in the order of call_id.

    Maximises the length of the sum of the chosen voices, by improving one call after the other from each of
    `_STARTS` beginnings; nothing is random, and the order of `calls` does not matter. None where there are fewer
    than `MIN_CALLS` calls.
    """
    calls = sorted(calls, key=lambda call: call.call_id)
    if len(calls) < MIN_CALLS:
        return []
    best: NDArray[np.int64] | None = None
    most = -np.inf
    starts = [voice for call in calls for voice in call.embeddings][:_STARTS]
    for start in starts:
        chosen = _improved(calls, np.array([_nearest(call, start) for call in calls]))
        agreement = float(np.linalg.norm(_voices(calls, chosen).sum(axis=0)))
        # A little more than rounding, so that the first of equal ones stays.
        if agreement > most + 1e-6:
            best, most = chosen, agreement
    assert best is not None
    return [_choice(calls, best, index) for index in range(len(calls))]


def _improved(calls: Sequence[Voices], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    chosen = chosen.copy()
    total = _voices(calls, chosen).sum(axis=0, dtype=np.float64)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for index, call in enumerate(calls):
            others = total - call.embeddings[chosen[index]]
            chosen[index] = _nearest(call, others)
            total = others + call.embeddings[chosen[index]]
        if (chosen == before).all():
            break
    return chosen


def _nearest(call: Voices, voice: NDArray[np.floating]) -> int:
    return int((call.embeddings @ voice).argmax()) if call.told is None else call.told


def _voices(calls: Sequence[Voices], chosen: NDArray[np.int64]) -> Floats:
    return np.array([call.embeddings[index] for call, index in zip(calls, chosen, strict=True)])


def _choice(calls: Sequence[Voices], chosen: NDArray[np.int64], index: int) -> Choice:
    call, own = calls[index], int(chosen[index])
    others = np.delete(_voices(calls, chosen), index, axis=0).sum(axis=0)
    nearness = call.embeddings @ (others / max(float(np.linalg.norm(others)), 1e-9))
    margin = float(nearness[own] - np.delete(nearness, own).max())
    offset, slope = CONFIDENCE
    return Choice(
        call_id=call.call_id,
        speaker=call.speakers[own],
        margin=margin,
        confidence=float(1 / (1 + np.exp(-(offset + slope * margin)))),
        calls=len(calls),
    )
