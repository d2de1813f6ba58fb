"""Scoring turns and windows, with a stand-in model that tells what it was shown."""

from __future__ import annotations

import numpy as np
import pytest

from callmood.emotion.score import score_turns
from callmood.emotions import EMOTIONS
from callmood.features import FrontEnd
from callmood.types import Turn


class StandInModel:
    """Answers "happy" with the mean of the first coefficient over the span, and "neutral" with the rest."""

    front_end = FrontEnd(n_mfcc=2)

    def __init__(self) -> None:
        self.stretches: list[np.ndarray] = []

    def probabilities(self, stretches, spans):
        self.stretches += stretches
        results = []
        for stretch, rows in zip(stretches, spans, strict=True):
            out = np.zeros((len(rows), len(EMOTIONS)), dtype=np.float32)
            for row, (first, last) in enumerate(rows):
                assert 0 <= first < last <= len(stretch)
                out[row, 1] = stretch[first:last, 0].mean()
            out[:, 0] = 1 - out[:, 1]
            results.append(out)
        return results


def turn(start_s: float, end_s: float, speaker: str = "S1", **more: object) -> Turn:
    return Turn(speaker=speaker, channel=0, start_s=start_s, end_s=end_s, **more)  # type: ignore[arg-type]


@pytest.fixture
def ramp() -> dict[int, np.ndarray]:
    """MFCC whose first coefficient is the time in seconds, for 200 s."""
    t_s = np.arange(16_000, dtype=np.float32) / 80
    return {0: np.column_stack([t_s, np.zeros_like(t_s)])}


def test_windows_start_every_half_second_while_they_fit(ramp) -> None:
    scores = score_turns([turn(10.0, 13.2)], ramp, StandInModel(), wanted=lambda _: True)

    assert scores.window_start_s.tolist() == [10.0, 10.5, 11.0]
    assert scores.window_end_s.tolist() == [12.0, 12.5, 13.0]
    assert scores.window_turn.tolist() == [0, 0, 0]


def test_a_turn_shorter_than_a_window_is_one_window(ramp) -> None:
    scores = score_turns([turn(3.0, 4.0)], ramp, StandInModel(), wanted=lambda _: True)

    assert scores.window_start_s.tolist() == [3.0]
    assert scores.window_end_s.tolist() == [4.0]


def test_windows_hold_what_was_said_in_them(ramp) -> None:
    scores = score_turns([turn(0.0, 4.0)], ramp, StandInModel(), wanted=lambda _: True)
    # The ramp over 4.5 s, the margin included, normalised: (t - 2.25) / (4.5 / sqrt(12)); windows are centred on
    # 1, 1.5, 2, 2.5 and 3 s.
    deviation = 4.5 / np.sqrt(12)

    assert scores.windows[:, 1] == pytest.approx(
        [(t - 2.25) / deviation for t in (1, 1.5, 2, 2.5, 3)], abs=0.01
    )


def test_too_short_a_turn_is_not_scored(ramp) -> None:
    scores = score_turns([turn(0.0, 0.4), turn(1.0, 3.0)], ramp, StandInModel(), wanted=lambda _: True)

    assert np.isnan(scores.turns[0]).all()
    assert not np.isnan(scores.turns[1]).any()
    assert set(scores.window_turn) == {1}


def test_the_model_never_sees_a_turn_that_is_not_wanted(ramp) -> None:
    model = StandInModel()
    turns = [turn(0.0, 2.0, role="agent"), turn(2.0, 5.0, speaker="S2", role="customer")]

    scores = score_turns(turns, ramp, model, wanted=lambda t: t.role == "customer")

    # 3 s and the margin of 0.5 s after it; before it, the other party's turn leaves none, and the first two frames,
    # centred less than 16 ms from it, reach into it.
    assert [len(stretch) for stretch in model.stretches] == [278]
    assert np.isnan(scores.turns[0]).all()


def test_margins_end_where_another_turn_of_the_channel_begins(ramp) -> None:
    model = StandInModel()
    turns = [turn(1.0, 2.0), turn(2.1, 3.0, speaker="S2"), turn(5.0, 6.0)]

    score_turns(turns, ramp, model, wanted=lambda t: t.speaker == "S1")

    # From 0.5 to 2.084 s, as frames reach 16 ms to either side, and from 4.5 to 6.5 s.
    assert [len(stretch) for stretch in model.stretches] == [127, 160]


def test_what_an_unwanted_turn_overlaps_is_left_out_and_the_rest_is_scored(ramp) -> None:
    model = StandInModel()
    turns = [turn(0.0, 10.0), turn(4.0, 5.0, speaker="S2"), turn(9.8, 12.0, speaker="S2"), turn(11.0, 12.0)]

    scores = score_turns(turns, ramp, model, wanted=lambda t: t.speaker == "S1")

    # 0 to 3.984 s and 5.016 to 9.784 s: frames centred on 0 to 3.975 s and on 5.025 to 9.775 s. The last turn lies
    # inside the other party's, so it is not heard at all.
    assert [len(stretch) for stretch in model.stretches] == [319, 381]
    assert scores.window_start_s[[0, 3, 4]] == pytest.approx([0.0, 1.5, 5.016])
    assert scores.window_end_s.max() <= 9.784
    assert np.isnan(scores.turns[1:]).all()
    # Normalised over both parts, so that the mean over the turn is 0.
    assert scores.turns[0, 1] == pytest.approx(0.0, abs=0.01)


def test_nothing_wanted_gives_empty_scores(ramp) -> None:
    scores = score_turns([turn(0.0, 2.0)], {}, StandInModel(), wanted=lambda _: False)

    assert scores.windows.shape == (0, 7)
    assert np.isnan(scores.turns).all()


def test_normalisation_is_over_all_speech_of_the_speaker(ramp) -> None:
    model = StandInModel()
    score_turns([turn(0.0, 2.0), turn(8.0, 10.0)], ramp, model, wanted=lambda _: True)

    both = np.concatenate(model.stretches)
    assert both[:, 0].mean() == pytest.approx(0.0, abs=1e-5)
    assert both[:, 0].std() == pytest.approx(1.0, abs=1e-5)
    assert model.stretches[0][:, 0].mean() < -0.9


def test_a_turn_of_minutes_runs_in_pieces_and_loses_no_window(ramp) -> None:
    scores = score_turns([turn(0.0, 150.0)], ramp, StandInModel(), wanted=lambda _: True)

    assert scores.window_start_s == pytest.approx(np.arange(0, 148.5, 0.5))
    # The mean over pieces of 60, 60 and 30 s, weighted by length, is the mean of the whole: 0.
    assert scores.turns[0, 1] == pytest.approx(0.0, abs=1e-4)
