"""Valence, arousal and negativity of emotion probabilities."""

from __future__ import annotations

import numpy as np

from callmood.emotions import EMOTIONS
from callmood.types import Affect, Floats

VALENCE_AROUSAL: dict[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "angry": (-0.51, 0.59),
    "fearful": (-0.64, 0.60),
    "disgust": (-0.60, 0.35),
    "surprised": (0.40, 0.67),
}
"""Mean pleasure and arousal ratings of the emotion words in Russell and Mehrabian (1977), "Evidence for a
three-factor theory of emotions"; neutral is the origin."""

NEGATIVE: tuple[str, ...] = ("angry", "disgust", "fearful", "sad")
"""The emotions whose probability counts as negativity."""


def affect_of(probabilities: Floats) -> Affect:
    """Affect of n spans from their probabilities, shape (n, 7); NaN rows stay NaN.

    valence and arousal are the expectation of `VALENCE_AROUSAL` under the probabilities; negativity is the
    probability that the emotion is one of `NEGATIVE`.

    Examples
    --------
    >>> certain_anger = np.eye(7, dtype=np.float32)[[3]]
    >>> affect = affect_of(certain_anger)
    >>> [round(float(x[0]), 2) for x in (affect.valence, affect.arousal, affect.negativity)]
    [-0.51, 0.59, 1.0]
    """
    coordinates = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS], dtype=np.float32)
    negative = np.array([name in NEGATIVE for name in EMOTIONS], dtype=np.float32)
    return Affect(
        probabilities=probabilities,
        valence=probabilities @ coordinates[:, 0],
        arousal=probabilities @ coordinates[:, 1],
        negativity=np.clip(probabilities @ negative, 0.0, 1.0),
    )
