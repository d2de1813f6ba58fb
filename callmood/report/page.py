"""The report as one HTML page that needs nothing else: summary, agents, escalations, the calls that matter."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from callmood.files import cannot_write, replace_file
from callmood.report import queries
from callmood.report.groups import find_groups
from callmood.report.in_depth import CallInDepth, in_depth
from callmood.report.plot import LEFT, RIGHT, TOP, WIDTH, Plot, plot
from callmood.report.why import why
from callmood.results.notes import COLUMNS
from callmood.results.schema import Connection
from callmood.statistics.measures import MEASURES
from callmood.text import clock, printable, who

CALLS_SHOWN = 50
"""Calls with a plot of their own, where the caller does not say how many."""
AGENTS_SHOWN = 1000
ESCALATIONS_SHOWN = 200
FAILURES_SHOWN = 20
PLOT_PARTS = 240
"""Parts of a call that keep a point each in its plot."""

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a sortable table."""

    name: str
    """The view's column, which is what the table sorts by and how the glossary explains it."""
    heading: str
    show: Callable[[Any], str]
    beside: Callable[[Record], str] = lambda record: ""
    """What stands small beside it, such as numerator and denominator."""
    number: bool = True
    bar: bool = False
    """Whether a bar shows it too: a share, 0 to 1."""

    def interval(self, record: Record) -> tuple[float, float] | None:
        """The interval that the view has beside the value: columns of the same name with `_low` and `_high`."""
        low, high = record.get(f"{self.name}_low"), record.get(f"{self.name}_high")
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One call that matters."""

    call: CallInDepth
    why: tuple[str, str]
    plot: Plot | None


def _plain(value: Any) -> str:
    return "–" if value is None else printable(value)


def _form(form: str) -> Callable[[Any], str]:
    return lambda value: "–" if value is None else format(value, form).replace("-", "−")


_share, _signed, _two, _count = _form(".0%"), _form("+.2f"), _form(".2f"), _form(",d")


def _hours(value: float | None) -> str:
    return _form(",.2f" if (value or 0) < 10 else ",.0f")(value)


def _minute(value: datetime | None) -> str:
    return "–" if value is None else value.strftime("%Y-%m-%d %H:%M")


def _moment(value: float | None) -> str:
    return "–" if value is None else clock(value)


def _beyond_noise(record: Record, measure: str) -> str:
    """An arrow where the agent differs from the team by more than noise."""
    if record[f"{measure}_within_noise"] is not False:
        return ""
    return " ↑" if record[f"{measure}_difference"] > 0 else " ↓"


AGENTS = (
    Column(name="agent_id", heading="Agent", show=_plain, number=False),
    Column(name="calls", heading="Calls", show=_count),
    Column(name="hours", heading="Hours", show=_form(",.2f")),
    Column(
        name="escalation_rate",
        heading="Calls escalated",
        show=_share,
        beside=lambda record: (
            f"{record['calls_escalated']} of {record['calls_scored']}{_beyond_noise(record, 'escalation_rate')}"
        ),
        bar=True,
    ),
    Column(
        name="recovery_rate",
        heading="Recovered",
        show=_share,
        beside=lambda record: (
            f"{record['escalations_recovered']} of {record['escalations']}{_beyond_noise(record, 'recovery_rate')}"
        ),
    ),
    Column(
        name="mood_change_mean",
        heading="Mood change",
        show=_signed,
        beside=lambda record: _beyond_noise(record, "mood_change_mean"),
    ),
    Column(name="escalation_rate_shrunk", heading="Escalated, shrunk", show=_share),
    Column(name="recovery_s_mean", heading="Time to recovery", show=_moment),
    Column(name="talk_share_mean", heading="Talk share", show=_share),
    Column(name="interruptions_per_hour", heading="Interruptions per hour", show=_form(".1f")),
    Column(name="silence_share", heading="Silence", show=_share),
)

ESCALATIONS = (
    Column(name="call_id", heading="Call", show=_plain, number=False),
    Column(name="agent_id", heading="Agent", show=_plain, number=False),
    Column(name="queue", heading="Queue", show=_plain, number=False),
    Column(name="started_at", heading="Call began", show=_minute, number=False),
    Column(name="speaker", heading="Who", show=_plain, number=False),
    Column(name="onset_s", heading="From", show=clock),
    Column(name="peak_s", heading="Peak", show=clock),
    Column(name="length_s", heading="Length", show=clock),
    Column(name="height", heading="Height", show=_two, bar=True),
    Column(name="recovered", heading="Recovered", show=lambda value: "yes" if value else "no", number=False),
)


_GROUP_COLUMNS = {
    "escalation_rate_shrunk": f"Of the escalation rate: {COLUMNS['shrunk']}",
    **{
        measure.name: f"{measure.title.capitalize()}: sum of {measure.numerator_name} over sum of "
        f"{measure.denominator_name} (docs/agents.md)."
        for measure in MEASURES
    },
}
"""What columns of groups mean."""


def _explained() -> list[str]:
    """The columns whose meaning the page tells, each once."""
    names = [column.name for column in (*AGENTS, *ESCALATIONS)]
    return list(dict.fromkeys([*names, "escalation_score", "negativity_smooth", "mood_start", "mood_end"]))


def write_page(
    connection: Connection,
    path: Path,
    *,
    database: str,
    made_at: datetime,
    timezone: str,
    top: int | None = None,
) -> None:
    """Write the page to `path` in one step.

    Parameters
    ----------
    connection
        To a results database.
    database
        What to call it on the page.
    made_at
        When the page is made, aware.
    timezone
        That of the settings, for which statistics are stored.
    top
        How many calls get a plot, by their score; default 50.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    page = render_page(
        connection, database=database, made_at=made_at, timezone=timezone, top=top or CALLS_SHOWN
    )
    try:
        replace_file(path, page)
    except OSError as error:
        raise cannot_write(path, error) from error


def render_page(connection: Connection, *, database: str, made_at: datetime, timezone: str, top: int) -> str:
    """The page's HTML; every number on it is a column of a view or one of `agent_statistics`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("callmood.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "count": _count,
        "clock": clock,
        "minute": _minute,
        "share": _share,
        "signed": _signed,
        "two": _two,
        "hours": _hours,
        "plain": _plain,
        "who": who,
    }
    templates.globals |= {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "width": WIDTH}
    style, script = (_source(templates, name) for name in ("page.css", "page.js"))
    (overview,) = queries.overview(connection).records()
    groups = find_groups(connection, "agent", timezone=timezone, limit=AGENTS_SHOWN)
    ranked = [record["call_id"] for record in queries.calls(connection, limit=top).records()]
    cards = [
        Card(call=call, why=why(call), plot=plot(call))
        for call in in_depth(connection, ranked, parts=PLOT_PARTS)
        if call.summary["escalation_score"] is not None or call.summary["escalations"]
    ]
    return templates.get_template("page.html").render(
        database=database,
        made_at=made_at,
        time_zone=connection.execute("SELECT current_setting('TimeZone')").fetchone()[0],
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        overview=overview,
        outcomes=list(queries.outcomes(connection).records()),
        provenance=list(queries.provenance(connection).records()),
        failures=list(queries.calls_without_result(connection, limit=FAILURES_SHOWN).records()),
        agent_columns=AGENTS,
        agents=list(groups.table().records()),
        escalation_columns=ESCALATIONS,
        escalations=list(queries.highest_escalations(connection, limit=ESCALATIONS_SHOWN).records()),
        cards=cards,
        card_of={card.call.call_id: number for number, card in enumerate(cards, start=1)},
        glossary={name: (COLUMNS | _GROUP_COLUMNS)[name] for name in _explained()},
    )


def _source(templates: Any, name: str) -> Any:
    """A style sheet or script of this package, as it stands: the page's only text that is not escaped."""
    from markupsafe import Markup

    source, _, _ = templates.loader.get_source(templates, name)
    return Markup(source)  # noqa: S704 - a file of this package


def _hash(source: str) -> str:
    """What a Content-Security-Policy calls an inline element by, so that no other one runs."""
    digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
    return f"sha256-{digest}"
