"""Emotion probabilities of turns and of the short windows inside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from callmood.emotions import EMOTIONS
from callmood.features import FrontEnd, normalize
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


@dataclass(frozen=True)
class _Piece:
    turn: int
    frames: Floats
    spans: NDArray[np.int64]
    """Row 0 is the piece itself, the others are its windows."""
    window_s: NDArray[np.float64]
    """Start and end of each window, from the start of the call."""
    weight_s: float


def score_turns(
    turns: Sequence[Turn],
    mfcc: Mapping[int, Floats],
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
        For each channel that a wanted turn is on, shape (frames, n_mfcc), not normalised.
    wanted
        Whether a turn's emotion may be inferred.

    MFCC are normalised over all wanted speech of the same speaker in the call; turns come with their margins
    (`MARGIN_S`), windows without. Windows of `WINDOW_S` start
    every `HOP_S` from the turn's start as long as they fit; a turn shorter than a window is one window. A
    turn's probabilities are those of the whole turn pooled at once (turns over a minute: the mean over their
    minutes, weighted by length).

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
    pieces: list[_Piece] = []
    for speaker in sorted({turn.speaker for turn in turns}):
        chosen = [
            index
            for index, turn in enumerate(turns)
            if turn.speaker == speaker and turn.duration_s >= MIN_TURN_S and wanted(turn)
        ]
        if not chosen:
            continue
        heard = []
        for index in chosen:
            others = [turn for i, turn in enumerate(turns) if i != index and wanted(turn)] + unwanted
            for part in _free_parts(turns[index], unwanted):
                heard.append((index, part, *_heard_frames(part, others, mfcc, front_end)))
        if not heard:
            continue
        reference = np.concatenate([frames for _, _, frames, _ in heard])
        for index, part, frames, lead in heard:
            pieces += _pieces(index, part, normalize(frames, reference), lead, front_end)
    pieces.sort(key=lambda piece: piece.turn)
    probabilities = model.probabilities([piece.frames for piece in pieces], [piece.spans for piece in pieces])

    turn_rows = np.full((len(turns), len(EMOTIONS)), np.nan, dtype=np.float32)
    for index in {piece.turn for piece in pieces}:
        rows = [row for row, piece in enumerate(pieces) if piece.turn == index]
        turn_rows[index] = np.average(
            [probabilities[row][0] for row in rows], axis=0, weights=[pieces[row].weight_s for row in rows]
        )
    bounds = np.concatenate([np.zeros((0, 2)), *(piece.window_s for piece in pieces)])
    return Scores(
        turns=turn_rows,
        window_turn=np.repeat(
            np.array([piece.turn for piece in pieces], dtype=np.int32),
            [len(piece.window_s) for piece in pieces],
        ),
        window_start_s=bounds[:, 0],
        window_end_s=bounds[:, 1],
        windows=np.concatenate(
            [np.zeros((0, len(EMOTIONS)), dtype=np.float32), *(rows[1:] for rows in probabilities)]
        ),
    )


def _free_parts(turn: Turn, unwanted: Sequence[Turn]) -> list[Turn]:
    """The parts of a turn that no unwanted turn of its channel overlaps, those too short to score left out."""
    parts, from_s = [], turn.start_s
    for other in sorted(unwanted, key=lambda other: other.start_s):
        if other.channel == turn.channel and other.end_s > from_s and other.start_s < turn.end_s:
            parts.append(replace(turn, start_s=from_s, end_s=other.start_s))
            from_s = other.end_s
    parts.append(replace(turn, start_s=from_s))
    return [part for part in parts if part.duration_s >= MIN_TURN_S]


def _heard_frames(
    turn: Turn, others: Sequence[Turn], mfcc: Mapping[int, Floats], front_end: FrontEnd
) -> tuple[Floats, int]:
    """Frames of a turn with its margins, and how many of them come before the turn."""
    others = [other for other in others if other.channel == turn.channel]
    before_s = max((other.end_s for other in others if other.start_s <= turn.start_s), default=0.0)
    after_s = min((other.start_s for other in others if other.start_s > turn.start_s), default=np.inf)
    from_s = max(turn.start_s - MARGIN_S, min(before_s, turn.start_s))
    to_s = min(turn.end_s + MARGIN_S, max(after_s, turn.end_s))
    channel = mfcc[turn.channel]
    first, last = front_end.frame_span(from_s, to_s)
    first = min(first, len(channel) - 1)
    lead = front_end.frame_span(turn.start_s, turn.end_s)[0] - first
    return channel[first : max(last, first + 1)], max(lead, 0)


def _pieces(index: int, turn: Turn, frames: Floats, lead: int, front_end: FrontEnd) -> list[_Piece]:
    rate = front_end.frames_per_s
    window, hop, length = round(WINDOW_S * rate), round(HOP_S * rate), round(_PIECE_S * rate)
    first, last = front_end.frame_span(turn.start_s, turn.end_s)
    end = min(lead + last - first, len(frames))
    starts = lead + np.arange(0, max(end - lead - window, 0) + 1, hop)
    pieces = []
    for piece_start in range(0, len(frames), length):
        piece_end = min(piece_start + length, len(frames))
        own = starts[(starts >= piece_start) & (starts < piece_end)]
        # The last windows of a piece reach into the next one, so the frames that run are a little longer.
        ends = np.minimum(own + window, end)
        run_end = int(max(piece_end, ends.max(initial=0)))
        spans = np.column_stack([own, ends])
        pieces.append(
            _Piece(
                turn=index,
                frames=frames[piece_start:run_end],
                spans=np.concatenate([[[0, piece_end - piece_start]], spans - piece_start]).astype(np.int64),
                window_s=np.minimum(turn.start_s + (spans - lead) / rate, turn.end_s),
                weight_s=(piece_end - piece_start) / rate,
            )
        )
    return pieces
