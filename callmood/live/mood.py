"""How one speaker's mood goes, told window by window."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import Literal

import numpy as np

from callmood.trajectory import EscalationRule
from callmood.trajectory.smoothing import TIME_CONSTANT_S
from callmood.types import Escalation, Role

State = Literal["unknown", "calm", "rising", "escalated"]
"""`unknown`: too little speech for a baseline; `rising`: above it, not for long enough yet."""


class RunningSmoother:
    """Exponential smoothing over a speaker's own speech that knows nothing of what is to come.

    The weighted mean of all windows so far, a window's weight falling to 1/e over `TIME_CONSTANT_S` of speech: with
    w = exp(-step / time constant), y = a / b where a <- w a + (1 - w) x and b <- w b + (1 - w). So it begins at the first
    window, and nears what `callmood.trajectory.smooth` does, as the call goes on.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0

    def step(self, value: float, step_s: float) -> float:
        """The smoothed value after a window that stands for `step_s` seconds of speech."""
        keep = float(np.exp(-step_s / TIME_CONSTANT_S))
        self._sum = keep * self._sum + (1.0 - keep) * value
        self._weight = keep * self._weight + (1.0 - keep)
        return self._sum / self._weight


@dataclass
class _Rise:
    """Negativity above the baseline, from its first window on."""

    onset_s: float
    step_s: float
    baseline: float
    peak_s: float
    peak: float
    total_s: float = 0.0
    declared: bool = False

    def as_escalation(self, *, speaker: str, role: Role | None, end_s: float | None) -> Escalation:
        height = self.peak - self.baseline
        return Escalation(
            speaker=speaker,
            role=role,
            onset_s=self.onset_s,
            peak_s=self.peak_s,
            end_s=end_s,
            height=height,
            slope=height / max(self.peak_s - self.onset_s, self.step_s),
            recovered=end_s is not None,
        )


class EscalationWatch:
    """Page's one-sided cumulative sum, as in `callmood.trajectory.escalation`, on what was heard so far.

    The baseline of a window is the median of the speaker's smoothed negativity before it. A level that stays therefore
    becomes the baseline, in as much time as the speech before it took.
    """

    def __init__(self, rule: EscalationRule, *, speaker: str, role: Role | None) -> None:
        self._rule = rule
        self._speaker = speaker
        self._role = role
        self._speech_s = 0.0
        self._heard: list[float] = []
        self._rise: _Rise | None = None
        self._over: list[Escalation] = []

    @property
    def state(self) -> State:
        if self._rise is not None:
            return "escalated" if self._rise.declared else "rising"
        return "calm" if self._speech_s >= self._rule.min_speech_s else "unknown"

    @property
    def rise(self) -> Escalation | None:
        """The rise that goes on, declared or not."""
        if self._rise is None:
            return None
        return self._rise.as_escalation(speaker=self._speaker, role=self._role, end_s=None)

    def escalations(self) -> tuple[Escalation, ...]:
        """Those declared so far; the last may go on."""
        going_on = (self.rise,) if self._rise is not None and self._rise.declared else ()
        return (*self._over, *(event for event in going_on if event is not None))

    def step(self, negativity: float, *, t_s: float, step_s: float) -> None:
        """Take the next window's smoothed negativity; `t_s` is the window's centre."""
        known = self._speech_s >= self._rule.min_speech_s
        baseline = _median(self._heard) if known else 0.0
        insort(self._heard, negativity)
        self._speech_s += step_s
        if not known:
            return
        excess = negativity - baseline - self._rule.slack
        if self._rise is None:
            if excess <= 0.0:
                return
            self._rise = _Rise(onset_s=t_s, step_s=step_s, baseline=baseline, peak_s=t_s, peak=negativity)
        rise = self._rise
        rise.total_s += excess * step_s
        rise.declared = rise.declared or rise.total_s >= self._rule.threshold_s
        if negativity > rise.peak:
            rise.peak, rise.peak_s = negativity, t_s
        if rise.total_s <= 0.0 or (rise.declared and excess <= 0.0):
            if rise.declared:
                self._over.append(rise.as_escalation(speaker=self._speaker, role=self._role, end_s=t_s))
            self._rise = None


def _median(ordered: list[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
