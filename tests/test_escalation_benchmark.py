"""What benchmarks/escalation.py counts, on outcomes drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.escalation import Outcome, figures
from benchmarks.scripted import AGENT, CUSTOMER, Script, Utterance, true_turns
from callmood.types import Escalation


def script(
    name: str, kind: str, *, onset_s: float | None = None, end_s: float | None = None, length_s: float = 359.5
) -> Script:
    """An agent who speaks first and a customer on the left who speaks last; half a second of silence follows."""
    return Script(
        name=name,
        kind=kind,
        fold=0,
        speakers=("a", "b"),
        customer_channel=0,
        utterances=(
            Utterance(party=AGENT, clips=(), start_s=0.0, end_s=3.0),
            Utterance(party=CUSTOMER, clips=(), start_s=4.0, end_s=length_s),
        ),
        onset_s=onset_s,
        end_s=end_s,
    )


def event(onset_s: float, end_s: float | None) -> Escalation:
    return Escalation(
        speaker="S1",
        role="customer",
        onset_s=onset_s,
        peak_s=onset_s + 1.0,
        end_s=end_s,
        height=0.5,
        slope=0.5,
        recovered=end_s is not None,
    )


def test_turns_bear_the_speaker_of_their_channel_or_of_first_speech() -> None:
    called = script("c", "neutral")

    assert [(turn.speaker, turn.channel) for turn in true_turns(called, channels=2)] == [("S2", 1), ("S1", 0)]
    assert [(turn.speaker, turn.channel) for turn in true_turns(called, channels=1)] == [("S1", 0), ("S2", 0)]


_WITHIN = {"valence": (3, 4), "arousal": (1, 2), "negativity": (4, 4)}


def test_figures_by_hand() -> None:
    # One escalation is found 3 s late and ends 4 s late, one not at all; one of two quiet calls (0.1 hours each)
    # has an event. Of 2 * 2 pairs of scores three are in order.
    outcomes = [
        Outcome(
            script=script("a", "recovered", onset_s=100.0, end_s=150.0),
            score=0.8,
            events=(event(103.0, 154.0), event(200.0, 210.0)),
            within=_WITHIN,
        ),
        Outcome(
            script=script("b", "lasting", onset_s=300.0),
            score=0.3,
            events=(event(50.0, 60.0),),
            within=_WITHIN,
        ),
        Outcome(script=script("c", "neutral"), score=0.4, events=(event(10.0, None),), within=_WITHIN),
        Outcome(script=script("d", "loud happy"), score=0.1, events=(), within=_WITHIN),
    ]

    told = {name: value for name, (value, _, _) in figures(outcomes).items()}

    assert told["AUC"] == 0.75
    assert told["AUC against loud happy"] == 1.0
    assert told["precision"] == 1 / 4
    assert told["recall"] == 1 / 2
    assert told["onset error, median s"] == 3.0
    assert told["end error, median s"] == 4.0
    assert told["recovery told right"] == 1.0
    assert [told[f"{name} within its band"] for name in _WITHIN] == [0.75, 0.5, 1.0]
    assert told["false alarms per hour"] == pytest.approx(1 / 0.2)
    assert told["false alarms per hour, not loud"] == pytest.approx(1 / 0.1)
    assert np.isnan(told["AUC against angry throughout"])
