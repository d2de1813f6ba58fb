"""The course of valence, arousal and negativity over a call, smoothed, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from callmood.trajectory.affect import deviations_of
from callmood.trajectory.smoothing import smooth, smoothed_errors
from callmood.trajectory.speech import windows_by_speaker
from callmood.types import Affect, Course, Turn


def course_of(
    affect: Affect,
    window_turn: NDArray[np.int32],
    steps_s: NDArray[np.float64],
    turns: Sequence[Turn],
    *,
    causal: bool = False,
) -> Course:
    """The course of every speaker over that speaker's own windows.

    Parameters
    ----------
    affect
        Of the windows.
    window_turn
        Shape (n,): index of each window's turn; ordered by turn and time.
    steps_s
        Shape (n,): seconds of speech that each window stands for.
    turns
        Of the call.
    causal
        As for `smooth`.
    """
    deviations = deviations_of(affect.probabilities)
    names = ("valence", "arousal", "negativity")
    smoothed = {name: np.zeros(len(window_turn), dtype=np.float32) for name in names}
    errors = {name: np.zeros(len(window_turn), dtype=np.float32) for name in names}
    for own in windows_by_speaker(window_turn, turns).values():
        for name in names:
            smoothed[name][own] = smooth(getattr(affect, name)[own], steps_s[own], causal=causal)
            errors[name][own] = smoothed_errors(
                getattr(deviations, name)[own], steps_s[own], window_turn[own], causal=causal
            )
    return Course(**smoothed, **{f"{name}_se": errors[name] for name in names})
