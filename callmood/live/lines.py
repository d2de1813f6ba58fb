"""What a stream tells, as JSON lines; docs/live.md defines each field."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from callmood.emotions import EMOTIONS
from callmood.live.engine import ChannelHop, Hop, ScoredTurn, Stream
from callmood.types import Affect, Escalation

Reason = Literal["end of input", "asked to end"]
_DIGITS = 6


class Teller:
    """The lines of one stream, and what its last line sums up."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._turns = [0] * len(stream.channels)
        self._speech_s = [0.0] * len(stream.channels)
        self._negativity = [0.0] * len(stream.channels)
        self._scored_s = [0.0] * len(stream.channels)

    def hop(self, hop: Hop) -> dict[str, Any]:
        """The record of one hop."""
        for channel in hop.channels:
            self._turns[channel.channel] += len(channel.over)
            self._speech_s[channel.channel] += sum(turn.end_s - turn.start_s for turn in channel.over)
            for window in channel.windows:
                self._scored_s[channel.channel] += window.step_s
                self._negativity[channel.channel] += window.step_s * float(window.affect.negativity[0])
        return {
            **self._head("hop"),
            "hop": hop.index,
            "t_s": hop.t_s,
            "speakers": [_speaker(channel) for channel in hop.channels],
        }

    def end(self, reason: Reason) -> dict[str, Any]:
        """The record that closes the stream."""
        speakers = [
            {
                "channel": channel.number,
                "speaker": channel.speaker,
                "role": channel.role,
                "turns": self._turns[channel.number],
                "speech_s": self._speech_s[channel.number],
                "negativity": (
                    self._negativity[channel.number] / self._scored_s[channel.number]
                    if self._scored_s[channel.number]
                    else None
                ),
                "escalations": (
                    [_escalation(event) for event in channel.watch.escalations()]
                    if channel.ear.wanted
                    else None
                ),
            }
            for channel in self._stream.channels
        ]
        return {
            **self._head("end"),
            "reason": reason,
            "duration_s": self._stream.duration_s,
            "hops": self._stream.hops,
            "speakers": speakers,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        call_id = self._stream.format.call_id
        return {"type": kind, **({} if call_id is None else {"call_id": call_id})}


def error_record(message: str) -> dict[str, Any]:
    """The record of a stream that cannot be heard."""
    return {"type": "error", "error": message}


def as_line(record: Mapping[str, Any]) -> bytes:
    """One record as a line: numbers to a millionth, what is unknown as null."""
    return json.dumps(_plain(record), separators=(",", ":")).encode() + b"\n"


def _speaker(channel: ChannelHop) -> dict[str, Any]:
    turn = None
    if channel.turn is not None:
        turn = {"id": channel.turn, "start_s": channel.turn_start_s, "speaking": channel.speaking}
    window = channel.windows[-1] if channel.windows else None
    return {
        "channel": channel.channel,
        "speaker": channel.speaker,
        "role": channel.role,
        "turn": turn,
        "window": window and {"turn": window.turn, "start_s": window.start_s, "end_s": window.end_s},
        **_affect(None if window is None else window.affect),
        "negativity_smooth": window and window.negativity_smooth,
        "escalation": channel.escalation,
        "escalation_onset_s": channel.rise and channel.rise.onset_s,
        "turns_over": [_turn(turn) for turn in channel.over],
    }


def _affect(affect: Affect | None) -> dict[str, Any]:
    """Of one span; all null where there is none, or it was not inferred."""
    if affect is None or math.isnan(affect.valence[0]):
        names = ("emotion", "probabilities", "valence", "arousal", "negativity")
        return dict.fromkeys(names)
    row = affect.probabilities[0]
    return {
        "emotion": EMOTIONS[int(row.argmax())],
        "probabilities": dict(zip(EMOTIONS, row.tolist(), strict=True)),
        "valence": float(affect.valence[0]),
        "arousal": float(affect.arousal[0]),
        "negativity": float(affect.negativity[0]),
    }


def _turn(turn: ScoredTurn) -> dict[str, Any]:
    return {"id": turn.turn, "start_s": turn.start_s, "end_s": turn.end_s, **_affect(turn.affect)}


def _escalation(event: Escalation) -> dict[str, Any]:
    return {
        "onset_s": event.onset_s,
        "peak_s": event.peak_s,
        "end_s": event.end_s,
        "height": event.height,
        "slope": event.slope,
        "recovered": event.recovered,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
