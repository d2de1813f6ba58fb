"""The geometry of a call's plot: negativity over time above the speakers' turns, escalations marked.

Lengths are units of an SVG viewBox. Nothing here draws: `templates/plot.svg` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from callmood.report.in_depth import CallInDepth, Record
from callmood.text import clock, who

WIDTH = 760.0
LEFT = 112.0
RIGHT = 14.0
TOP = 22.0
CHART = 118.0
LANE = 17.0
AXIS = 22.0

_TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_MOST_TICKS = 8
_UNKNOWN_STYLES = 4


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A turn."""

    x: float
    width: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Track:
    """One speaker: a line in the chart and a lane of turns below it."""

    name: str
    style: str
    """`agent`, `customer`, or `other1` to `other4` where the role is not known."""
    line: str
    """SVG path, a stretch for each turn; empty where nothing was scored."""
    band: str
    """SVG path of the band of 1.96 standard errors about the line, a shape for each turn; empty where its width is not known."""
    thread: str
    """SVG path that joins the turns."""
    lane_y: float
    bars: Sequence[Bar]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One escalation."""

    number: int
    label: str
    onset_x: float
    end_x: float
    peak_x: float
    peak_y: float


@dataclass(frozen=True, kw_only=True)
class Plot:
    height: float
    chart_bottom: float
    axis_y: float
    levels: Sequence[tuple[float, str]]
    """Heights of the grid, with their labels."""
    ticks: Sequence[tuple[float, str]]
    """Times along the axis, with their labels."""
    tracks: Sequence[Track]
    marks: Sequence[Mark]
    """In the order of time, numbered from 1."""


def plot(call: CallInDepth) -> Plot | None:
    """The plot of a call; None where it has no turns."""
    duration_s = float(call.summary["duration_s"] or 0.0)
    if not call.turns or duration_s == 0.0:
        return None

    def x(t_s: float) -> float:
        return LEFT + min(max(t_s / duration_s, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    speakers = sorted({turn["speaker"]: turn["role"] for turn in call.turns}.items())
    others = iter(range(len(speakers)))
    tracks = []
    for index, (speaker, role) in enumerate(speakers):
        own = [point for point in call.points if point["speaker"] == speaker]
        at = [(point["turn_index"], x(point["t_s"]), _y(point["negativity_smooth"])) for point in own]
        tracks.append(
            Track(
                name=who({"speaker": speaker, "role": role}),
                style=role or f"other{next(others) % _UNKNOWN_STYLES + 1}",
                line="".join(
                    _path([(px, py) for _, px, py in turn]) for _, turn in groupby(at, key=lambda p: p[0])
                ),
                band="".join(
                    _band([(x(p["t_s"]), _y(p["negativity_low"]), _y(p["negativity_high"])) for p in turn])
                    for turn in _banded(own)
                ),
                thread=_path([(px, py) for _, px, py in at]),
                lane_y=TOP + CHART + 8 + index * LANE,
                bars=[
                    Bar(
                        x=round(x(turn["start_s"]), 1),
                        width=round(max(x(turn["end_s"]) - x(turn["start_s"]), 1.0), 1),
                        label=_turn_label(turn),
                    )
                    for turn in call.turns
                    if turn["speaker"] == speaker
                ],
            )
        )
    axis_y = TOP + CHART + 8 + len(tracks) * LANE
    return Plot(
        height=axis_y + AXIS,
        chart_bottom=TOP + CHART,
        axis_y=axis_y,
        levels=[(_y(level), f"{level:g}") for level in (0.0, 0.25, 0.5, 0.75, 1.0)],
        ticks=[(round(x(t_s), 1), clock(t_s)) for t_s in ticks_s(duration_s)],
        tracks=tracks,
        marks=[
            Mark(
                number=number,
                label=(
                    f"{number}: {who(event)}, from {clock(event['onset_s'])}, peak {clock(event['peak_s'])}, "
                    f"height {event['height']:.2f}"
                ),
                onset_x=round(x(event["onset_s"]), 1),
                end_x=round(x(duration_s if event["end_s"] is None else event["end_s"]), 1),
                peak_x=round(x(event["peak_s"]), 1),
                peak_y=_y(
                    0.0 if (peak := at_peak(call.points, event)) is None else peak["negativity_smooth"]
                ),
            )
            for number, event in enumerate(sorted(call.escalations, key=lambda e: e["onset_s"]), start=1)
        ],
    )


def ticks_s(duration_s: float) -> list[int]:
    """Round times from 0 to the end of a call, few enough to be read."""
    step = next((s for s in _TICK_STEPS_S if duration_s / s <= _MOST_TICKS), _TICK_STEPS_S[-1])
    return list(range(0, int(duration_s) + 1, step))


def at_peak(points: Sequence[Record], event: Record) -> Record | None:
    """The point of the speaker's own that is nearest to the peak of an escalation."""
    own = (point for point in points if point["speaker"] == event["speaker"])
    return min(own, key=lambda point: abs(point["t_s"] - event["peak_s"]), default=None)


def _y(negativity: float) -> float:
    return round(TOP + (1 - min(max(negativity, 0.0), 1.0)) * CHART, 1)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """`M x y L x y ...`; a single point becomes a short stroke, to be seen."""
    if not points:
        return ""
    (x, y), *rest = points
    if not rest:
        return f"M{x - 2:.1f} {y:.1f}h4"
    return f"M{x:.1f} {y:.1f}" + "".join(f"L{px:.1f} {py:.1f}" for px, py in rest)


def _banded(points: Sequence[Record]) -> list[list[Record]]:
    """The points of each turn, of those whose band is known."""
    known = [point for point in points if point["negativity_low"] is not None]
    return [list(turn) for _, turn in groupby(known, key=lambda point: point["turn_index"])]


def _band(points: Sequence[tuple[float, float, float]]) -> str:
    """Along the low ends and back along the high ones; about a single point as wide as its stroke."""
    if len(points) == 1:
        ((x, low, high),) = points
        points = [(x - 2, low, high), (x + 2, low, high)]
    there = [(x, low) for x, low, _ in points]
    return _path([*there, *((x, high) for x, _, high in reversed(points))]) + "Z"


def _turn_label(turn: Record) -> str:
    span = f"{clock(turn['start_s'])} to {clock(turn['end_s'])} {who(turn)}"
    if turn["emotion"] is None:
        return span
    return f"{span}: {turn['emotion']} {turn['confidence']:.0%}, negativity {turn['negativity']:.2f}"
