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

NEGATIVITY: dict[str, float] = {"angry": 1.0, "fearful": 0.5, "disgust": 0.5, "sad": 0.25}
"""How much the probability of an emotion counts as negativity; the others do not.

Chosen for telling scripted calls that turn angry from calm ones, on speakers that the network had not heard:
anger tells them best, and sadness is what it takes calm speech for most often.
"""

STRAIN: dict[str, float] = {"angry": 1.0, "disgust": 1.0, "fearful": 0.5, "surprised": -0.5, "happy": -1.0}
"""What the probability of an emotion says for an escalation, or against it; the others say nothing.

What is taken for anger most often, and is none, is loud joy: its probability rises with that of anger, and counts
against it. Chosen on scripted calls, see `benchmarks/escalation.md`.
"""


def affect_of(probabilities: Floats) -> Affect:
    """Affect of n spans from their probabilities, shape (n, 7); NaN rows stay NaN.

    valence and arousal are the expectation of `VALENCE_AROUSAL` under the probabilities, and negativity that of
    `NEGATIVITY`.

    Examples
    --------
    >>> certain_anger = np.eye(7, dtype=np.float32)[[3]]
    >>> affect = affect_of(certain_anger)
    >>> [round(float(x[0]), 2) for x in (affect.valence, affect.arousal, affect.negativity)]
    [-0.51, 0.59, 1.0]
    """
    coordinates = np.array([VALENCE_AROUSAL[name] for name in EMOTIONS], dtype=np.float32)
    negative = np.array([NEGATIVITY.get(name, 0.0) for name in EMOTIONS], dtype=np.float32)
    return Affect(
        probabilities=probabilities,
        valence=probabilities @ coordinates[:, 0],
        arousal=probabilities @ coordinates[:, 1],
        negativity=np.clip(probabilities @ negative, 0.0, 1.0),
    )


def deviations_of(probabilities: Floats) -> Affect:
    """Standard deviations of valence, arousal and negativity under probabilities of shape (n, 7), in place of the means.

    Where the network is sure they are 0; where it is not, they say how far apart the emotions are that it is torn between.

    Examples
    --------
    >>> torn_between_joy_and_anger = np.array([[0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0]], dtype=np.float32)
    >>> round(float(deviations_of(torn_between_joy_and_anger).valence[0]), 2)
    0.66
    """
    values = np.array(
        [(*VALENCE_AROUSAL[name], NEGATIVITY.get(name, 0.0)) for name in EMOTIONS], dtype=np.float64
    )
    rows = probabilities.astype(np.float64)
    variances = np.maximum(rows @ values**2 - (rows @ values) ** 2, 0.0)
    valence, arousal, negativity = np.sqrt(variances).astype(np.float32).T
    return Affect(probabilities=probabilities, valence=valence, arousal=arousal, negativity=negativity)


def strain_of(probabilities: Floats) -> Floats:
    """The expectation of `STRAIN` under probabilities of shape (n, 7): shape (n,), in [-1, 1].

    Examples
    --------
    >>> torn_between_joy_and_anger = np.array([[0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0]], dtype=np.float32)
    >>> float(strain_of(torn_between_joy_and_anger)[0])
    0.0
    """
    return probabilities @ np.array([STRAIN.get(name, 0.0) for name in EMOTIONS], dtype=np.float32)
