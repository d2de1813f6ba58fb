"""How reports look in a terminal: which columns, and how their numbers are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from callmood.cli.output import Field
from callmood.emotions import EMOTIONS
from callmood.statistics.measures import MEASURES, Measure
from callmood.text import clock, who

Record = Mapping[str, Any]


def _column(name: str) -> Callable[[Record], str]:
    return lambda record: "" if record[name] is None else str(record[name])


def _number(name: str, form: str) -> Callable[[Record], str]:
    return lambda record: "-" if record[name] is None else format(record[name], form)


def _clock(name: str) -> Callable[[Record], str]:
    return lambda record: clock(record[name])


def _minute(name: str) -> Callable[[Record], str]:
    def show(record: Record) -> str:
        value = record[name]
        return value.strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime) else ""

    return show


def _mood(record: Record) -> str:
    if record["mood_start"] is None and record["mood_end"] is None:
        return "-"
    start, end = _number("mood_start", "+.2f")(record), _number("mood_end", "+.2f")(record)
    return f"{start} → {end}"


def _status(record: Record) -> str:
    if record["status"] != "ok":
        return str(record["status"])
    return "truncated" if record["truncated"] else ""


def _share_of_speech(record: Record) -> str:
    return "-" if record["talk_share"] is None else f"{record['talk_share']:.0%}"


def _most_of_the_time(record: Record) -> str:
    """The two emotions with the largest shares of the speaker's time."""
    shares = {name: record[f"{name}_share"] for name in EMOTIONS if record[f"{name}_share"] is not None}
    highest = sorted(shares, key=lambda name: -shares[name])[:2]
    return ", ".join(f"{name} {shares[name]:.0%}" for name in highest) or "-"


_CALL_ID = Field(heading="call", show=_column("call_id"))
_AGENT = Field(heading="agent", show=_column("agent_id"), optional=True)
_STARTED = Field(heading="started", show=_minute("started_at"), optional=True)
_LENGTH = Field(heading="length", show=_clock("duration_s"), number=True)
_ESCALATIONS = Field(heading="esc", show=_number("escalations", "d"), number=True)
_SCORE = Field(heading="score", show=_number("escalation_score", ".2f"), number=True)

CALLS = [
    _CALL_ID,
    Field(heading="file", show=lambda record: Path(record["path"]).name),
    _AGENT,
    _STARTED,
    _LENGTH,
    Field(heading="mood", show=_mood, number=True),
    _ESCALATIONS,
    _SCORE,
    Field(heading="worst", show=_clock("worst_s"), number=True),
    Field(heading="status", show=_status, optional=True),
]

CALL = [
    _CALL_ID,
    Field(heading="path", show=_column("path")),
    _AGENT,
    Field(heading="customer", show=_column("customer_id")),
    Field(heading="queue", show=_column("queue")),
    _STARTED,
    _LENGTH,
    Field(heading="status", show=_status),
    Field(heading="error", show=_column("error")),
    Field(heading="mood", show=_mood),
    Field(heading="mood of", show=_column("mood_of")),
    Field(heading="escalations", show=_ESCALATIONS.show),
    _SCORE,
    Field(
        heading="worst moment",
        show=lambda record: (
            f"{clock(record['worst_s'])}, {record['worst_speaker']}, "
            f"negativity {record['worst_negativity']:.2f}"
            if record["worst_s"] is not None
            else ""
        ),
    ),
]

PURGEABLE = [
    _CALL_ID,
    Field(heading="path", show=_column("path")),
    _AGENT,
    Field(heading="customer", show=_column("customer_id"), optional=True),
    _STARTED,
    Field(heading="analyzed", show=_minute("analyzed_at")),
]

_BEYOND_NOISE = {True: " ↑", False: " ↓"}
"""Marks of a difference that is more than noise, by whether it is upward."""
NOISE = (
    "in brackets: 95 % intervals; ↑ ↓: above or below what the team has on the same queues by more than noise, "
    "all else is within noise; -: too few calls to claim anything"
)


def quantity(unit: str, value: float | None, *, signed: bool = False) -> str:
    """A value of a measure: `15%`, `42 s`, `3.1`, `-0.06`; as a difference `+3 points`, `-4 s`."""
    if value is None:
        return "-"
    sign = "+" if signed else ""
    if unit == "share":
        return f"{100 * value:{sign}z.0f} points" if signed else f"{value:.0%}"
    if unit == "seconds":
        return f"{value:{sign}z.0f} s"
    return f"{value:{sign}z.1f}" if unit == "per hour" else f"{value:+z.2f}"


def between(unit: str, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """An interval, its unit told once at the most: `9 to 24`."""
    ends = [quantity(unit, end, signed=signed).split()[0].rstrip("%") for end in (low, high)]
    return " to ".join(ends)


def _measure(measure: Measure, *, compared: bool) -> Field:
    """A measure with its interval and, if compared, whether it differs by more than noise."""

    def show(record: Record) -> str:
        value = record[measure.name]
        if value is None:
            return "-"
        ends = between(measure.unit, record[f"{measure.name}_low"], record[f"{measure.name}_high"])
        mark = ""
        if compared and record[f"{measure.name}_within_noise"] is False:
            mark = _BEYOND_NOISE[record[f"{measure.name}_difference"] > 0]
        return f"{quantity(measure.unit, value)} ({ends}){mark}"

    return Field(heading=measure.title, show=show, number=True)


def _share_of(measure: Measure, heading: str) -> Field:
    return Field(
        heading=heading,
        show=lambda record: f"{record[measure.numerator_name]} of {record[measure.denominator_name]}",
        number=True,
    )


def groups(column: str, *, compared: bool = True) -> list[Field]:
    """Fields of a report on groups of calls, whose names are in `column`."""
    measures = {measure.name: measure for measure in MEASURES}
    escalation, recovery = measures["escalation_rate"], measures["recovery_rate"]
    shrunk = [Field(heading="shrunk", show=_number("escalation_rate_shrunk", ".0%"), number=True)]
    return [
        Field(heading=column.removesuffix("_id"), show=_column(column)),
        *([Field(heading="team", show=_column("team"), optional=True)] if column == "agent_id" else []),
        Field(heading="calls", show=_number("calls", "d"), number=True),
        Field(heading="hours", show=_number("hours", ".2f"), number=True),
        _share_of(escalation, "escalated"),
        _measure(escalation, compared=compared),
        *(shrunk if compared else []),
        _share_of(recovery, "recovered"),
        *(
            _measure(measures[name], compared=compared)
            for name in ("recovery_rate", "recovery_s_mean", "mood_change_mean", "talk_share_mean")
        ),
    ]


def _of_unit(name: str, *, signed: bool = False, ends: bool = False) -> Callable[[Record], str]:
    def show(record: Record) -> str:
        if record[name] is None:
            return "-"
        unit = record["unit"]
        shown = quantity(unit, record[name], signed=signed)
        if not ends:
            return shown
        low, high = (record["low"], record["high"]) if name == "value" else (
            record[f"{name}_low"], record[f"{name}_high"]
        )  # fmt: skip
        return f"{shown} ({between(unit, low, high, signed=signed)})"

    return show


AGENT = [
    Field(heading="agent", show=_column("agent_id")),
    Field(heading="team", show=_column("team")),
    Field(heading="calls", show=_number("calls", "d")),
    Field(heading="hours", show=_number("hours", ".2f")),
    _share_of(MEASURES[0], "escalated"),
]

STATISTICS = [
    Field(heading="measure", show=_column("title")),
    Field(heading="calls", show=_number("calls_measured", "d"), number=True),
    Field(heading="value", show=_of_unit("value", ends=True), number=True),
    Field(heading="expected", show=_of_unit("expected"), number=True),
    Field(heading="difference", show=_of_unit("difference", signed=True, ends=True), number=True),
    Field(heading="shrunk", show=_of_unit("shrunk"), number=True),
    Field(heading="percentile", show=_number("percentile", ".0f"), number=True),
    Field(heading="change per week", show=_of_unit("trend", signed=True, ends=True), number=True),
]


ESCALATIONS = [
    Field(heading="call", show=_column("call_id")),
    Field(heading="agent", show=_column("agent_id"), optional=True),
    Field(heading="queue", show=_column("queue"), optional=True),
    Field(heading="who", show=who),
    Field(heading="began", show=_clock("onset_s"), number=True),
    Field(heading="peak", show=_clock("peak_s"), number=True),
    Field(heading="length", show=_clock("length_s"), number=True),
    Field(heading="height", show=_number("height", ".2f"), number=True),
    Field(heading="recovered", show=lambda record: "yes" if record["recovered"] else "no"),
    Field(heading="other party", show=_column("other_party"), optional=True),
]

CONVERSATIONS = [
    _CALL_ID,
    _AGENT,
    _STARTED,
    _LENGTH,
    Field(heading="speech", show=_number("speech_share_of_call", ".0%"), number=True),
    Field(heading="changes", show=_number("speaker_changes", "d"), number=True),
    Field(heading="response s", show=_number("response_median_gap_s", "+.1f"), number=True),
    Field(heading="overtalk", show=_number("overtalk_share_of_call", ".0%"), number=True),
    Field(heading="interruptions", show=_number("interruptions", "d"), number=True),
    Field(heading="silence", show=_number("silence_share_of_call", ".0%"), number=True),
    Field(heading="dead air", show=_clock("dead_air_s"), number=True),
    Field(heading="longest", show=_clock("longest_silence_s"), number=True),
    Field(heading="music", show=_clock("music_s"), number=True),
    Field(heading="tones", show=_clock("tone_s"), number=True),
]


def left_out(calls: int, why: str) -> str:
    """How many calls a report leaves out, and why."""
    return f"{'1 call is' if calls == 1 else f'{calls} calls are'} left out, {why}"


NO_CALLS = "no calls yet; run `callmood analyze`"

NO_AGENTS = "no call says who its agent was; tell it with `callmood analyze --metadata FILE` or --pattern"

TURNS = [
    Field(heading="from", show=_clock("start_s"), number=True),
    Field(heading="to", show=_clock("end_s"), number=True),
    Field(heading="who", show=who),
    Field(heading="emotion", show=lambda record: record["emotion"] or "-"),
    Field(heading="confidence", show=_number("confidence", ".0%"), number=True),
    Field(heading="negativity", show=_number("negativity", ".2f"), number=True),
]

SPEAKERS = [
    Field(heading="who", show=who),
    Field(heading="speech", show=_share_of_speech, number=True),
    *(
        Field(heading=f"mood {part}", show=_number(f"mood_third_{number}", "+.2f"), number=True)
        for number, part in enumerate(("first third", "middle", "last third"), start=1)
    ),
    Field(heading="volatility", show=_number("valence_volatility", ".2f"), number=True),
    Field(heading="worst", show=_clock("worst_s"), number=True),
    Field(heading="best", show=_clock("best_s"), number=True),
    Field(heading="most of the time", show=_most_of_the_time),
]

MOMENTS = [
    Field(heading="from", show=_clock("start_s"), number=True),
    Field(heading="to", show=_clock("end_s"), number=True),
    Field(heading="who", show=who),
    Field(heading="why", show=_column("why")),
    Field(heading="peak", show=_clock("peak_s"), number=True),
    Field(heading="strength", show=_number("strength", ".2f"), number=True),
]

UTTERANCES = [
    Field(heading="path", show=_column("path")),
    Field(heading="emotion", show=lambda record: record["emotion"] or "no speech"),
    Field(heading="confidence", show=_number("confidence", ".0%"), number=True),
    Field(heading="length", show=_number("duration_s", ".1f"), number=True),
    Field(heading="speech", show=_number("speech_s", ".1f"), number=True),
]

TURNS_OF_FILES = [
    Field(heading="path", show=_column("path")),
    Field(heading="speaker", show=_column("speaker")),
    Field(heading="start", show=_number("start_s", ".2f"), number=True),
    Field(heading="end", show=_number("end_s", ".2f"), number=True),
    Field(heading="overlap", show=_number("overlap_s", ".2f"), number=True),
]

SETTINGS = [
    Field(heading="setting", show=_column("name")),
    Field(heading="value", show=_column("value")),
    Field(heading="from", show=_column("source")),
]

CHECKS = [
    Field(heading="what", show=_column("name")),
    Field(heading="state", show=_column("state")),
    Field(heading="found", show=_column("found")),
    Field(heading="what to do", show=_column("advice"), optional=True),
]

_STATES = {"ok": "matches", "changed": "differs"}

MODEL_FILES = [
    Field(heading="set", show=_column("set")),
    Field(heading="file", show=_column("file")),
    Field(heading="bytes", show=_number("bytes", ",d"), number=True),
    Field(heading="SHA-256", show=lambda record: _STATES.get(record["state"], record["state"])),
    Field(heading="licence", show=_column("licence")),
]


def _with_interval(value: str, low: str, high: str) -> Callable[[Record], str]:
    def show(record: Record) -> str:
        if record[value] is None:
            return ""
        if record["kind"] == "count":
            return str(record[value])
        if record[low] is None:
            return f"{record[value]:.3f}"
        return f"{record[value]:.3f} ({record[low]:.3f} to {record[high]:.3f})"

    return show


VALIDATION = [
    Field(heading="about", show=_column("about")),
    Field(heading="figure", show=_column("figure")),
    Field(heading="value", show=_with_interval("value", "low", "high"), number=True),
    Field(
        heading="after refit",
        show=_with_interval("after", "after_low", "after_high"),
        number=True,
        optional=True,
    ),
]
