"""Many streams side by side: their due hops go through the networks together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import numpy as np

from callmood.diarize import silero
from callmood.diarize.channels import is_echo
from callmood.diarize.vad import STEP, STEP_S, level_db
from callmood.emotion.score import HOP_S, ProbabilityModel
from callmood.emotions import EMOTIONS
from callmood.features import FrontEnd
from callmood.live.hearing import ChannelEar, ChannelHeard, TurnOver
from callmood.live.mood import EscalationWatch, RunningSmoother, State
from callmood.live.norm import RunningNorm, TypicalSpeech
from callmood.live.wire import Canonical, StreamFormat
from callmood.trajectory import EscalationRule, affect_of
from callmood.trajectory.affect import strain_of
from callmood.types import Affect, Escalation, Floats, Role

ENGINE = "causal 1"
"""What found the turns, as `calls.diarizer` names it."""
_LEVELS_S = 60.0
"""How long a channel's level is remembered, to tell echoes."""


class CausalModel(ProbabilityModel, Protocol):
    """What causal scoring needs of a model; `callmood.emotion.model.EmotionModel` is one."""

    def typical_speech(self) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True, kw_only=True)
class ScoredWindow:
    """A complete window with what was heard in it."""

    turn: int
    start_s: float
    end_s: float
    step_s: float
    affect: Affect
    """Of one span."""
    negativity_smooth: float
    escalation: State
    """After this window."""


@dataclass(frozen=True, kw_only=True)
class ScoredTurn:
    """A turn that is over."""

    turn: int
    start_s: float
    end_s: float
    affect: Affect
    """Of one span; NaN where it was not inferred."""


@dataclass(frozen=True, kw_only=True)
class ChannelHop:
    """One channel at the end of a hop."""

    channel: int
    speaker: str
    role: Role | None
    speaking: bool
    turn: int | None
    turn_start_s: float | None
    windows: tuple[ScoredWindow, ...]
    """Those that became complete in the hop."""
    over: tuple[ScoredTurn, ...]
    """Those that were closed in the hop."""
    escalation: State | None
    """None where the speaker's emotion is not inferred."""
    rise: Escalation | None
    """The rise of negativity that goes on, declared or not."""


@dataclass(frozen=True, kw_only=True)
class Hop:
    """What is known when a hop is over."""

    index: int
    t_s: float
    channels: tuple[ChannelHop, ...]


class _Channel:
    """One channel of a stream: what it holds on to between hops."""

    def __init__(
        self,
        number: int,
        role: Role | None,
        *,
        front_end: FrontEnd,
        typical: TypicalSpeech | None,
        rule: EscalationRule,
        numbers: Callable[[], int],
    ) -> None:
        self.number = number
        self.speaker = f"S{number + 1}"
        self.role = role
        norm = None if typical is None else RunningNorm(typical, frames_per_s=front_end.frames_per_s)
        self.ear = ChannelEar(front_end, norm=norm, numbers=numbers)
        self.listening = silero.Listening()
        self.smoother = RunningSmoother()
        self.watch = EscalationWatch(rule, speaker=self.speaker, role=role)
        self._pieces: dict[int, list[tuple[float, Floats]]] = {}
        self._unheard = np.zeros(0, dtype=np.float32)
        """Samples that do not fill a step of voice activity yet."""
        self._levels = np.zeros(0, dtype=np.float32)
        self._levels_base = 0
        self._near = np.zeros(front_end.n_fft // 2, dtype=np.float32)
        """Samples of the frames to come: at the start, the silence before."""
        self.heard = 0

    def steps(self, samples: Floats, *, last: bool) -> Floats:
        """The samples of the whole steps that there are now; at the end, the last one filled up with zeros."""
        waiting = np.concatenate([self._unheard, samples])
        if last:
            waiting = np.pad(waiting, (0, -len(waiting) % STEP))
        whole = len(waiting) // STEP * STEP
        self._unheard = waiting[whole:]
        self._levels = np.concatenate([self._levels, level_db(waiting[:whole])])
        gone = max(0, len(self._levels) - int(_LEVELS_S / STEP_S))
        self._levels, self._levels_base = self._levels[gone:], self._levels_base + gone
        return waiting[:whole]

    def frames_due(self, samples: Floats, front_end: FrontEnd, *, last: bool) -> Floats:
        """Samples, from half a frame before the first frame due to half a frame after the last one."""
        half, hop = front_end.n_fft // 2, front_end.hop_length
        self.heard += len(samples)
        waiting = np.concatenate([self._near, samples])
        if last:
            waiting = np.concatenate([waiting, np.zeros(half, dtype=np.float32)])
        due = max(0, (len(waiting) - 2 * half) // hop + 1)
        self._near = waiting[due * hop :]
        return waiting[: (due - 1) * hop + 2 * half] if due else waiting[:0]

    def is_echo_of(self, other: _Channel, start_s: float, end_s: float) -> bool:
        base_s = self._levels_base * STEP_S
        region = np.array([max(start_s - base_s, 0.0), end_s - base_s])
        length = min(len(self._levels), len(other._levels))
        return is_echo(region, self._levels[-length:], other._levels[-length:])

    def told(self, heard: ChannelHeard, probabilities: Sequence[Floats]) -> ChannelHop:
        """The hop with what the network says of its requests, each of shape (7,)."""
        windows = []
        for window, row in zip(heard.windows, probabilities[: len(heard.windows)], strict=True):
            affect = affect_of(row[np.newaxis])
            smooth = self.smoother.step(float(affect.negativity[0]), window.step_s)
            strain = float(strain_of(row[np.newaxis])[0])
            self.watch.step(strain, smooth, start_s=window.start_s, end_s=window.end_s, step_s=window.step_s)
            windows.append(
                ScoredWindow(
                    turn=window.turn,
                    start_s=window.start_s,
                    end_s=window.end_s,
                    step_s=window.step_s,
                    affect=affect,
                    negativity_smooth=smooth,
                    escalation=self.watch.state,
                )
            )
        for piece, row in zip(heard.pieces, probabilities[len(heard.windows) :], strict=True):
            self._pieces.setdefault(piece.turn, []).append((piece.weight_s, row))
        return ChannelHop(
            channel=self.number,
            speaker=self.speaker,
            role=self.role,
            speaking=heard.speaking,
            turn=heard.turn,
            turn_start_s=heard.turn_start_s,
            windows=tuple(windows),
            over=tuple(self._scored(turn) for turn in heard.over),
            escalation=self.watch.state if self.ear.wanted else None,
            rise=self.watch.rise,
        )

    def _scored(self, turn: TurnOver) -> ScoredTurn:
        rows = np.full((1, len(EMOTIONS)), np.nan, dtype=np.float32)
        pieces = self._pieces.pop(turn.turn, [])
        if pieces:
            weights, each = zip(*pieces, strict=True)
            rows[0] = np.average(np.stack(each), axis=0, weights=weights)
        return ScoredTurn(turn=turn.turn, start_s=turn.start_s, end_s=turn.end_s, affect=affect_of(rows))


class Stream:
    """One stream: samples in by `feed`, hops out by `Engine.step`."""

    def __init__(self, stream: StreamFormat, *, engine: Engine) -> None:
        self.format = stream
        self._hop = round(HOP_S * engine.front_end.rate_hz)
        self._rate_hz = engine.front_end.rate_hz
        self._canonical = Canonical(stream, rate_hz=self._rate_hz)
        self._waiting: list[Floats] = []
        self._held = 0
        self._ended = False
        self.finished = False
        """Whether all that came has been heard."""
        self.hops = 0
        self.heard = 0
        """Samples of each channel, at the model's rate."""
        numbers = count(1)
        self.channels = tuple(
            _Channel(
                number,
                role,
                front_end=engine.front_end,
                typical=engine.typical if engine.emotion_for in ("everyone", role) else None,
                rule=engine.rule,
                numbers=lambda: next(numbers),
            )
            for number, role in enumerate(stream.roles)
        )

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that came and have not been heard."""
        return self._held / self._rate_hz

    @property
    def due(self) -> bool:
        """Whether there is a hop to hear: a whole one, or once at the end what is left, which may be nothing."""
        return self._held >= self._hop or (self._ended and not self.finished)

    @property
    def duration_s(self) -> float:
        """Seconds heard."""
        return self.heard / self._rate_hz

    def feed(self, samples: Floats) -> None:
        """Take samples at the stream's own rate, shape (n, channels), float32 in [-1, 1]."""
        self._hold(self._canonical.feed(samples))

    def end(self) -> None:
        """No more will come."""
        if not self._ended:
            self._hold(self._canonical.feed(np.zeros((0, len(self.channels)), np.float32), last=True))
            self._ended = True

    def _hold(self, rows: Floats) -> None:
        if rows.shape[1]:
            self._waiting.append(rows)
            self._held += rows.shape[1]

    def take(self) -> tuple[Floats, bool]:
        """The samples of the hop that is due, shape (channels, n), and whether it is the last."""
        # A whole hop is never the last: whether more comes may not be known yet.
        self.finished = self._held < self._hop
        held = np.concatenate([np.zeros((len(self.channels), 0), np.float32), *self._waiting], axis=1)
        hop, rest = held[:, : self._hop], held[:, self._hop :]
        self._waiting, self._held = [rest], rest.shape[1]
        self.hops += 1
        self.heard += hop.shape[1]
        return hop, self.finished

    def echo_test(self, channel: _Channel) -> Callable[[float, float], bool]:
        if len(self.channels) == 1:
            return lambda start_s, end_s: False
        other = self.channels[1 - channel.number]
        return lambda start_s, end_s: channel.is_echo_of(other, start_s, end_s)


@dataclass(frozen=True, kw_only=True)
class HopHeard:
    """A hop before the network has answered."""

    index: int
    t_s: float
    channels: tuple[ChannelHeard, ...]


class Engine:
    """The networks, and the settings that decide what is told."""

    def __init__(self, model: CausalModel, *, emotion_for: str = "everyone", rule: EscalationRule) -> None:
        self._model = model
        self.front_end = model.front_end
        mean, std = model.typical_speech()
        self.typical = TypicalSpeech(mean=np.asarray(mean, np.float64), std=np.asarray(std, np.float64))
        self.emotion_for = emotion_for
        self.rule = rule

    def open(self, stream: StreamFormat) -> Stream:
        """A stream that can be fed."""
        return Stream(stream, engine=self)

    def step(self, streams: Sequence[Stream]) -> list[Hop]:
        """The next hop of each of some streams that are `due`."""
        heard = self.hear(streams)
        return [told[0] for told in self.tell(streams, [[hop] for hop in heard])]

    def hear(self, streams: Sequence[Stream]) -> list[HopHeard]:
        """The next hop of each stream, as far as it needs no emotion network."""
        taken = [stream.take() for stream in streams]
        parts = [
            (channel, samples, last)
            for stream, (hop, last) in zip(streams, taken, strict=True)
            for channel, samples in zip(stream.channels, hop, strict=True)
        ]
        found = silero.listen(
            [channel.listening for channel, _, _ in parts],
            [channel.steps(samples, last=last) for channel, samples, last in parts],
        )
        for (channel, _, _), probabilities in zip(parts, found, strict=True):
            channel.ear.tracker.hear(probabilities)
        wanted = [part for part in parts if part[0].ear.wanted]
        frames = mfcc_of(
            self.front_end,
            [channel.frames_due(samples, self.front_end, last=last) for channel, samples, last in wanted],
        )
        for (channel, _, _), rows in zip(wanted, frames, strict=True):
            channel.ear.hear(rows)
        return [
            HopHeard(
                index=stream.hops - 1,
                t_s=stream.duration_s,
                channels=tuple(
                    channel.ear.settle(stream.echo_test(channel), duration_s=stream.duration_s, last=last)
                    for channel in stream.channels
                ),
            )
            for stream, (_, last) in zip(streams, taken, strict=True)
        ]

    def tell(self, streams: Sequence[Stream], heard: Sequence[Sequence[HopHeard]]) -> list[list[Hop]]:
        """For each stream the hops that were heard, in order, with what the network says of them."""
        requests = [
            request
            for hops in heard
            for hop in hops
            for channel in hop.channels
            for request in channel.requests
        ]
        answers = iter(
            self._model.probabilities([r.frames for r in requests], [r.spans for r in requests])
            if requests
            else ()
        )
        return [
            [
                Hop(
                    index=hop.index,
                    t_s=hop.t_s,
                    channels=tuple(
                        channel.told(part, [next(answers)[1] for _ in part.requests])
                        for channel, part in zip(stream.channels, hop.channels, strict=True)
                    ),
                )
                for hop in hops
            ]
            for stream, hops in zip(streams, heard, strict=True)
        ]

    def warm_up(self) -> None:
        """Run the networks once on sounds of several sizes, which they take seconds to prepare for."""
        silero.listen([silero.Listening()], [np.full(STEP, 1e-3, dtype=np.float32)])
        for rows, frames in ((1, 80), (2, 280), (3, 440), (5, 1000)):
            noise = [np.zeros((frames, 2 * self.front_end.n_mfcc), dtype=np.float32)] * rows
            self._model.probabilities(noise, [np.array([[0, frames]] * 2, dtype=np.int64)] * rows)


def mfcc_of(front_end: FrontEnd, stretches: Sequence[Floats]) -> list[Floats]:
    """MFCC of several stretches at once, each of samples that whole frames cover: none outside is looked at.

    A stretch of n_fft + (n - 1) * hop_length samples has n frames; an empty one none.
    """
    half, hop = front_end.n_fft // 2, front_end.hop_length
    lead = -half % hop
    parts, places, at = [], [], 0
    for samples in stretches:
        n_frames = (len(samples) - 2 * half) // hop + 1 if len(samples) else 0
        # Behind each other, so that the centres of all frames fall on the grid of one long signal.
        length = -(-(lead + len(samples)) // hop) * hop
        parts.append(np.pad(samples, (lead, length - lead - len(samples))))
        places.append(((at + lead + half) // hop, n_frames))
        at += length
    if not at:
        return [np.zeros((0, front_end.n_mfcc), dtype=np.float32) for _ in stretches]
    rows = front_end.mfcc(np.concatenate(parts))
    return [rows[first : first + n_frames] for first, n_frames in places]
