"""One call as text that other programs show beside the sound: RTTM, Audacity's labels, WebVTT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from callmood.diarize.rttm import write_rttm
from callmood.exports.exported import ExportedCall, Record
from callmood.text import printable, who
from callmood.types import Turn

_MIN_CUE_S = 0.001


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of time with something to say about it."""

    start_s: float
    end_s: float
    who: str
    says: str


def rttm(call: ExportedCall) -> str:
    """The turns as RTTM, a `SPEAKER` line each; the call_id names the recording."""
    return write_rttm([_turn(record) for record in call.turns], call.call_id)


def audacity(call: ExportedCall) -> str:
    """A label track of Audacity: start and end in seconds, and a text, separated by tabs.

    https://manual.audacityteam.org/man/importing_and_exporting_labels.html
    """
    # `printable` leaves no tab and no line break in a text.
    return "".join(
        f"{span.start_s:.6f}\t{span.end_s:.6f}\t{printable(f'{span.who}: {span.says}')}\n"
        for span in _spans(call)
    )


def webvtt(call: ExportedCall) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/), a cue for each turn and each escalation."""
    return "WEBVTT\n" + "".join(
        f"\n{_vtt_time(span.start_s)} --> {_vtt_time(max(span.end_s, span.start_s + _MIN_CUE_S))}\n"
        f"<v {_vtt_text(span.who)}>{_vtt_text(span.says)}\n"
        for span in _spans(call)
    )


def _spans(call: ExportedCall) -> Iterator[Span]:
    """Turns and escalations in the order of their starts."""
    spans = [
        Span(start_s=turn["start_s"], end_s=turn["end_s"], who=who(turn), says=_heard(turn))
        for turn in call.turns
    ]
    spans += [
        Span(
            start_s=event["onset_s"],
            end_s=call.duration_s if event["end_s"] is None else event["end_s"],
            who=who(event),
            says=f"escalation, height {event['height']:.2f}"
            + (", recovered" if event["recovered"] else ", not recovered"),
        )
        for event in call.escalations
    ]
    return iter(sorted(spans, key=lambda span: (span.start_s, span.end_s)))


def _heard(turn: Record) -> str:
    if turn["emotion"] is None:
        return "speaks"
    return f"{turn['emotion']} {turn['confidence']:.0%}, negativity {turn['negativity']:.2f}"


def _turn(record: Record) -> Turn:
    return Turn(
        speaker=record["speaker"],
        channel=record["channel"],
        start_s=record["start_s"],
        end_s=record["end_s"],
        confidence=record["speaker_confidence"],
    )


def _vtt_time(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"


def _vtt_text(text: str) -> str:
    """Text that no reader takes for a tag, an entity, a line break or the arrow of a cue's times."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
