"""Emotion probabilities of turns and of the short windows inside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.features import FrontEnd, Spread, network_input
from callmood.types import Floats, Turn

WINDOW_S = 2.0
HOP_S = 0.5
MIN_TURN_S = 0.5
"""Shorter turns hold too little evidence: they get no emotion."""
MARGIN_S = 0.5
"""Sound around a turn that the network hears with it, as far as nobody else's turn on the channel begins: voice
activity ends before a voice has died away. On fold 0 of CREMA-D, where this was chosen, the recall of clips is 2.4 points
lower with 0.3 s, and the same with 0.7 s."""
_PIECE_S = 60.0
"""Longer turns run through the network in pieces of this length."""
_HELD_FRAMES = 24_000
"""MFCC frames that are held at a time, and that the network is given at a time (five minutes of speech, 12 MB together); the
frames of more speech are computed twice."""


class Frames(Protocol):
    """MFCC of one channel, not normalised: an array of shape (frames, n_mfcc), or what computes slices of one."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> Floats: ...


class ProbabilityModel(Protocol):
    """What scoring needs of a model; `callmood.emotion.model.EmotionModel` is one."""

    front_end: FrontEnd

    def probabilities(
        self, stretches: Sequence[Floats], spans: Sequence[NDArray[np.int64]]
    ) -> list[Floats]: ...


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Probabilities of n turns and of m windows."""

    turns: Floats
    """Shape (n, 7); NaN rows for turns that were not scored."""
    window_turn: NDArray[np.int32]
    """Shape (m,): index of each window's turn; ordered by turn and time."""
    window_start_s: NDArray[np.float64]
    window_end_s: NDArray[np.float64]
    windows: Floats
    """Shape (m, 7)."""


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """What runs through the network at once: a turn with its margins, or a part of it."""

    turn: int
    first: int
    """Frames of the channel: the first,"""
    end: int
    """one past the last that is the piece's own,"""
    run_end: int
    """and one past the last that runs with it, since its last windows reach into the next piece."""
    spans: NDArray[np.int64]
    """Row 0 is the piece itself, the others are its windows; from `first`."""
    window_s: NDArray[np.float64]
    """Start and end of each window, from the start of the call."""


def score_turns(
    turns: Sequence[Turn],
    mfcc: Mapping[int, Frames],
    model: ProbabilityModel,
    *,
    wanted: Callable[[Turn], bool],
) -> Scores:
    """Score the turns that are wanted and long enough; the model never hears the others.

    Parameters
    ----------
    turns
        In order.
    mfcc
        For each channel that a wanted turn is on.
    wanted
        Whether a turn's emotion may be inferred.

    MFCC are normalised over all wanted speech of the same speaker in the call; turns come with their margins
    (`MARGIN_S`), windows without. Windows of `WINDOW_S` start
    every `HOP_S` from the turn's start as long as they fit; a turn shorter than a window is one window. A
    turn's probabilities are those of the whole turn pooled at once (turns over a minute: the mean over their
    minutes, weighted by length). Memory does not grow with the length of the call, but for what is returned.

    Where an unwanted turn of the same channel overlaps a wanted one or its margins, that stretch is left out, along
    with every frame that reaches into it; the parts that are left are treated like the minutes of a long turn.
    """
    front_end = model.front_end
    edge_s = front_end.n_fft / 2 / front_end.rate_hz
    # As far as a frame may not be centred without holding a part of them.
    unwanted = [
        replace(turn, start_s=turn.start_s - edge_s, end_s=turn.end_s + edge_s)
        for turn in turns
        if not wanted(turn)
    ]
    parts = [
        (index, part)
        for index, turn in enumerate(turns)
        if turn.duration_s >= MIN_TURN_S and wanted(turn)
        for part in _free_parts(turn, unwanted)
    ]
    scored = {index for index, _ in parts}
    others = [turn for index, turn in enumerate(turns) if wanted(turn) and index not in scored]
    bounds_s = _heard_bounds_s([*(part for _, part in parts), *others, *unwanted])
    pieces = [
        piece
        for (index, part), heard_s in zip(parts, bounds_s[: len(parts)], strict=True)
        for piece in _pieces(index, part, heard_s, len(mfcc[part.channel]), front_end)
    ]
    kept: dict[int, Floats] = {}
    held = 0
    spreads: dict[str, Spread] = {}
    for number, piece in enumerate(pieces):
        turn = turns[piece.turn]
        frames = mfcc[turn.channel][piece.first : piece.run_end]
        spreads.setdefault(turn.speaker, Spread()).add(frames[: piece.end - piece.first])
        held += len(frames)
        if held <= _HELD_FRAMES:
            kept[number] = frames

    probabilities: list[Floats] = []
    for group in _groups(pieces):
        stretches = []
        for number in group:
            turn, piece = turns[pieces[number].turn], pieces[number]
            frames = kept.pop(number) if number in kept else mfcc[turn.channel][piece.first : piece.run_end]
            spread = spreads[turn.speaker]
            stretches.append(network_input(frames, spread.mean, spread.deviation))
        probabilities += model.probabilities(stretches, [pieces[number].spans for number in group])

    return Scores(
        turns=_turn_rows(len(turns), pieces, probabilities),
        window_turn=np.repeat(
            np.array([piece.turn for piece in pieces], dtype=np.int32),
            [len(piece.window_s) for piece in pieces],
        ),
        window_start_s=np.concatenate([np.zeros(0), *(piece.window_s[:, 0] for piece in pieces)]),
        window_end_s=np.concatenate([np.zeros(0), *(piece.window_s[:, 1] for piece in pieces)]),
        windows=np.concatenate(
            [np.zeros((0, len(EMOTIONS)), dtype=np.float32), *(rows[1:] for rows in probabilities)]
        ),
    )


def _groups(pieces: Sequence[_Piece]) -> Iterator[range]:
    """Numbers of the pieces that run through the network together: at most `_HELD_FRAMES`, but one at least."""
    first, held = 0, 0
    for number, piece in enumerate(pieces):
        length = piece.run_end - piece.first
        if number > first and held + length > _HELD_FRAMES:
            yield range(first, number)
            first, held = number, 0
        held += length
    if pieces:
        yield range(first, len(pieces))


def _free_parts(turn: Turn, unwanted: Sequence[Turn]) -> list[Turn]:
    """The parts of a turn that no unwanted turn of its channel overlaps, those too short to score left out."""
    parts, from_s = [], turn.start_s
    overlapping = [
        other
        for other in unwanted
        if other.channel == turn.channel and other.end_s > turn.start_s and other.start_s < turn.end_s
    ]
    for other in sorted(overlapping, key=lambda other: other.start_s):
        if other.end_s > from_s:
            parts.append(replace(turn, start_s=from_s, end_s=other.start_s))
            from_s = other.end_s
    parts.append(replace(turn, start_s=from_s))
    return [part for part in parts if part.duration_s >= MIN_TURN_S]


def _turn_rows(count: int, pieces: Sequence[_Piece], probabilities: Sequence[Floats]) -> Floats:
    """Probabilities of each turn: of its pieces, weighted by length; NaN where it has none."""
    sums, weights = np.zeros((count, len(EMOTIONS))), np.zeros((count, 1))
    for piece, rows in zip(pieces, probabilities, strict=True):
        sums[piece.turn] += rows[0] * float(piece.end - piece.first)
        weights[piece.turn] += piece.end - piece.first
    return np.asarray(np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0), np.float32)


def _heard_bounds_s(turns: Sequence[Turn]) -> list[tuple[float, float]]:
    """From when to when the network hears each turn: with a margin, but not where another turn of the channel is."""
    found = [(0.0, 0.0)] * len(turns)
    for channel in {turn.channel for turn in turns}:
        own = sorted((turn.start_s, index) for index, turn in enumerate(turns) if turn.channel == channel)
        together = [[index for _, index in members] for _, members in groupby(own, key=lambda item: item[0])]
        before_s = 0.0
        for members, following in zip(together, [*together[1:], []], strict=True):
            after_s = turns[following[0]].start_s if following else np.inf
            for index in members:
                turn = turns[index]
                others_s = max([before_s, *(turns[i].end_s for i in members if i != index)])
                found[index] = (
                    max(turn.start_s - MARGIN_S, min(others_s, turn.start_s)),
                    min(turn.end_s + MARGIN_S, max(after_s, turn.end_s)),
                )
            before_s = max(before_s, *(turns[index].end_s for index in members))
    return found


def _pieces(
    index: int, turn: Turn, bounds_s: tuple[float, float], n_frames: int, front_end: FrontEnd
) -> Iterator[_Piece]:
    """The pieces of a turn that is heard between two times, on a channel of `n_frames`."""
    rate = front_end.frames_per_s
    window, hop, length = round(WINDOW_S * rate), round(HOP_S * rate), round(_PIECE_S * rate)
    heard_first, heard_end = front_end.frame_span(*bounds_s)
    heard_first = min(heard_first, n_frames - 1)
    heard_end = min(max(heard_end, heard_first + 1), n_frames)
    first, last = front_end.frame_span(turn.start_s, turn.end_s)
    first, last = max(first, heard_first), min(max(first, heard_first) + last - first, heard_end)
    starts = first + np.arange(0, max(last - first - window, 0) + 1, hop)
    for piece_first in range(heard_first, heard_end, length):
        piece_end = min(piece_first + length, heard_end)
        own = starts[(starts >= piece_first) & (starts < piece_end)]
        ends = np.minimum(own + window, last)
        spans = np.column_stack([own, ends])
        yield _Piece(
            turn=index,
            first=piece_first,
            end=piece_end,
            run_end=int(max(piece_end, ends.max(initial=0))),
            spans=np.concatenate([[[piece_first, piece_end]], spans]).astype(np.int64) - piece_first,
            window_s=np.minimum(turn.start_s + (spans - first) / rate, turn.end_s),
        )
