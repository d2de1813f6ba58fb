"""The voice of each speaker of a call, as one direction of our own voice network: biometric data, so only where asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from callmood.diarize.ears import windows_around
from callmood.diarize.turns import mixed
from callmood.diarize.voice import VoiceModel, relative_to_call, unit
from callmood.types import Audio, Floats, Turn

MIN_SPEECH_S = 3.0
"""Less of a speaker's speech tells no voice."""
MAX_SPEECH_S = 60.0
"""More adds nothing: the longest turns are taken up to this."""
_WINDOW_S = 1.5
_HOP_S = 0.75


def voiceprints(audio: Audio, turns: Sequence[Turn], model: VoiceModel) -> dict[str, tuple[Floats, float]]:
    """Of each speaker who speaks for long enough: the mean direction, shape (dimensions,), and the seconds heard.

    `turns` are of the audio, or of its channels mixed where all are of the first channel.
    """
    if all(turn.channel == 0 for turn in turns):
        audio = mixed(audio)
    rate = model.front_end.frames_per_s
    frames, spans, whose = [], [], []
    heard_s: dict[str, float] = {}
    for turn in sorted(turns, key=lambda turn: (-turn.duration_s, turn.start_s)):
        if heard_s.get(turn.speaker, 0.0) >= MAX_SPEECH_S or turn.channel >= audio.channels:
            continue
        first, last = (round(at_s * audio.rate_hz) for at_s in (turn.start_s, turn.end_s))
        mfcc = model.front_end.mfcc(np.asarray(audio.samples[turn.channel, first:last], dtype=np.float32))
        steps = max(1, int(turn.duration_s / _HOP_S))
        frames.append(mfcc)
        spans.append(windows_around(steps, len(mfcc), hop=_HOP_S * rate, width=int(_WINDOW_S * rate)))
        whose.append(turn.speaker)
        heard_s[turn.speaker] = heard_s.get(turn.speaker, 0.0) + turn.duration_s
    long_enough = {speaker for speaker, speech_s in heard_s.items() if speech_s >= MIN_SPEECH_S}
    if len(long_enough) < 2:
        return {}
    embedded = model.embed(relative_to_call(frames), spans)
    found = {}
    for speaker in sorted(long_enough):
        own = np.concatenate([rows for rows, name in zip(embedded, whose, strict=True) if name == speaker])
        found[speaker] = (unit(own.mean(axis=0)), heard_s[speaker])
    return found
