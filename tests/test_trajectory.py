"""Affect, smoothing and escalations, on tracks drawn by hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import certain, make_recording
from hypothesis import given, settings
from hypothesis import strategies as st

from callmood.features import FrontEnd
from callmood.pipeline import Engines, analyze_audio
from callmood.trajectory import (
    EscalationRule,
    affect_of,
    course_of,
    deviations_of,
    escalation_scores,
    find_escalations,
    smooth,
    smoothed_errors,
    speech_per_window,
    strain_of,
)
from callmood.trajectory.escalation import other_party, score_of
from callmood.types import Audio, Escalation, Floats, Turn, Windows

RULE = EscalationRule(level=0.3, own_share=0.5, threshold_s=2.0, recovery_s=1.0, min_speech_s=5.0)
TURN = Turn(speaker="S2", channel=1, start_s=0.0, end_s=60.0, role="customer")


def stretches(*emotions_and_counts: tuple[str, int]) -> Floats:
    """Windows that are certain of an emotion, so many of each."""
    return certain(*(emotion for emotion, count in emotions_and_counts for _ in range(count)))


def spoken(probabilities: Floats) -> tuple[Windows, tuple[Turn, ...]]:
    """A customer's windows of 2 s, every half second for half a second each, in one turn from 0 s on."""
    start_s = 0.5 * np.arange(len(probabilities))
    turns = (replace(TURN, end_s=0.5 * len(probabilities)),)
    window_turn = np.zeros(len(probabilities), dtype=np.int32)
    affect = affect_of(probabilities)
    smoothed = smooth(affect.negativity, speech_per_window(window_turn, turns))
    windows = Windows(
        turn_index=window_turn,
        start_s=start_s,
        end_s=start_s + 2.0,
        affect=affect,
        negativity_smooth=smoothed,
    )
    return windows, turns


def escalations(probabilities: Floats, rule: EscalationRule = RULE) -> tuple[Escalation, ...]:
    return find_escalations(*spoken(probabilities), rule)


def evidence(probabilities: Floats) -> float:
    (score,) = escalation_scores(*spoken(probabilities), RULE)
    assert score.score == score.evidence / (score.evidence + 4.0)
    return score.evidence


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


def test_causal_smoothing_is_the_weighted_mean_so_far() -> None:
    smoothed = smooth(np.array([1.0, 0.0], dtype=np.float32), np.array([5.0, 5.0]), causal=True)

    # Weights: e^-1 for the window before, 1 for this one.
    assert smoothed == pytest.approx([1.0, np.exp(-1) / (np.exp(-1) + 1)])


def test_deviations_are_those_of_the_emotions_that_are_possible() -> None:
    # Negativity is 1 or 0 with 1/4 and 3/4: a deviation of the root of 1/4 * 3/4; valence is -0.51 or 0.
    rows = 0.25 * certain("angry") + 0.75 * certain("neutral")

    deviations = deviations_of(rows)

    assert deviations.negativity == pytest.approx([3**0.5 / 4])
    assert deviations.valence == pytest.approx([0.51 * 3**0.5 / 4])
    assert deviations.arousal == pytest.approx([0.59 * 3**0.5 / 4])
    assert deviations_of(certain("sad")).negativity == pytest.approx([0.0])


def test_errors_add_up_in_a_turn_and_by_half_between_turns() -> None:
    # Windows of one time constant, so that each keeps k = 1/e of what was; two of deviation 0.4 in a turn, one of 0.2 in the
    # next. The start counts as the mean: 4/15 and 1/15 of the turns' sums, which are 0.8 / 3 and 0.2 / 3.
    k = np.exp(-1.0)
    start_squares, start = (0.8 / 3) ** 2 + (0.2 / 3) ** 2, 1.0 / 3
    one, two = 0.4 * (1 - k), 0.4 * (1 - k) * (1 + k)
    squares = [
        0.5 * (k**2 * start_squares + one**2) + 0.5 * (k * start + one) ** 2,
        0.5 * (k**4 * start_squares + two**2) + 0.5 * (k**2 * start + two) ** 2,
        0.5 * (k**6 * start_squares + (k * two) ** 2 + (0.2 * (1 - k)) ** 2)
        + 0.5 * (k**3 * start + k * two + 0.2 * (1 - k)) ** 2,
    ]

    errors = smoothed_errors(
        np.array([0.4, 0.4, 0.2], dtype=np.float32), np.full(3, 5.0), np.array([0, 0, 2], dtype=np.int32)
    )

    assert errors == pytest.approx(np.sqrt(squares), rel=1e-6)


def test_causal_errors_begin_at_the_first_window() -> None:
    # Weights 1 and 1/e, divided by their sum; another turn, so that half of the variance is of sums and half of squares.
    k = np.exp(-1.0)
    errors = smoothed_errors(
        np.array([0.4, 0.2], dtype=np.float32),
        np.full(2, 5.0),
        np.array([0, 1], dtype=np.int32),
        causal=True,
    )

    second = (0.5 * ((0.4 * k) ** 2 + 0.2**2) + 0.5 * (0.4 * k + 0.2) ** 2) ** 0.5 / (k + 1)
    assert errors == pytest.approx([0.4, second])


def test_the_course_is_each_speakers_own() -> None:
    turns = (
        Turn(speaker="S1", channel=0, start_s=0.0, end_s=2.0),
        Turn(speaker="S2", channel=1, start_s=2.0, end_s=4.0),
        Turn(speaker="S1", channel=0, start_s=4.0, end_s=6.0),
    )
    rows = np.concatenate([certain("happy"), 0.5 * certain("angry") + 0.5 * certain("sad"), certain("happy")])

    course = course_of(affect_of(rows), np.array([0, 1, 2], dtype=np.int32), np.full(3, 2.0), turns)

    assert course.valence == pytest.approx([0.81, (-0.51 - 0.63) / 2, 0.81])
    assert course.negativity == pytest.approx([0.0, 0.625, 0.0])
    # Of one window alone, start and window are its own error with weights of k and 1 - k, by half independent.
    k = np.exp(-2.0 / 5.0)
    part = (0.5 * (k**2 + (1 - k) ** 2) + 0.5) ** 0.5
    assert course.valence_se == pytest.approx([0.0, 0.06 * part, 0.0], abs=1e-6)
    assert course.negativity_se == pytest.approx([0.0, 0.375 * part, 0.0], abs=1e-6)


def test_no_windows_have_no_course() -> None:
    course = course_of(affect_of(certain()), np.zeros(0, dtype=np.int32), np.zeros(0), ())

    assert course.arousal.shape == course.arousal_se.shape == (0,)


def test_strain_counts_joy_against_an_escalation() -> None:
    each = np.eye(7, dtype=np.float32)

    assert strain_of(each).tolist() == [0.0, -1.0, 0.0, 1.0, 0.5, 1.0, -0.5]
    assert strain_of((certain("happy") + certain("angry")) / 2)[0] == 0.0


def test_an_escalation_has_onset_peak_end_height_and_slope() -> None:
    # A minute of speech, 8 of its 120 windows angry: half of the mean strain is 0.033. 92 calm windows (account 92 * 0.5 *
    # 0.333 = 15.3), 8 angry ones from 46 s on (-0.333 each), then calm again.
    probabilities = stretches(("neutral", 92), ("angry", 8), ("neutral", 20))

    (event,) = escalations(probabilities)

    assert (event.speaker, event.role) == ("S2", "customer")
    assert event.onset_s == 46.0
    # The smoothed negativity is highest at the last angry window, 49.5 to 51.5 s, which is the end; its median is 0.
    assert event.peak_s == 50.5
    assert event.end_s == 51.5
    assert event.height == pytest.approx(1 - np.exp(-8 * 0.5 / 5), abs=1e-6)
    assert event.slope == pytest.approx(event.height / 4.5)
    assert event.recovered


def test_an_escalation_is_declared_where_the_evidence_reaches_the_threshold() -> None:
    # Six angry windows of 120 are worth 6 * 0.5 s * (1 - 0.3 - 0.5 * 0.05) = 2.025; of five, half of the mean is 0.0208.
    six, five = (stretches(("neutral", 120 - count), ("angry", count)) for count in (6, 5))

    assert evidence(six) == pytest.approx(2.025)
    assert evidence(five) == pytest.approx(2.5 * (0.7 - 0.5 * 5 / 120))
    assert (len(escalations(six)), len(escalations(five))) == (1, 0)


def test_what_lasts_to_the_end_is_not_recovered() -> None:
    (event,) = escalations(stretches(("neutral", 20), ("angry", 10)))

    assert (event.end_s, event.recovered) == (None, False)


def test_calm_of_less_than_a_second_of_evidence_is_no_recovery() -> None:
    # Each calm window gives 0.5 * (0.3 + 0.5 * 8 / 120) = 0.167 back: seven are 1.17, five 0.83.
    seven = escalations(stretches(("neutral", 105), ("angry", 8), ("neutral", 7)))
    five = escalations(stretches(("neutral", 107), ("angry", 8), ("neutral", 5)))

    assert [event.recovered for event in (*seven, *five)] == [True, False]
    assert five[0].end_s is None


def test_constant_anger_is_no_escalation_and_has_negativity() -> None:
    angry = stretches(("angry", 60))

    assert escalations(angry) == ()
    assert evidence(angry) == 0.0
    assert affect_of(angry).negativity.mean() == 1.0


def test_anger_that_was_there_from_the_start_and_ends_is_no_escalation() -> None:
    assert evidence(stretches(("angry", 20), ("neutral", 40))) == 0.0


def test_there_is_no_more_evidence_than_the_calm_before() -> None:
    # Six calm windows are worth 6 * 0.5 * (0.3 + 0.5 * 5 / 120); the long anger after them cannot say more.
    before = 3 * (0.3 + 0.5 * 5 / 120)
    assert evidence(stretches(("neutral", 6), ("angry", 5), ("neutral", 109))) == pytest.approx(before)


def test_a_speaker_whose_usual_strain_is_high_needs_more() -> None:
    # The mean is (110 * 0.4 + 10) / 120 = 0.45, so that half of it, 0.225, is taken off; of the calm one, 0.0417.
    usual = 0.4 * certain("angry") + 0.6 * certain("neutral")
    rows = np.concatenate([np.repeat(usual, 110, axis=0), stretches(("angry", 10))])

    assert evidence(rows) == pytest.approx(5 * (1 - 0.525), abs=1e-5)
    assert evidence(stretches(("neutral", 110), ("angry", 10))) == pytest.approx(5 * (0.7 - 0.5 * 10 / 120))


@pytest.mark.parametrize(
    ("speech_s", "scale"),
    [(15, 2.4**0.5), (25, 2.4**0.5), (60, 1.0), (135, 2 / 3), (150, 0.4**0.5), (600, 0.4**0.5)],
)
def test_more_speech_asks_for_more_evidence_as_far_as_was_measured(speech_s: int, scale: float) -> None:
    rows = stretches(("neutral", 2 * speech_s - 6), ("angry", 6))
    (score,) = escalation_scores(*spoken(rows), replace(RULE, own_share=0.0))

    # Scaled by the root of 60 s over the speech, which counts as 25 s at the least and 150 s at the most.
    assert score.evidence == pytest.approx(scale * 6 * 0.5 * 0.7)


@pytest.mark.parametrize("emotion", ["happy", "sad", "surprised"])
def test_joy_sadness_and_surprise_are_none(emotion: str) -> None:
    assert evidence(stretches(("neutral", 20), (emotion, 20))) == 0.0


def test_two_rises_are_two_escalations() -> None:
    found = escalations(
        stretches(("neutral", 20), ("angry", 8), ("neutral", 20), ("disgust", 8), ("neutral", 8))
    )

    assert [event.onset_s for event in found] == [10.0, 24.0]


def test_too_little_speech_claims_nothing() -> None:
    # 9 windows are 4.5 s, less than the 5 s of the rule.
    short = stretches(("neutral", 3), ("angry", 6))

    assert escalations(short) == ()
    assert escalation_scores(*spoken(short), RULE) == ()


def test_nobody_scored_is_nobody_told_of() -> None:
    windows, turns = spoken(np.zeros((0, 7), dtype=np.float32))

    assert find_escalations(windows, turns, RULE) == ()
    assert escalation_scores(windows, turns, RULE) == ()


class Ear:
    """Stands for a model that hears anger wherever it hears the second half, and nothing of levels."""

    def __init__(self) -> None:
        self.front_end = FrontEnd()

    def probabilities(self, stretches: Sequence[Floats], spans: Sequence[Any]) -> list[Floats]:
        return [np.repeat(certain("neutral"), len(rows), axis=0) for rows in spans]


def test_loudness_alone_does_nothing() -> None:
    # The second half is 20 dB louder; what is measured from levels alone must not exist.
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, (1, 8000 * 40)).astype(np.float32)
    noise[:, noise.shape[1] // 2 :] *= 10.0
    audio = Audio(samples=noise, rate_hz=8000, source_rate_hz=8000, source_channels=1, codec="PCM_16")

    def one_turn(audio: Audio) -> tuple[Turn, ...]:
        return (Turn(speaker="S1", channel=0, start_s=0.0, end_s=40.0),)

    one_turn.name, one_turn.by_channel = "one turn", False  # type: ignore[attr-defined]
    engines = Engines(diarizer=one_turn, model=Ear(), emotion_for="everyone")  # type: ignore[arg-type]
    analysis = analyze_audio(audio, make_recording("loud"), engines)

    assert analysis.escalations == ()
    assert [one.evidence for one in analysis.escalation_scores] == [0.0]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_more_anger_in_an_escalation_is_never_less_evidence(data: st.DataObject) -> None:
    angry = data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0]), min_size=12, max_size=40))
    share = np.array(angry, dtype=np.float32)[:, None]
    rows = share * certain("angry") + (1 - share) * certain("neutral")
    (before,) = escalation_scores(*spoken(rows), RULE)
    # From the onset to where the evidence is largest.
    events = escalations(rows, replace(RULE, threshold_s=max(before.evidence - 1e-9, 1e-9), recovery_s=0.0))
    inside = range(0)
    if events:
        end_s = events[0].end_s
        last = len(rows) - 1 if end_s is None else int((end_s - 2.0) / 0.5)
        inside = range(int(events[0].onset_s / 0.5), last + 1)
    more = data.draw(st.sets(st.sampled_from(inside))) if inside else set()
    raised = rows.copy()
    raised[list(more)] = certain("angry")

    (after,) = escalation_scores(*spoken(raised), RULE)

    assert after.evidence >= before.evidence - 1e-5
    assert after.score >= before.score - 1e-5


def test_the_score_rises_with_the_evidence_below_the_threshold_too() -> None:
    scores = [score_of(evidence) for evidence in (0.0, 0.5, 1.0, 4.0, 100.0)]

    assert scores[0] == 0.0
    assert scores[3] == 0.5
    assert scores == sorted(set(scores))
    assert scores[-1] < 1.0


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], None),
        ([(0.0, 9.5)], "silent"),
        # Still speaking when the window from 10 to 12 s begins, but for less than a quarter of a second.
        ([(7.0, 10.2)], "silent"),
        ([(7.0, 10.3)], "speaking"),
        # Began in the middle of the speaker's turn, from 8 to 20 s: before the window, in it, long before it.
        ([(8.5, 9.0)], "interrupting"),
        ([(11.0, 13.0)], "interrupting"),
        ([(8.0, 9.0)], "silent"),
        ([(12.0, 13.0)], "silent"),
        ([(5.0, 11.0), (11.5, 12.5)], "interrupting"),
    ],
)
def test_what_the_other_party_did_at_the_onset(others: list[tuple[float, float]], told: str | None) -> None:
    own = Turn(speaker="S2", channel=1, start_s=8.0, end_s=20.0)
    turns = [own, *(Turn(speaker="S1", channel=0, start_s=a, end_s=b) for a, b in others)]

    assert other_party(turns, "S2", onset_s=10.0, until_s=12.0) == told
