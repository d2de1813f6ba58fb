"""Turns of one channel as they come.

The rules are `callmood.diarize.vad.DEFAULT_VAD`, while recordings are heard amplified, and screams slower (docs/live.md): speech begins at a probability of `ONSET` and lasts while it is
`OFFSET`; it becomes regions, joined across the pauses of stop consonants, and regions become turns across pauses of
`MAX_PAUSE_S`. A turn is closed by the pause, not by what follows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callmood.diarize.turns import MAX_PAUSE_S, MIN_TURN_S
from callmood.diarize.vad import STEP_S
from callmood.types import Floats

ONSET = 0.4
"""Speech begins at the first step that is at least this probable,"""
OFFSET = 0.2
"""and lasts until the probability falls below this (hysteresis against flicker)."""
MIN_PAUSE_S = 0.1
"""Shorter pauses (stop consonants) belong to the speech."""
MIN_SPEECH_S = 0.1
"""Shorter speech is a click."""
PAD_S = 0.03
"""Speech is widened by this on either side: onsets begin softly."""
_MAX_DOUBT_S = 30.0
"""Of speech that has looked like an echo for longer than this, only so much can still become a turn."""
_AFTER_S = 0.3
"""What looks like an echo is taken for one once this much more was heard."""
_SLACK_S = 1e-6
"""0.7 - 0.2 is not 0.5 in floating point."""


@dataclass
class _Region:
    """Speech without a pause: first step, one past the last, and whether it may go on."""

    first: int
    last: int
    open: bool = True

    @property
    def start_s(self) -> float:
        return max(0.0, self.first * STEP_S - PAD_S)

    @property
    def length_s(self) -> float:
        return (self.last - self.first) * STEP_S

    def end_s(self, duration_s: float) -> float:
        """As far as it is known; the pad belongs to it once it is over."""
        return self.last * STEP_S if self.open else min(self.last * STEP_S + PAD_S, duration_s)


@dataclass
class HeardTurn:
    """A turn, which may go on."""

    start_s: float
    end_s: float
    """How far it is known to go."""
    open: bool = True

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class TurnTracker:
    """Speech probabilities in; turns out."""

    def __init__(self) -> None:
        self._steps = 0
        self._in_speech = False
        self._waiting: list[_Region] = []
        """Regions not yet told from echo."""
        self._last: _Region | None = None
        """The newest region of `turn`."""
        self.turn: HeardTurn | None = None
        """The turn that goes on, or may."""

    @property
    def speaking(self) -> bool:
        """Whether the newest step is speech."""
        return self._in_speech

    @property
    def doubtful_since_s(self) -> float | None:
        """Where speech began that may still become a turn."""
        return self._waiting[0].start_s if self._waiting else None

    def hear(self, probabilities: Floats) -> None:
        """Take the next steps, shape (n,)."""
        for probability in probabilities.tolist():
            self._hear(probability)

    def _hear(self, probability: float) -> None:
        region = self._newest()
        if probability >= (OFFSET if self._in_speech else ONSET):
            if region is None or not region.open:
                self._waiting.append(_Region(self._steps, self._steps + 1))
            else:
                region.last = self._steps + 1
            self._in_speech = True
        else:
            self._in_speech = False
            if region is not None:
                pause_s = (self._steps + 1 - region.last) * STEP_S
                region.open = region.open and pause_s <= MIN_PAUSE_S + _SLACK_S
        self._steps += 1

    def _newest(self) -> _Region | None:
        return self._waiting[-1] if self._waiting else self._last

    def settle(
        self, is_echo: Callable[[float, float], bool], *, duration_s: float, last: bool
    ) -> list[HeardTurn]:
        """Bring turns up to date, and answer with those that are over.

        Parameters
        ----------
        is_echo
            Whether what was heard from one second to another is a copy of the other channel's voice. A region that once
            was not is the channel's own for good.
        duration_s
            How much was heard.
        last
            Whether the stream is over.
        """
        over: list[HeardTurn] = []
        region = self._newest()
        if last and region is not None:
            region.open = False
        if self.turn is not None and self._last is not None:
            self.turn.end_s = max(self.turn.end_s, self._last.end_s(duration_s))
        while self._waiting:
            region = self._waiting[0]
            end_s = region.end_s(duration_s)
            short = region.length_s < MIN_SPEECH_S - _SLACK_S
            if short or is_echo(region.start_s, end_s):
                # What comes after it, too, can tell a short word from an echo.
                settled = last or short or duration_s >= end_s + _AFTER_S
                if region.open or not settled:
                    region.first = max(region.first, region.last - int(_MAX_DOUBT_S / STEP_S))
                    break
                self._waiting.pop(0)
                continue
            self._waiting.pop(0)
            if self.turn is not None and region.start_s - self.turn.end_s > MAX_PAUSE_S + _SLACK_S:
                over += self._close()
            if self.turn is None:
                self.turn = HeardTurn(region.start_s, end_s)
            self._last = region
            self.turn.end_s = max(self.turn.end_s, end_s)
        if self.turn is not None and self._last is not None:
            next_s = self._steps * STEP_S - PAD_S
            if self._waiting:
                next_s = self._waiting[0].start_s
            if last or (not self._last.open and next_s - self.turn.end_s > MAX_PAUSE_S + _SLACK_S):
                over += self._close()
        return over

    def _close(self) -> list[HeardTurn]:
        turn, self.turn, self._last = self.turn, None, None
        if turn is None or turn.duration_s < MIN_TURN_S - _SLACK_S:
            return []
        turn.open = False
        return [turn]
