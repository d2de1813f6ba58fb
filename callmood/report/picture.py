"""A call's plot as a picture file, drawn by matplotlib."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from callmood.errors import UsageError
from callmood.files import cannot_write, replace_file
from callmood.report.in_depth import CallInDepth
from callmood.report.plot import at_peak, ticks_s
from callmood.text import clock, printable, who

SUFFIXES = (".png", ".svg")
PARTS = 1000
"""Parts of a call that keep a point each."""

# Okabe and Ito's palette, as on the HTML page, and dashes for those who see no colours.
_STYLES = {"agent": ("#0072B2", (0, (4, 2))), "customer": ("#D55E00", "solid")}
_OTHERS = (
    *(("#0072B2", (0, (4, 2))), ("#D55E00", "solid")),
    *(("#009E73", (0, (1, 2))), ("#CC79A7", (0, (6, 2, 1, 2)))),
)
_ESCALATION = "#7D2F58"


def save_picture(call: CallInDepth, path: Path) -> None:
    """Write the plot of a call to a PNG or SVG file, in one step.

    Raises
    ------
    UsageError
        The file's name has another ending, the file cannot be written, or the call has nothing to plot.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: plots are written as {' or '.join(SUFFIXES)}; name such a file.")
    if not call.turns:
        raise UsageError(f"{call.call_id!r} has no turns to plot; `callmood show` says why.")
    try:
        replace_file(path, _drawn(call, path.suffix.lower().removeprefix(".")))
    except OSError as error:
        raise cannot_write(path, error) from error


def _drawn(call: CallInDepth, form: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    # Names are no formulas, however many dollars they have; the same call gives the same file.
    settings = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "callmood"}
    target = io.BytesIO()
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **settings}), warnings.catch_warnings():
        # A letter that the font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure = Figure(figsize=(11.0, 4.2), layout="constrained")
        chart, lanes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        _draw(call, chart, lanes)
        figure.savefig(target, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return target.getvalue()


def _draw(call: CallInDepth, chart: Any, lanes: Any) -> None:
    duration_s = float(call.summary["duration_s"])
    speakers = sorted({turn["speaker"]: turn["role"] for turn in call.turns}.items())
    others = iter(range(len(speakers)))
    for lane, (speaker, role) in enumerate(speakers):
        colour, dash = _STYLES[role] if role else _OTHERS[next(others) % len(_OTHERS)]
        own = [point for point in call.points if point["speaker"] == speaker]
        t_s, values = [p["t_s"] for p in own], [p["negativity_smooth"] for p in own]
        chart.plot(t_s, values, color=colour, linewidth=0.7, alpha=0.5)
        for turn in sorted({point["turn_index"] for point in own}):
            stretch = [point for point in own if point["turn_index"] == turn]
            banded = [point for point in stretch if point["negativity_low"] is not None]
            chart.fill_between(
                [p["t_s"] for p in banded],
                [p["negativity_low"] for p in banded],
                [p["negativity_high"] for p in banded],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
            chart.plot(
                [p["t_s"] for p in stretch],
                [p["negativity_smooth"] for p in stretch],
                color=colour,
                linestyle=dash if len(stretch) > 1 else "none",
                marker="." if len(stretch) == 1 else "none",
                linewidth=2.2,
                gid=f"{speaker}-{turn}",
            )
        spans = [
            (turn["start_s"], turn["end_s"] - turn["start_s"])
            for turn in call.turns
            if turn["speaker"] == speaker
        ]
        lanes.broken_barh(spans, (lane - 0.35, 0.7), facecolor=colour)
    for event in call.escalations:
        end_s = duration_s if event["end_s"] is None else event["end_s"]
        for axes in (chart, lanes):
            axes.axvspan(event["onset_s"], end_s, facecolor="#CC79A7", alpha=0.2, zorder=0)
            axes.axvline(event["onset_s"], color=_ESCALATION, linewidth=1.2)
        chart.annotate(
            printable(f"escalation of {who(event)}, {clock(event['onset_s'])}"),
            (event["onset_s"], 1.0),
            xytext=(4, -4),
            textcoords="offset points",
            verticalalignment="top",
            color=_ESCALATION,
            fontsize=9,
        )
        peak = at_peak(call.points, event)
        if peak is not None:
            chart.plot(
                [peak["t_s"]],
                [peak["negativity_smooth"]],
                marker="D",
                markersize=7,
                markerfacecolor="white",
                markeredgecolor=_ESCALATION,
            )
    chart.set(
        ylim=(0, 1), ylabel="negativity, smoothed, ± 1.96 s.e.", title=printable(f"Call {call.call_id}")
    )
    chart.grid(axis="y", linewidth=0.5, alpha=0.5)
    lanes.set_yticks(range(len(speakers)), [printable(who({"speaker": s, "role": r})) for s, r in speakers])
    lanes.set_xticks(ticks_s(duration_s), [clock(t_s) for t_s in ticks_s(duration_s)])
    lanes.set(xlim=(0, duration_s), ylim=(len(speakers) - 0.4, -0.6))
    for axes in (chart, lanes):
        axes.spines[["top", "right"]].set_visible(False)
