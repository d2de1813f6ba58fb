"""One call, or one agent, in depth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from callmood.cli import layouts
from callmood.cli.output import (
    Format,
    emit,
    most_rows,
    terminal_width,
    write,
    write_json,
    write_record,
    write_table,
)
from callmood.report import (
    ALL_CALLS,
    Choice,
    Table,
    calls,
    find_groups,
    speaker_moods,
    speakers,
    trajectory,
    trajectory_peaks,
    turns,
    weeks_of_agent,
)
from callmood.report.in_depth import Record, in_depth
from callmood.report.why import why
from callmood.results.schema import Connection
from callmood.statistics.groups import FALSE_DISCOVERIES
from callmood.text import clock, printable, who

_LEVELS = "▁▂▃▄▅▆▇█"
_MAX_BINS = 100


def show_call(connection: Connection, call_id: str, output: Format) -> None:
    """Print what the views hold of one call: as JSON by the names of the views, as CSV its turns alone."""
    if output is Format.CSV:
        write(turns(connection, call_id), output)
        return
    (found,) = in_depth(connection, [call_id], parts=1)
    summary, spoken, events = found.summary, found.turns, found.escalations
    if output is Format.JSON:
        write_json(
            {
                "call_summary": summary,
                "speaker_summary": list(speakers(connection, call_id).records()),
                "speaker_mood": list(speaker_moods(connection, call_id).records()),
                "turns": spoken,
                "trajectory": list(trajectory(connection, call_id).records()),
                "escalations": events,
                "moments": found.moments,
                "why": why(found),
            }
        )
        return
    emit(f"{printable(sentence)}\n" for sentence in why(found))
    emit(["\n"])
    write_record(summary, layouts.CALL)
    if spoken:
        emit(["\nSpeakers\n"])
        write_table(list(speaker_moods(connection, call_id).records()), layouts.SPEAKERS)
        emit(["\nTurns\n"])
        write_table(spoken, layouts.TURNS)
        emit(_trajectory_lines(connection, summary))
    if events:
        emit(["\nEscalations\n"])
        write_table(events, layouts.ESCALATIONS[3:])


def show_why(connection: Connection, call_id: str, output: Format) -> None:
    """Print why a call was flagged, in two lines."""
    (found,) = in_depth(connection, [call_id], parts=1)
    sentences = why(found)
    if output is Format.TABLE:
        emit(f"{printable(sentence)}\n" for sentence in sentences)
    else:
        write(Table(columns=("call_id", "why", "heard"), rows=iter([(call_id, *sentences)])), output)


def show_agent(
    connection: Connection,
    agent_id: str,
    output: Format,
    *,
    timezone: str,
    choice: Choice = ALL_CALLS,
    limit: int | None,
) -> None:
    """Print one agent's statistics, weeks and calls; as CSV, the calls alone."""
    shown = most_rows(limit, output)
    found = calls(connection, agent_id=agent_id, choice=choice, limit=limit if shown is None else shown + 1)
    if output is Format.CSV:
        write(found, output)
        return
    agent = find_groups(connection, "agent", timezone=timezone, choice=choice).only(agent_id)
    if not agent.groups:
        write(found, output, layouts.CALLS, empty="no such calls", at_most=shown)
        return
    weeks = weeks_of_agent(connection, agent_id, timezone=timezone, choice=choice)
    (summary,) = agent.table().records()
    statistics = list(agent.statistics().records())
    if output is Format.JSON:
        write_json(
            [
                {
                    **summary,
                    "agent_statistics": statistics,
                    "weeks": list(weeks.table().records()),
                    "call_summary": list(found.records()),
                }
            ]
        )
        return
    write_record(summary, layouts.AGENT)
    emit(["\nMeasures\n"])
    write_table(statistics, layouts.STATISTICS)
    emit(["\n", *(f"{sentence}\n" for sentence in told(statistics))])
    if weeks.groups:
        emit(["\nWeeks\n"])
        write_table(list(weeks.table().records()), layouts.groups("week", compared=False))
    emit(["\nCalls\n"])
    write(found, output, layouts.CALLS, at_most=shown)


def told(statistics: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence on each measure: how it differs from the team, and whether that may be noise."""
    for record in statistics:
        title = f"{record['title'].capitalize()}: "
        if record["difference"] is None:
            yield f"{title}nothing is claimed ({record['why']})."
            continue
        unit, difference = record["unit"], record["difference"]
        ends = layouts.between(unit, record["difference_low"], record["difference_high"], signed=True)
        verdict = (
            "within noise"
            if record["within_noise"]
            else f"more than noise (false discovery rate {FALSE_DISCOVERIES:.0%})"
        )
        yield (
            f"{title}{layouts.quantity(unit, difference, signed=True)} ({ends}) against what the team has on the "
            f"same queues: {verdict}."
        )


def _trajectory_lines(connection: Connection, summary: Record) -> list[str]:
    """Each speaker's negativity over the call, as a line of bars with the time below."""
    speaker_column = 14
    # No finer than a second, so that windows, half a second apart, leave no gaps.
    bins = max(1, min(int(summary["duration_s"]), _MAX_BINS, terminal_width() - speaker_column))
    bars: dict[str, list[str]] = {}
    for peak in trajectory_peaks(connection, summary["call_id"], bins=bins).records():
        bar = bars.setdefault(who(peak), [" "] * bins)
        bar[peak["bin"]] = bar_of(peak["negativity_smooth"])
    if not bars:
        return []
    end = clock(summary["duration_s"])
    return [
        f"\nNegativity over time ({_LEVELS[0]} none, {_LEVELS[-1]} certain)\n",
        *(
            f"{printable(name):<{speaker_column}}{''.join(bar).rstrip()}\n"
            for name, bar in sorted(bars.items())
        ),
        f"{'':<{speaker_column}}{'0:00':<{max(bins - len(end), 5)}}{end}\n",
    ]


def bar_of(value: float) -> str:
    """The bar whose height stands for a value in [0, 1]."""
    return _LEVELS[min(int(value * len(_LEVELS)), len(_LEVELS) - 1)]
