"""How one speaker's mood goes, told window by window."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import Literal

import numpy as np

from callmood.trajectory import EscalationRule
from callmood.trajectory.escalation import score_of
from callmood.trajectory.smoothing import TIME_CONSTANT_S
from callmood.types import Escalation, EscalationScore, Role

State = Literal["unknown", "calm", "rising", "escalated"]
"""`unknown`: too little speech; `rising`: some calm is lost, not enough yet for an escalation."""


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
    """What was heard since a speaker's account of calm was highest, from the first window on."""

    onset_s: float
    usual: float
    peak_s: float
    peak: float
    lowest: float | None = None
    """The account's lowest value since the escalation was declared; None where it is not."""
    end_s: float = 0.0
    """End of the window with that value,"""
    until_end: tuple[float, float] = (0.0, 0.0)
    """and the peak up to it, with its time."""

    def at_lowest(self, account: float, *, end_s: float) -> None:
        """Take note that the account is at its lowest in the window that ends at `end_s`."""
        self.lowest, self.end_s, self.until_end = account, end_s, (self.peak, self.peak_s)

    def as_escalation(self, *, speaker: str, role: Role | None, end_s: float | None) -> Escalation:
        height = max(self.peak - self.usual, 0.0)
        return Escalation(
            speaker=speaker,
            role=role,
            onset_s=self.onset_s,
            peak_s=self.peak_s,
            end_s=end_s,
            height=height,
            slope=height / (self.peak_s - self.onset_s),
            recovered=end_s is not None,
        )


class EscalationWatch:
    """The account of calm of `callmood.trajectory.escalation`, on what was heard so far.

    A speaker's usual strain is the mean of the speech before, the usual negativity the median of the windows before. A
    level that stays therefore becomes the usual one, in as much time as the speech before it took. Evidence is summed as it
    is, whatever the length of the speech.
    """

    def __init__(self, rule: EscalationRule, *, speaker: str, role: Role | None) -> None:
        self._rule = rule
        self._speaker = speaker
        self._role = role
        self._speech_s = 0.0
        self._strain_s = 0.0
        """Strain times seconds of speech so far."""
        self._negativities: list[float] = []
        self._account = 0.0
        self._highest = 0.0
        self._evidence = 0.0
        self._rise: _Rise | None = None
        self._over: list[Escalation] = []

    @property
    def state(self) -> State:
        if self._speech_s < self._rule.min_speech_s:
            return "unknown"
        if self._rise is None:
            return "calm"
        return "rising" if self._rise.lowest is None else "escalated"

    @property
    def rise(self) -> Escalation | None:
        """The rise that goes on, declared or not."""
        if self._rise is None:
            return None
        return self._rise.as_escalation(speaker=self._speaker, role=self._role, end_s=None)

    @property
    def score(self) -> EscalationScore | None:
        """The strongest evidence so far; None where the speaker was heard for too short."""
        if self._speech_s < self._rule.min_speech_s:
            return None
        return EscalationScore(speaker=self._speaker, evidence=self._evidence, score=score_of(self._evidence))

    def escalations(self) -> tuple[Escalation, ...]:
        """Those declared so far; the last may go on."""
        going_on = (self.rise,) if self._rise is not None and self._rise.lowest is not None else ()
        return (*self._over, *(event for event in going_on if event is not None))

    def step(self, strain: float, negativity: float, *, start_s: float, end_s: float, step_s: float) -> None:
        """Take the next window, from `start_s` to `end_s`: its strain and its smoothed negativity."""
        usual_strain = self._strain_s / self._speech_s if self._speech_s else 0.0
        usual = _median(self._negativities)
        insort(self._negativities, negativity)
        self._strain_s += strain * step_s
        self._speech_s += step_s
        excess = (strain - self._rule.level - self._rule.own_share * usual_strain) * step_s
        self._account = max(0.0, self._account - excess)
        middle_s = (start_s + end_s) / 2
        rise = self._rise
        if rise is None or rise.lowest is None:
            if self._account >= self._highest:
                self._highest, self._rise = self._account, None
                return
            if rise is None:
                rise = self._rise = _Rise(onset_s=start_s, usual=usual, peak_s=middle_s, peak=negativity)
        if negativity > rise.peak:
            rise.peak, rise.peak_s = negativity, middle_s
        if self._speech_s < self._rule.min_speech_s:
            return
        evidence = self._highest - self._account
        self._evidence = max(self._evidence, evidence)
        if rise.lowest is None:
            if evidence >= self._rule.threshold_s:
                rise.at_lowest(self._account, end_s=end_s)
        elif self._account <= rise.lowest:
            rise.at_lowest(self._account, end_s=end_s)
        elif self._account - rise.lowest >= self._rule.recovery_s:
            rise.peak, rise.peak_s = rise.until_end
            self._over.append(rise.as_escalation(speaker=self._speaker, role=self._role, end_s=rise.end_s))
            self._highest, self._rise = self._account, None


def _median(ordered: list[float]) -> float:
    """Of values in order; 0 where there are none."""
    middle = len(ordered) // 2
    if not ordered:
        return 0.0
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
