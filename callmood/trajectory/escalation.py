"""Escalations: sustained rises of a speaker's negativity, found by a one-sided cumulative sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callmood.settings import ESCALATION_THRESHOLD
from callmood.types import Escalation, Floats, Role


@dataclass(frozen=True, kw_only=True)
class EscalationRule:
    """When a rise counts as an escalation."""

    slack: float = 0.1
    """How far the smoothed negativity must lie above the baseline for the sum to grow."""
    threshold_s: float = ESCALATION_THRESHOLD
    """Sum (excess over baseline and slack, times seconds of speech) at which an escalation is declared."""
    min_speech_s: float = 10.0
    """Speech below which a speaker has no baseline and no escalation is claimed."""


def find_escalations(
    negativity: Floats,
    t_s: NDArray[np.float64],
    steps_s: NDArray[np.float64],
    *,
    speaker: str,
    role: Role | None,
    rule: EscalationRule,
) -> tuple[Escalation, ...]:
    """Escalations of one speaker, by Page's one-sided CUSUM (Page 1954) on the smoothed negativity.

    The baseline is the median of the speaker's smoothed negativity in this call. With x the excess over
    baseline + slack, the sum is S = max(0, S + x * steps_s). An escalation is declared when S reaches
    `threshold_s`; its onset is the first window of that excursion of S, its peak the largest negativity while
    it lasts, its end the first window after the declaration in which the negativity is back below
    baseline + slack. It is recovered if it ended while the speaker was still to be heard.

    Parameters
    ----------
    negativity
        Shape (n,), smoothed, in [0, 1], the speaker's windows in order of time.
    t_s
        Shape (n,), the windows' centres in seconds from the start of the call.
    steps_s
        Shape (n,), seconds of speech that each window stands for.
    """
    if float(steps_s.sum()) < rule.min_speech_s:
        return ()
    baseline = float(np.median(negativity))
    calm_below = baseline + rule.slack
    found: list[Escalation] = []
    index = 0
    while index < len(negativity):
        if negativity[index] <= calm_below:
            index += 1
            continue
        onset, total, declared = index, 0.0, False
        while index < len(negativity):
            total += float(negativity[index] - calm_below) * float(steps_s[index])
            declared = declared or total >= rule.threshold_s
            if total <= 0.0 or (declared and negativity[index] <= calm_below):
                break
            index += 1
        if declared:
            peak = onset + int(np.argmax(negativity[onset : min(index, len(negativity) - 1) + 1]))
            height = float(negativity[peak]) - baseline
            ended = index < len(negativity)
            found.append(
                Escalation(
                    speaker=speaker,
                    role=role,
                    onset_s=float(t_s[onset]),
                    peak_s=float(t_s[peak]),
                    end_s=float(t_s[index]) if ended else None,
                    height=height,
                    slope=height / max(float(t_s[peak] - t_s[onset]), float(steps_s[onset])),
                    recovered=ended,
                )
            )
        index += 1
    return tuple(found)
