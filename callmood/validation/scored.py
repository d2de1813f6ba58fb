"""What a results database holds of the labelled calls: scores of windows and turns, and escalations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import PROBABILITY_COLUMNS
from callmood.metrics import with_temperature
from callmood.results.schema import Connection
from callmood.settings import ESCALATION_THRESHOLD
from callmood.trajectory import EscalationRule, affect_of, escalation_scores, find_escalations
from callmood.types import Floats, Turn, Windows
from callmood.validation.labels import Label

_PROBABILITIES = ", ".join(PROBABILITY_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class ScoredCall:
    """One call as the database holds it."""

    call_id: str
    model_hash: str
    threshold_s: float
    """`escalation_threshold` of the run that wrote the call."""
    turns: tuple[Turn, ...]
    turn_probabilities: Floats
    """Shape (turns, 7); NaN rows for turns that were not scored."""
    window_turn: NDArray[np.int32]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    window_probabilities: Floats
    """Shape (windows, 7)."""
    negativity_smooth: Floats
    events: tuple[tuple[str, str | None, float], ...]
    """Speaker, role and onset in seconds of each escalation, in order of speaker and onset."""

    @property
    def scored(self) -> bool:
        """Whether somebody other than the agent was scored."""
        return any(self.turns[index].role != "agent" for index in self.window_turn)

    @property
    def escalated(self) -> bool:
        """Whether the database holds an escalation of somebody other than the agent."""
        return any(role != "agent" for _, role, _ in self.events)

    @cached_property
    def _agents(self) -> set[str]:
        return {turn.speaker for turn in self.turns if turn.role == "agent"}

    def _windows(self, temperature: float | None = None) -> Windows:
        """The windows as the pipeline made them, or as a model of another temperature would have."""
        probabilities = self.window_probabilities
        if temperature is not None:
            probabilities = with_temperature(probabilities, temperature)
        return Windows(
            turn_index=self.window_turn,
            start_s=self.start_s,
            end_s=self.end_s,
            affect=affect_of(probabilities),
            negativity_smooth=self.negativity_smooth,
        )

    def evidence(self, temperature: float | None = None) -> float:
        """The largest evidence of `callmood.trajectory.escalation_scores` over the speakers but the agent.

        The call has an escalation exactly where the threshold is no higher than this. With a temperature, the
        probabilities of the windows, and all that follows from them, are those of a model of that temperature
        relative to the one that scored them.
        """
        scores = escalation_scores(self._windows(temperature), self.turns, EscalationRule())
        return max((one.evidence for one in scores if one.speaker not in self._agents), default=0.0)

    def is_reproduced(self) -> bool:
        """Whether the escalations found again from windows and turns are those that the database holds."""
        found = find_escalations(self._windows(), self.turns, EscalationRule(threshold_s=self.threshold_s))
        return sorted((event.speaker, round(event.onset_s, 6)) for event in found) == sorted(
            (speaker, round(onset_s, 6)) for speaker, _, onset_s in self.events
        )

    def spans_under(self, label: Label) -> tuple[Floats, NDArray[np.float64]]:
        """Probabilities, shape (n, 7), of the windows that overlap a labelled stretch, and seconds of overlap.

        Those of the turns where no window overlaps it; none where no scored speech does.
        """
        wanted = np.array([_is_meant(turn, label) for turn in self.turns], dtype=bool)
        if len(self.window_turn):
            overlap_s = _overlap_s(self.start_s, self.end_s, label)
            chosen = (overlap_s > 0) & wanted[self.window_turn]
            if chosen.any():
                return self.window_probabilities[chosen], overlap_s[chosen]
        starts_s = np.array([turn.start_s for turn in self.turns])
        ends_s = np.array([turn.end_s for turn in self.turns])
        overlap_s = _overlap_s(starts_s, ends_s, label)
        chosen = (overlap_s > 0) & wanted & ~np.isnan(self.turn_probabilities[:, 0])
        return self.turn_probabilities[chosen], overlap_s[chosen]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the database answers for m covered stretches, as means of the scores of the spans under them."""

    spans: Floats
    """Shape (n, 7), in the order of the stretches."""
    weights_s: NDArray[np.float64]
    """Shape (n,)."""
    first: NDArray[np.intp]
    """Shape (m,): first span of each stretch."""
    labels: NDArray[np.int64]
    """Shape (m,)."""
    call_ids: tuple[str, ...]
    """Length m."""

    def pooled(self, spans: Floats) -> Floats:
        """Probabilities of the stretches, shape (m, 7), from those of the spans."""
        sums = np.add.reduceat(spans * self.weights_s[:, None], self.first, axis=0)
        return np.asarray(sums / np.add.reduceat(self.weights_s, self.first)[:, None], dtype=np.float32)

    def probabilities(self, temperature: float | None = None) -> Floats:
        """Those of the stretches, with a temperature applied to the spans where one is given."""
        return self.pooled(self.spans if temperature is None else with_temperature(self.spans, temperature))


def answers_for(labels: Iterable[Label], calls: Mapping[str, ScoredCall]) -> Answers:
    """The answers for those stretches that are covered."""
    covered = [
        (label, *found) for label in labels if len((found := calls[label.call_id].spans_under(label))[1])
    ]
    counts = np.array([len(weights_s) for _, _, weights_s in covered], dtype=np.intp)
    return Answers(
        spans=np.concatenate([np.zeros((0, 7), dtype=np.float32), *(spans for _, spans, _ in covered)]),
        weights_s=np.concatenate([np.zeros(0), *(weights_s for _, _, weights_s in covered)]),
        first=np.cumsum(counts) - counts,
        labels=np.array([label.emotion for label, _, _ in covered], dtype=np.int64),
        call_ids=tuple(label.call_id for label, _, _ in covered),
    )


def read_calls(connection: Connection, call_ids: Sequence[str]) -> dict[str, ScoredCall]:
    """Those of the calls that the database holds, by call_id."""
    calls = connection.execute(
        """
        SELECT c.call_id, c.model_hash, CAST(json_extract(r.settings, '$.escalation_threshold') AS DOUBLE)
        FROM calls AS c LEFT JOIN runs AS r USING (run_id)
        WHERE c.call_id IN (SELECT unnest($ids)) ORDER BY c.call_id
        """,
        {"ids": list(call_ids)},
    ).fetchall()
    turns = _by_call(
        connection.execute(
            f"""
            SELECT call_id, speaker, role, channel, start_s, end_s, {_PROBABILITIES}
            FROM turns WHERE call_id IN (SELECT unnest($ids)) ORDER BY call_id, turn_index
            """,  # noqa: S608 - columns are constants
            {"ids": list(call_ids)},
        ).fetchall()
    )
    events = _by_call(
        connection.execute(
            """
            SELECT call_id, speaker, role, onset_s FROM escalation_events
            WHERE call_id IN (SELECT unnest($ids)) ORDER BY call_id, speaker, onset_s
            """,
            {"ids": list(call_ids)},
        ).fetchall()
    )
    windows = connection.execute(
        f"""
        SELECT call_id, turn_index, start_s, end_s, negativity_smooth, {_PROBABILITIES}
        FROM windows WHERE call_id IN (SELECT unnest($ids)) ORDER BY call_id, turn_index, start_s
        """,  # noqa: S608 - columns are constants
        {"ids": list(call_ids)},
    ).fetchnumpy()
    probabilities = np.stack([windows[name] for name in PROBABILITY_COLUMNS], axis=1).astype(np.float32)
    window_call = np.asarray(windows["call_id"], dtype=object)
    rows_of = dict(_runs(window_call))
    return {
        call_id: _scored_call(
            call_id,
            model_hash,
            threshold_s,
            turns.get(call_id, []),
            events.get(call_id, []),
            {name: np.asarray(values)[rows_of.get(call_id, slice(0, 0))] for name, values in windows.items()},
            probabilities[rows_of.get(call_id, slice(0, 0))],
        )
        for call_id, model_hash, threshold_s in calls
    }


def _scored_call(
    call_id: str,
    model_hash: str,
    threshold_s: float | None,
    turns: Sequence[tuple[Any, ...]],
    events: Sequence[tuple[Any, ...]],
    windows: Mapping[str, NDArray[Any]],
    probabilities: Floats,
) -> ScoredCall:
    return ScoredCall(
        call_id=call_id,
        model_hash=model_hash,
        # Runs from before the setting was there had its default.
        threshold_s=ESCALATION_THRESHOLD if threshold_s is None else threshold_s,
        turns=tuple(
            Turn(speaker=speaker, role=role, channel=channel, start_s=start_s, end_s=end_s)
            for speaker, role, channel, start_s, end_s, *_ in turns
        ),
        turn_probabilities=np.array([row[5:] for row in turns], dtype=np.float32).reshape(len(turns), 7),
        window_turn=windows["turn_index"].astype(np.int32),
        start_s=windows["start_s"].astype(float),
        end_s=windows["end_s"].astype(float),
        window_probabilities=probabilities,
        negativity_smooth=windows["negativity_smooth"].astype(np.float32),
        events=tuple((speaker, role, onset_s) for speaker, role, onset_s in events),
    )


def _by_call(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    """Rows by their first column, without it."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for call_id, *rest in rows:
        found.setdefault(call_id, []).append(tuple(rest))
    return found


def _runs(values: NDArray[Any]) -> Iterator[tuple[str, slice]]:
    """Each stretch of equal values, which is the only one of its value."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1 if len(values) else np.zeros(0, dtype=int)
    bounds = [0, *changes.tolist(), len(values)]
    for first, last in pairwise(bounds):
        if last > first:
            yield str(values[first]), slice(first, last)


def _overlap_s(
    starts_s: NDArray[np.float64], ends_s: NDArray[np.float64], label: Label
) -> NDArray[np.float64]:
    return np.asarray(np.minimum(ends_s, label.end_s) - np.maximum(starts_s, label.start_s))


def _is_meant(turn: Turn, label: Label) -> bool:
    return label.speaker in (None, turn.speaker) and label.role in (None, turn.role)
