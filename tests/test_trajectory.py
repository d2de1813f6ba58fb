"""Affect, smoothing and escalations, on tracks drawn by hand."""

import numpy as np
import pytest
from conftest import certain

from callmood.trajectory import EscalationRule, affect_of, find_escalations, smooth

RULE = EscalationRule(slack=0.1, threshold_s=1.0, min_speech_s=5.0)


def track(*levels_and_counts: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(count, level, dtype=np.float32) for level, count in levels_and_counts])


def escalations(negativity: np.ndarray):
    t_s = 0.5 * np.arange(len(negativity)) + 1.0
    steps_s = np.full(len(negativity), 0.5)
    return find_escalations(negativity, t_s, steps_s, speaker="S1", role="customer", rule=RULE)


def test_valence_and_arousal_are_expectations() -> None:
    half_happy_half_sad = (certain("happy") + certain("sad")) / 2

    affect = affect_of(half_happy_half_sad)

    assert affect.valence == pytest.approx([(0.81 - 0.63) / 2], abs=1e-6)
    assert affect.arousal == pytest.approx([(0.51 - 0.27) / 2], abs=1e-6)
    assert affect.negativity == pytest.approx([0.25 / 2])


@pytest.mark.parametrize(
    ("emotion", "negativity"),
    [
        ("neutral", 0),
        ("happy", 0),
        ("surprised", 0),
        ("sad", 0.25),
        ("disgust", 0.5),
        ("fearful", 0.5),
        ("angry", 1),
    ],
)
def test_negativity_weighs_the_four_negative_emotions(emotion: str, negativity: float) -> None:
    assert affect_of(certain(emotion)).negativity[0] == negativity


def test_what_was_not_inferred_stays_unknown() -> None:
    affect = affect_of(certain(None))

    assert np.isnan(affect.valence[0])
    assert np.isnan(affect.negativity[0])


def test_smoothing_begins_at_the_median_and_forgets() -> None:
    # A step of one time constant keeps 1/e of what was, one of two keeps 1/e^2. The median is 0: it stands for
    # 10 of 15 s.
    first = (1 - np.exp(-1.0)) * 1.0
    second = np.exp(-2.0) * first

    smoothed = smooth(np.array([1.0, 0.0], dtype=np.float32), np.array([5.0, 10.0]), time_constant_s=5.0)

    assert smoothed == pytest.approx([first, second], rel=1e-6)


def test_a_long_turn_smooths_like_its_windows_one_by_one() -> None:
    # One window that stands for 2 s weighs as much as four of the same value that stand for 0.5 s each.
    short = smooth(np.array([0, 1], dtype=np.float32), np.array([2.0, 2.0]))
    long = smooth(np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.float32), np.full(8, 0.5))

    assert long[[3, 7]] == pytest.approx(short, abs=1e-6)


def test_smoothing_nothing_is_nothing() -> None:
    assert smooth(np.zeros(0, dtype=np.float32), np.zeros(0)).shape == (0,)


def test_a_sustained_rise_is_an_escalation_with_onset_peak_and_end() -> None:
    # 20 windows at 0.2, then 6 at 0.8, one at 0.9, 3 at 0.6, then calm again. Baseline 0.2.
    found = escalations(track((0.2, 20), (0.8, 6), (0.9, 1), (0.6, 3), (0.2, 20)))

    assert len(found) == 1
    event = found[0]
    assert event.onset_s == 11.0  # window 20
    assert event.peak_s == 14.0  # window 26
    assert event.end_s == 16.0  # window 30
    assert event.height == pytest.approx(0.7, abs=1e-6)
    assert event.slope == pytest.approx(0.7 / 3.0, abs=1e-6)
    assert event.recovered


def test_a_rise_that_lasts_to_the_end_is_not_recovered() -> None:
    event = escalations(track((0.2, 20), (0.8, 10)))[0]

    assert event.end_s is None
    assert not event.recovered


def test_a_short_rise_is_none() -> None:
    # Excess 0.5 over baseline and slack for 3 windows of 0.5 s: the sum reaches 0.75 of the 1.0 needed.
    assert escalations(track((0.2, 20), (0.8, 3), (0.2, 20))) == ()


def test_anger_all_along_is_no_escalation() -> None:
    assert escalations(track((0.9, 40))) == ()


def test_too_little_speech_claims_nothing() -> None:
    # 9 windows are 4.5 s, less than the 5 s of the rule.
    assert escalations(track((0.0, 5), (1.0, 4))) == ()


def test_two_rises_are_two_escalations() -> None:
    assert len(escalations(track((0.1, 20), (0.9, 6), (0.1, 10), (0.9, 6), (0.1, 10)))) == 2
