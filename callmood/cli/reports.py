"""Commands that read a database: each parses, opens, calls and prints."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import callmood
from callmood.cli import options as opt
from callmood.cli.output import MOST_ROWS, Format, chosen_format, emit, most_rows, say, write
from callmood.errors import UsageError
from callmood.settings import load_settings

ALL_AGENTS = ""
"""The value of `--agent` where no ID follows it."""


class OptionalAgent(TyperCommand):
    """Lets `--agent` stand without a value, which typer's options do not offer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        following = [*args, "--"][1:]
        return super().parse_args(
            ctx,
            [
                f"--agent={ALL_AGENTS}" if arg == "--agent" and after.startswith("-") else arg
                for arg, after in zip(args, following, strict=True)
            ],
        )


def report(
    agent: Annotated[
        str | None,
        typer.Option("--agent", metavar="[ID]", help="One row per agent, or one agent in depth."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="COLUMN",
            help=(
                "One row per agent, customer, queue, hour, weekday or week, or per value of any metadata column."
            ),
        ),
    ] = None,
    escalations: Annotated[
        bool, typer.Option("--escalations", help="One row per escalation; with --agent ID, of that agent.")
    ] = False,
    conversation: Annotated[
        bool,
        typer.Option("--conversation", help="How each call was talked; with --agent ID, that agent's calls."),
    ] = False,
    html: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one page that needs nothing else: summary, agents, escalations, and a plot of each of "
            "the 50 calls with the highest scores.",
        ),
    ] = None,
    since: opt.Since = None,
    until: opt.Until = None,
    queue: opt.Queue = None,
    min_turn_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-turn-confidence",
            metavar="X",
            min=0.0,
            max=1.0,
            help="Only calls of which this share of the speech or more is expected to bear the right speaker, 0 to 1, "
            "and those of which nothing is known of it (two channels, pyannote, one speaker; analyzed before it was kept: "
            "`analyze --stale` mends that); the others are counted on standard error.",
        ),
    ] = None,
    min_role_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-role-confidence",
            metavar="X",
            min=0.0,
            max=1.0,
            help="Only calls whose roles are known with this confidence or more, 0 to 1; the others are counted on "
            "standard error.",
        ),
    ] = None,
    min_calls: Annotated[
        int,
        typer.Option(
            "--min-calls", metavar="N", min=1, help="With --agent or --by: groups of at least so many calls."
        ),
    ] = 1,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="N",
            min=1,
            help=f"The first N rows only (default: {MOST_ROWS} of a table, all as --json, --csv, --markdown and "
            "--parquet); with --html, N calls in depth.",
        ),
    ] = None,
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    as_markdown: opt.AsMarkdown = False,
    parquet: opt.Parquet = None,
    db: opt.Db = None,
) -> None:
    """Report on calls (the strongest escalation first), on groups of calls, escalations or conversations."""
    from callmood import report as reports
    from callmood.cli import layouts
    from callmood.cli.parquet import write_or_save
    from callmood.cli.show import show_agent

    output = chosen_format(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    if (agent == ALL_AGENTS) + (by is not None) + escalations + conversation > 1 or (
        by is not None and agent
    ):
        raise UsageError(
            "--agent without an ID, --by, --escalations and --conversation are different reports; ask for one of "
            "them."
        )
    grouped = agent == ALL_AGENTS or by is not None
    if min_calls > 1 and not grouped:
        raise UsageError("--min-calls is about groups of calls; add --agent without an ID, or --by.")
    timezone = load_settings({"db": db}).settings.timezone
    choice = reports.chosen(
        since=since,
        until=until,
        queue=queue,
        min_turn_confidence=min_turn_confidence,
        min_role_confidence=min_role_confidence,
        timezone=timezone,
    )
    if html is not None:
        narrowed = grouped or escalations or conversation or agent is not None or choice != reports.ALL_CALLS
        if narrowed or parquet is not None or output is not Format.TABLE:
            raise UsageError("--html is one page of all calls; leave out every option but --top and --db.")
        callmood.write_page(html, db=db, top=top)
        return
    with callmood.connect(db) as connection:
        if agent:
            reports.find_agent(connection, agent)
        one = agent or None
        shown = most_rows(top, output) if parquet is None and by not in reports.IN_ORDER else None
        limit = top if shown is None else shown + 1
        if min_turn_confidence is not None:
            of_turns = replace(choice, min_role_confidence=None)
            out = reports.left_out(connection, by="min_turn_confidence", choice=of_turns, agent_id=one)
            say(layouts.left_out(out, f"whose turns are less sure than {min_turn_confidence:g}"))
        if min_role_confidence is not None:
            out = reports.left_out(connection, by="min_role_confidence", choice=choice, agent_id=one)
            why = f"whose roles are not known with a confidence of {min_role_confidence:g} or more"
            say(layouts.left_out(out, why))
        note = None
        if escalations:
            found = reports.escalations(connection, agent_id=one, choice=choice, limit=limit)
            fields, empty = layouts.ESCALATIONS, "no escalations"
        elif conversation:
            found = reports.conversation(connection, agent_id=one, choice=choice, limit=limit)
            fields, empty = layouts.CONVERSATIONS, "no calls"
        elif grouped:
            kind = by or "agent"
            groups = reports.find_groups(
                connection, kind, timezone=timezone, choice=choice, least_calls=min_calls, limit=limit
            )
            found = groups.table()
            fields = layouts.groups(found.columns[0])
            empty = layouts.NO_AGENTS if kind == "agent" else f"no call says its {kind}"
            if choice != reports.ALL_CALLS or min_calls > 1:
                empty = "no such groups"
            note = layouts.NOISE if groups.groups and output is Format.TABLE and parquet is None else None
        elif agent and parquet is None and output is not Format.MARKDOWN:
            show_agent(connection, agent, output, timezone=timezone, choice=choice, limit=top)
            return
        else:
            found = reports.calls(connection, agent_id=one, choice=choice, limit=limit)
            fields = layouts.CALLS
            empty = layouts.NO_CALLS if choice == reports.ALL_CALLS else "no such calls"
        write_or_save(found, output, fields, parquet=parquet, empty=empty, at_most=shown)
        if note:
            say(note)


def show(
    call: Annotated[
        str,
        typer.Argument(
            metavar="CALL",
            help="A call_id, a path or a file name; of ids and names a unique beginning will do.",
        ),
    ],
    why: Annotated[
        bool, typer.Option("--why", help="Say in two lines why the call was flagged, or was not.")
    ] = False,
    play_list: Annotated[
        bool,
        typer.Option(
            "--play-list", help="List the moments to listen to, with a few seconds before and after."
        ),
    ] = False,
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE", help="Write the trajectory as a picture (.png or .svg)."),
    ] = None,
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    db: opt.Db = None,
) -> None:
    """Show one call: why it was flagged, its turns, trajectory and escalations; as CSV, its turns alone."""
    from callmood.cli import layouts
    from callmood.cli.show import show_call, show_why
    from callmood.report import find_call, moments

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    if why + play_list + (plot is not None) > 1:
        raise UsageError("--why, --play-list and --plot exclude one another; give one of them.")
    if plot is not None:
        if output is not Format.TABLE:
            raise UsageError("--plot writes a picture; leave out --json and --csv.")
        callmood.plot_call(call, plot, db=db)
        return
    with callmood.connect(db) as connection:
        call_id = find_call(connection, call)
        if why:
            show_why(connection, call_id, output)
        elif play_list:
            found = moments(connection, [call_id])
            write(found, output, layouts.MOMENTS, empty="nobody's emotion was inferred in it")
        else:
            show_call(connection, call_id, output)


def export(
    calls: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CALLS]", help="As for `show`; none means all calls.", show_default=False),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="rttm|audacity|webvtt|audformat|audformat-parquet",
            help="Turns (RTTM), labels (Audacity), captions (WebVTT), or tables of turns and escalations.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write files to this folder instead of standard output, replacing old ones.",
        ),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            "--snapshot",
            metavar="FILE",
            help="Copy the database to a read-only file, for dashboards; while a run writes, its last snapshot.",
        ),
    ] = None,
    db: opt.Db = None,
) -> None:
    """Write turns and escalations for other programs, or a copy of the database."""
    from callmood.cli.summary import counted
    from callmood.exports.write import as_text
    from callmood.report import find_call

    if (format is None) == (snapshot is None):
        raise UsageError("Give either --format, with or without CALLS, or --snapshot.")
    if snapshot is not None:
        if calls or out is not None:
            raise UsageError("--snapshot copies the whole database; leave out CALLS and --out.")
        callmood.snapshot(snapshot, db=db)
    elif out is not None:
        written = callmood.export(*calls or (), format=format or "", out=out, db=db)
        say(f"wrote {counted(len(written), 'file')} to {out}")
    else:
        with callmood.connect(db) as connection:
            found = [find_call(connection, call) for call in calls] if calls else None
            emit(as_text(connection, found, format or ""))


def sql(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="One SELECT; docs/schema.md describes tables and views.")
    ],
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    db: opt.Db = None,
) -> None:
    """Query the database in SQL, read-only."""
    from callmood.report import run_sql

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    with callmood.connect(db) as connection:
        write(run_sql(connection, query), output)
