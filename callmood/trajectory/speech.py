"""Whose windows are whose, and how much speech each stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from callmood.types import Turn


def speech_per_window(window_turn: NDArray[np.int32], turns: Sequence[Turn]) -> NDArray[np.float64]:
    """Seconds of speech that each window stands for: its turn's, shared among the turn's windows."""
    windows_of_turn = np.bincount(window_turn, minlength=len(turns))
    lengths_s = np.array([turn.duration_s for turn in turns])
    return np.asarray(lengths_s[window_turn] / windows_of_turn[window_turn])


def windows_by_speaker(window_turn: NDArray[np.int32], turns: Sequence[Turn]) -> dict[str, NDArray[np.intp]]:
    """Indices of each speaker's windows, in order of time."""
    speakers = np.array([turns[index].speaker for index in window_turn], dtype=object)
    return {str(speaker): np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)}
