"""The signals of one call: of its turns, and of what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

from callmood.signals.nonspeech import nonspeech
from callmood.signals.power import dbfs, powers, span
from callmood.signals.syllables import count_syllables
from callmood.types import Audio, Nonspeech, Turn, TurnSignal


def signals_of(audio: Audio, turns: Sequence[Turn]) -> tuple[tuple[TurnSignal, ...], tuple[Nonspeech, ...]]:
    """Level and syllables of each turn on its channel, and what sounds outside all turns.

    In one channel, a turn that another speaker speaks into has the level and syllables of both.
    """
    rate_hz = audio.rate_hz
    power = [powers(channel, rate_hz=rate_hz) for channel in audio.samples]
    signals = []
    for turn in turns:
        own = power[turn.channel]
        frames = span(turn.start_s, turn.end_s, frames=len(own))
        if not len(own[frames]):
            signals.append(TurnSignal())
            continue
        length = len(audio.samples[turn.channel]) // len(own)
        samples = audio.samples[turn.channel, frames.start * length : frames.stop * length]
        signals.append(
            TurnSignal(
                level_dbfs=dbfs(float(own[frames].mean())),
                syllables=count_syllables(samples, own[frames], rate_hz=rate_hz),
            )
        )
    between = nonspeech(
        [(turn.start_s, turn.end_s) for turn in turns],
        audio.samples,
        sum(power[1:], power[0]),
        duration_s=audio.duration_s,
        rate_hz=rate_hz,
    )
    return tuple(signals), between
