"""What the network is to hear of a channel, decided hop by hop before it hears any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.turns import MIN_TURN_S as LEAST_TURN_S
from callmood.emotion.score import HOP_S, MARGIN_S, MIN_TURN_S, WINDOW_S
from callmood.features import FrontEnd
from callmood.live.norm import RunningNorm
from callmood.live.turns import HeardTurn, TurnTracker
from callmood.types import Floats

CONTEXT_S = 2.5
"""Of its turn, that the network hears before a window."""
PIECE_S = 60.0
"""A longer turn is scored in pieces of this length."""
_MEMORY_S = 2.0
"""Of the frames of silence, for the margin of a turn that begins."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A span, the emotion of which the network is to tell."""

    frames: Floats
    """Shape (frames, 2 * n_mfcc): the span, and what the network hears around it."""
    spans: NDArray[np.int64]
    """Shape (2, 2), first and one-past-last frame: all of `frames`, since the network takes for padding what no span
    covers, and the span itself."""


@dataclass(frozen=True, kw_only=True)
class WindowHeard:
    """A window that is complete."""

    turn: int
    start_s: float
    end_s: float
    step_s: float
    """Seconds of speech that it stands for: those that no window of its turn held before."""
    request: Request


@dataclass(frozen=True, kw_only=True)
class PieceHeard:
    """A whole turn, or a minute of it."""

    turn: int
    weight_s: float
    request: Request


@dataclass(frozen=True, kw_only=True)
class TurnOver:
    """A turn that is closed."""

    turn: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class ChannelHeard:
    """What one hop brought on one channel."""

    speaking: bool
    """Whether speech is going on at the hop's end."""
    turn: int | None
    """The turn that goes on, or may."""
    turn_start_s: float | None
    windows: tuple[WindowHeard, ...] = ()
    pieces: tuple[PieceHeard, ...] = ()
    over: tuple[TurnOver, ...] = ()

    @property
    def requests(self) -> list[Request]:
        """In the order in which `callmood.live.engine` hands their probabilities back."""
        return [window.request for window in self.windows] + [piece.request for piece in self.pieces]


@dataclass
class _Scoring:
    """How far a turn has been scored."""

    number: int
    first: int
    """The turn's first frame,"""
    heard_first: int
    """and the first that belongs to it with its margin."""
    windows: int = 0
    piece_first: int = 0
    counted: int = 0
    """One past the last frame that the speaker's norm has."""


@dataclass
class _Frames:
    """MFCC of the near past."""

    rows: Floats
    base: int = 0
    """Number of the first of `rows`."""

    @property
    def end(self) -> int:
        return self.base + len(self.rows)

    def add(self, rows: Floats) -> None:
        self.rows = np.concatenate([self.rows, rows])

    def between(self, first: int, last: int) -> Floats:
        return self.rows[max(first - self.base, 0) : last - self.base]

    def forget_before(self, first: int) -> None:
        gone = max(0, min(first - self.base, len(self.rows)))
        self.rows, self.base = self.rows[gone:], self.base + gone


class ChannelEar:
    """Turns of one channel, and the windows and pieces of them as they become complete.

    `numbers` gives the next turn its number. A channel whose emotions nobody may infer (`norm` is None) has turns only.
    """

    def __init__(self, front_end: FrontEnd, *, norm: RunningNorm | None, numbers: Callable[[], int]) -> None:
        self.tracker = TurnTracker()
        self._front_end = front_end
        self._rate = front_end.frames_per_s
        self._norm = norm
        self._numbers = numbers
        self._frames = _Frames(np.zeros((0, front_end.n_mfcc), dtype=np.float32))
        self._turns: list[tuple[HeardTurn, _Scoring]] = []
        self._over_until = 0
        """One past the last frame of the turn before."""

    @property
    def wanted(self) -> bool:
        return self._norm is not None

    def hear(self, mfcc: Floats) -> None:
        """Take the next frames, shape (n, n_mfcc); only of a channel that is `wanted`."""
        self._frames.add(mfcc)

    def settle(
        self, is_echo: Callable[[float, float], bool], *, duration_s: float, last: bool
    ) -> ChannelHeard:
        """What the hop brought, after the tracker and this have heard it."""
        over = self.tracker.settle(is_echo, duration_s=duration_s, last=last)
        windows: list[WindowHeard] = []
        pieces: list[PieceHeard] = []
        ended: list[TurnOver] = []
        current = self.tracker.turn
        if current is not None and current.duration_s < LEAST_TURN_S:
            current = None
        following = [*over, *([current] if current else [])]
        for place, turn in enumerate(following):
            scoring = self._scoring_of(turn)
            until = self._frames.end
            if place + 1 < len(following):
                until = min(until, self._frame(following[place + 1].start_s))
            if self._norm is not None and turn.duration_s >= MIN_TURN_S:
                windows += self._windows(turn, scoring, self._norm, until)
                pieces += self._pieces(turn, scoring, self._norm, until)
            if not turn.open:
                ended.append(TurnOver(turn=scoring.number, start_s=turn.start_s, end_s=turn.end_s))
                self._over_until = self._frame(turn.end_s)
                self._turns.remove((turn, scoring))
        self._forget(duration_s)
        number = self._scoring_of(current).number if current else None
        return ChannelHeard(
            speaking=self.tracker.speaking and current is not None,
            turn=number,
            turn_start_s=current.start_s if current else None,
            windows=tuple(windows),
            pieces=tuple(pieces),
            over=tuple(ended),
        )

    def _frame(self, t_s: float) -> int:
        return self._front_end.frame_span(t_s, t_s)[0]

    def _scoring_of(self, turn: HeardTurn) -> _Scoring:
        for known, scoring in self._turns:
            if known is turn:
                return scoring
        first = self._frame(turn.start_s)
        margin = self._frame(max(turn.start_s - MARGIN_S, 0.0))
        heard_first = max(margin, min(self._over_until, first), self._frames.base)
        scoring = _Scoring(
            number=self._numbers(),
            first=first,
            heard_first=heard_first,
            piece_first=heard_first,
            counted=heard_first,
        )
        self._turns.append((turn, scoring))
        return scoring

    def _count(self, scoring: _Scoring, norm: RunningNorm, until: int) -> None:
        if until > scoring.counted:
            norm.add(self._frames.between(scoring.counted, until))
            scoring.counted = until

    def _windows(
        self, turn: HeardTurn, scoring: _Scoring, norm: RunningNorm, until: int
    ) -> list[WindowHeard]:
        """Windows that are complete now; `until` is one past the last frame that the turn can claim."""
        width, hop = round(WINDOW_S * self._rate), round(HOP_S * self._rate)
        margin, context = round(MARGIN_S * self._rate), round(CONTEXT_S * self._rate)
        end = min(self._frame(turn.end_s), self._frames.end)
        self._count(scoring, norm, end if turn.open else min(end + margin, until))
        spans = []
        while scoring.first + scoring.windows * hop + width <= end:
            start = scoring.first + scoring.windows * hop
            spans.append((start, start + width, WINDOW_S if scoring.windows == 0 else HOP_S))
            scoring.windows += 1
        if not turn.open and scoring.windows == 0 and end > scoring.first:
            spans.append((scoring.first, end, turn.duration_s))
            scoring.windows += 1
        found = []
        for start, stop, step_s in spans:
            heard_from = max(scoring.heard_first, start - context)
            start_s = turn.start_s + (start - scoring.first) / self._rate
            found.append(
                WindowHeard(
                    turn=scoring.number,
                    start_s=start_s,
                    end_s=min(start_s + (stop - start) / self._rate, turn.end_s),
                    step_s=step_s,
                    request=self._request(norm, heard_from, min(stop + margin, until), start, stop),
                )
            )
        return found

    def _pieces(self, turn: HeardTurn, scoring: _Scoring, norm: RunningNorm, until: int) -> list[PieceHeard]:
        """Parts of the turn that are complete now: each minute, and at the end the rest."""
        length, margin = round(PIECE_S * self._rate), round(MARGIN_S * self._rate)
        end = min(self._frame(turn.end_s), self._frames.end)
        stops = list(range(scoring.piece_first + length, end + 1, length))
        if not turn.open:
            rest = max(min(end + margin, until), scoring.first + 1)
            if rest > (stops[-1] if stops else scoring.piece_first):
                stops.append(rest)
        found = []
        for stop in stops:
            first, scoring.piece_first = scoring.piece_first, stop
            request = self._request(norm, first, stop, first, stop)
            found.append(
                PieceHeard(turn=scoring.number, weight_s=(stop - first) / self._rate, request=request)
            )
        return found

    def _request(self, norm: RunningNorm, first: int, last: int, start: int, stop: int) -> Request:
        return Request(
            frames=norm.network_input(self._frames.between(first, last)),
            spans=np.array([[0, last - first], [start - first, stop - first]], dtype=np.int64),
        )

    def _forget(self, duration_s: float) -> None:
        """Let frames go that nothing will need."""
        hop, context = round(HOP_S * self._rate), round(CONTEXT_S * self._rate)
        needed = [self._frame(max(0.0, duration_s - _MEMORY_S))]
        if self.tracker.doubtful_since_s is not None:
            needed.append(self._frame(max(0.0, self.tracker.doubtful_since_s - MARGIN_S)))
        if self.tracker.turn is not None:
            needed.append(self._frame(max(0.0, self.tracker.turn.start_s - MARGIN_S)))
            for _, scoring in self._turns:
                needed[-1] = min(scoring.piece_first, scoring.first + scoring.windows * hop - context)
        self._frames.forget_before(min(needed))
