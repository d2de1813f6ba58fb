"""The commands: each parses, opens, calls and prints."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

import callmood
from callmood.cli import options as opt
from callmood.cli.output import (
    MOST_ROWS,
    Format,
    chosen_format,
    emit,
    rows_wanted,
    say,
    say_warning,
    write,
    write_json,
)
from callmood.errors import CallmoodError, Exit, UsageError
from callmood.settings import load_settings

if TYPE_CHECKING:
    from callmood.types import Role

EXIT_CODES = """\
Exit codes: 0 all done; 1 fatal; 2 wrong usage; 3 finished, but some recordings newly
failed; 4 another process holds the database or the lock file; 130 interrupted, or asked
to end with recordings left.
"""

app = typer.Typer(
    help="Emotion trajectories and escalation of recorded calls, in a DuckDB database.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    # Plain help and plain errors: rich would take longer to load than the rest of the program.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program, and exit with its code."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A character that the terminal's encoding lacks is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    warnings.showwarning = say_warning
    try:
        app(args=arguments, prog_name="callmood")
    except CallmoodError as error:
        say(f"callmood: {error}")
        sys.exit(error.exit_code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"callmood {callmood.__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Emotion trajectories and escalation of recorded calls, in a DuckDB database."""


@app.command()
def analyze(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATHS", help="Directories (searched recursively), files or globs."),
    ],
    force: Annotated[bool, typer.Option("--force", help="Analyze known recordings again.")] = False,
    stale: Annotated[
        bool,
        typer.Option("--stale", help="Analyze again what was analyzed with other settings or another model."),
    ] = False,
    include_purged: Annotated[
        bool, typer.Option("--include-purged", help="Analyze recordings too that were purged.")
    ] = False,
    quiet: opt.Quiet = False,
    one_line: opt.OneLine = False,
    as_json: opt.SummaryAsJson = False,
    db: opt.Db = None,
    out: opt.Out = None,
    metadata: opt.Metadata = None,
    pattern: opt.Pattern = None,
    timezone: opt.Timezone = None,
    diarizer: opt.Diarizer = None,
    speakers: opt.Speakers = None,
    pyannote_pipeline: opt.PyannotePipeline = None,
    rttm: opt.Rttm = None,
    causal: opt.Causal = None,
    emotion_for: opt.EmotionFor = None,
    min_role_confidence: opt.MinRoleConfidence = None,
    guess_roles: opt.GuessRoles = None,
    pseudonymize: opt.Pseudonymize = None,
    pseudonym_key_file: opt.PseudonymKeyFile = None,
    plain_columns: opt.PlainColumns = None,
    escalation_threshold: opt.EscalationThreshold = None,
    jobs: opt.Jobs = None,
    backend: opt.Backend = None,
    scheduler: opt.Scheduler = None,
    device: opt.Device = None,
    models: opt.Models = None,
    max_seconds_per_call: opt.MaxSecondsPerCall = None,
    max_memory_per_worker: opt.MaxMemoryPerWorker = None,
    max_runtime: opt.MaxRuntime = None,
    lock: opt.Lock = None,
    wait: opt.Wait = None,
    snapshot_every: opt.SnapshotEvery = None,
    log_file: opt.LogFile = None,
    heartbeat_file: opt.HeartbeatFile = None,
    metrics_file: opt.MetricsFile = None,
) -> None:
    """Analyze recordings into the database; what it already holds is left as it is."""
    from callmood.cli.running import run_and_tell

    given: dict[str, Any] = {
        "db": db,
        "out": out,
        "metadata": metadata,
        "pattern": pattern,
        "timezone": timezone,
        "diarizer": diarizer,
        "speakers": speakers,
        "pyannote_pipeline": pyannote_pipeline,
        "rttm": rttm,
        "causal": causal,
        "emotion_for": emotion_for,
        "min_role_confidence": min_role_confidence,
        "guess_roles": guess_roles,
        "pseudonymize": pseudonymize,
        "pseudonym_key_file": pseudonym_key_file,
        "plain_columns": plain_columns,
        "escalation_threshold": escalation_threshold,
        "jobs": jobs,
        "backend": backend,
        "scheduler": scheduler,
        "device": device,
        "models": models,
        "max_seconds_per_call": max_seconds_per_call,
        "max_memory_per_worker": max_memory_per_worker,
        "max_runtime": max_runtime,
        "lock": lock,
        "wait": wait,
        "snapshot_every": snapshot_every,
        "log_file": log_file,
        "heartbeat_file": heartbeat_file,
        "metrics_file": metrics_file,
    }
    code = run_and_tell(
        lambda **during: callmood.analyze(
            *paths, force=force, stale=stale, include_purged=include_purged, **during, **given
        ),
        given,
        quiet=quiet,
        one_line=one_line,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command()
def retry(
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Recordings too that did not decode or held no samples.")
    ] = False,
    quiet: opt.Quiet = False,
    one_line: opt.OneLine = False,
    as_json: opt.SummaryAsJson = False,
    db: opt.Db = None,
    diarizer: opt.Diarizer = None,
    speakers: opt.Speakers = None,
    pyannote_pipeline: opt.PyannotePipeline = None,
    rttm: opt.Rttm = None,
    causal: opt.Causal = None,
    emotion_for: opt.EmotionFor = None,
    min_role_confidence: opt.MinRoleConfidence = None,
    guess_roles: opt.GuessRoles = None,
    pseudonymize: opt.Pseudonymize = None,
    pseudonym_key_file: opt.PseudonymKeyFile = None,
    plain_columns: opt.PlainColumns = None,
    escalation_threshold: opt.EscalationThreshold = None,
    jobs: opt.Jobs = None,
    backend: opt.Backend = None,
    scheduler: opt.Scheduler = None,
    device: opt.Device = None,
    models: opt.Models = None,
    max_seconds_per_call: opt.MaxSecondsPerCall = None,
    max_memory_per_worker: opt.MaxMemoryPerWorker = None,
    max_runtime: opt.MaxRuntime = None,
    lock: opt.Lock = None,
    wait: opt.Wait = None,
    snapshot_every: opt.SnapshotEvery = None,
    log_file: opt.LogFile = None,
    heartbeat_file: opt.HeartbeatFile = None,
    metrics_file: opt.MetricsFile = None,
) -> None:
    """Analyze the calls again that failed or were quarantined."""
    from callmood.cli.running import run_and_tell

    given: dict[str, Any] = {
        "db": db,
        "diarizer": diarizer,
        "speakers": speakers,
        "pyannote_pipeline": pyannote_pipeline,
        "rttm": rttm,
        "causal": causal,
        "emotion_for": emotion_for,
        "min_role_confidence": min_role_confidence,
        "guess_roles": guess_roles,
        "pseudonymize": pseudonymize,
        "pseudonym_key_file": pseudonym_key_file,
        "plain_columns": plain_columns,
        "escalation_threshold": escalation_threshold,
        "jobs": jobs,
        "backend": backend,
        "scheduler": scheduler,
        "device": device,
        "models": models,
        "max_seconds_per_call": max_seconds_per_call,
        "max_memory_per_worker": max_memory_per_worker,
        "max_runtime": max_runtime,
        "lock": lock,
        "wait": wait,
        "snapshot_every": snapshot_every,
        "log_file": log_file,
        "heartbeat_file": heartbeat_file,
        "metrics_file": metrics_file,
    }
    code = run_and_tell(
        lambda **during: callmood.retry(unreadable=unreadable, **during, **given),
        given,
        quiet=quiet,
        one_line=one_line,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command()
def load(
    archive: Annotated[
        str,
        typer.Argument(metavar="DIR_OR_URL", help="What `callmood analyze --out` wrote to."),
    ],
    db: opt.Db = None,
    wait: opt.Wait = None,
    timezone: opt.Timezone = None,
) -> None:
    """Bring results that are Parquet into the database; what it already holds is left as it is."""
    summary = callmood.load(archive, db=db, wait=wait, timezone=timezone)
    say(
        f"loaded {summary.loaded} of {summary.found} calls; {summary.already_known} were there already"
        + (f", {summary.purged} were purged" if summary.purged else "")
    )


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


@app.command(cls=OptionalAgent)
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
            "and those whose engine states nothing of it (two channels, pyannote); the others are counted on standard "
            "error.",
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
        limit = top if parquet is not None else rows_wanted(top, output)
        if min_turn_confidence is not None:
            out = reports.left_out(connection, by="min_turn_confidence", choice=choice, agent_id=one)
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
        at_most = MOST_ROWS if top is None else None
        write_or_save(found, output, fields, parquet=parquet, empty=empty, at_most=at_most)
        if note:
            say(note)


@app.command()
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


@app.command()
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


@app.command("link-agents")
def link_agents(
    db: opt.Db = None,
    wait: opt.Wait = None,
    device: opt.Device = None,
    models: opt.Models = None,
    pseudonymize: opt.Pseudonymize = None,
    pseudonym_key_file: opt.PseudonymKeyFile = None,
) -> None:
    """Find who the agent is by voice, in calls that share an agent_id; voices are compared and not kept."""
    summary = callmood.link_agents(
        db=db,
        wait=wait,
        device=device,
        models=models,
        pseudonymize=pseudonymize,
        pseudonym_key_file=pseudonym_key_file,
    )
    say(
        f"compared the voices of {summary.examined} calls of {summary.agents} agents; {summary.linked} linked, "
        f"{summary.missing} left as they were since their recordings are not at hand"
    )


@app.command()
def purge(
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Calls that began (or, with no date known, were analyzed) that long ago: 90d, 12w or 36h.",
        ),
    ] = None,
    call: Annotated[str | None, typer.Option("--call", metavar="ID", help="The call of that id.")] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="ID", help="The calls of that customer.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="ID", help="The calls of that agent.")
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", metavar="TEXT", help="Kept with the record of the purge; name nobody in it."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the calls.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal.")] = False,
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    db: opt.Db = None,
    wait: opt.Wait = None,
    pseudonymize: opt.Pseudonymize = None,
    pseudonym_key_file: opt.PseudonymKeyFile = None,
) -> None:
    """Remove calls from the database for good, and record that; docs/privacy.md says what is left where."""
    from callmood.cli.purge import purge_and_tell

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    given: dict[str, Any] = {
        "older_than": older_than,
        "call": call,
        "customer": customer,
        "agent": agent,
        "db": db,
        "wait": wait,
        "pseudonymize": pseudonymize,
        "pseudonym_key_file": pseudonym_key_file,
    }
    purge_and_tell(given, output, reason=reason, dry_run=dry_run, yes=yes)


@app.command()
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


@app.command()
def classify(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Recordings of one utterance each.")],
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    models: opt.Models = None,
) -> None:
    """Name the emotion of single utterances, without a database."""
    from callmood.cli.classify import classify_each
    from callmood.cli.layouts import UTTERANCES

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    table, errors = classify_each(files, models=load_settings({"models": models}).settings.models)
    write(table, output, UTTERANCES)
    for error in errors:
        say(f"callmood: {error}")
    raise typer.Exit(Exit.SOME_FAILED if errors else Exit.OK)


@app.command()
def diarize(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Recordings.")],
    as_rttm: Annotated[
        bool,
        typer.Option(
            "--rttm",
            help="Print RTTM; each file is named without its extension, and spaces in names become `_`.",
        ),
    ] = False,
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    diarizer: opt.Diarizer = None,
    speakers: opt.Speakers = None,
    pyannote_pipeline: opt.PyannotePipeline = None,
    device: opt.Device = None,
    models: opt.Models = None,
) -> None:
    """Tell who speaks when, without a database and without emotions."""
    from callmood.cli.diarize import Sentences, rttm_of_each, turns_of_each
    from callmood.cli.layouts import TURNS_OF_FILES

    if as_rttm and (as_json or as_csv):
        raise UsageError("--rttm, --json and --csv exclude one another; give one of them.")
    output = chosen_format(as_json=as_json, as_csv=as_csv)
    given = {
        "diarizer": diarizer,
        "speakers": speakers,
        "pyannote_pipeline": pyannote_pipeline,
        "device": device,
        "models": models,
    }
    sentences = Sentences()
    if as_rttm:
        emit(rttm_of_each(files, given, sentences))
    else:
        write(turns_of_each(files, given, sentences), output, TURNS_OF_FILES, empty="no turns")
    for sentence in sentences.remarks + sentences.failures:
        say(f"callmood: {sentence}")
    raise typer.Exit(Exit.SOME_FAILED if sentences.failures else Exit.OK)


@app.command()
def listen(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT]", help="- for standard input, or a named pipe.", show_default=False),
    ] = None,
    socket: Annotated[
        str | None,
        typer.Option(
            "--socket", metavar="PATH", help="Serve a Unix socket instead: each connection is a stream."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="Serve a TCP port of 127.0.0.1; 0 takes a free one."
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option("--rate", metavar="HZ", help="Sampling rate of PCM; WAV tells its own.")
    ] = 8000,
    channels: Annotated[
        int, typer.Option("--channels", metavar="N", help="Channels of PCM, 1 or 2; WAV tells its own.")
    ] = 1,
    agent_channel: Annotated[
        int | None,
        typer.Option(
            "--agent-channel",
            metavar="0|1",
            min=0,
            max=1,
            help="The channel of two that the agent speaks on: 0 is left, 1 is right.",
        ),
    ] = None,
    party: Annotated[
        str | None,
        typer.Option(
            "--party",
            metavar="agent|customer",
            help="Who speaks in a stream of one channel, where it is one party alone.",
        ),
    ] = None,
    emotion_for: opt.EmotionFor = None,
    escalation_threshold: opt.EscalationThreshold = None,
    device: opt.Device = None,
    models: opt.Models = None,
) -> None:
    """Follow live audio (WAV, or PCM of 16 bit), with a JSON line for each half second."""
    from callmood.cli.listen import hear_input, serve
    from callmood.live import StreamFormat, load_engine

    serving = socket is not None or port is not None
    if serving == (source is not None):
        raise UsageError("Name one input (- for standard input), or --socket or --port to serve many.")
    if party not in (None, "agent", "customer"):
        raise UsageError(f"--party is {party!r}; it must be agent or customer.")
    raw = StreamFormat(
        rate_hz=rate, channels=channels, agent_channel=agent_channel, party=cast("Role | None", party)
    )
    given = {
        "emotion_for": emotion_for,
        "escalation_threshold": escalation_threshold,
        "device": device,
        "models": models,
    }
    engine = load_engine(load_settings(given).settings)
    if source is not None:
        raise typer.Exit(hear_input(engine, source, raw))
    serve(engine, raw, path=socket, port=port)


@app.command()
def validate(
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="CSV with call_id, start_s, end_s, emotion and, if wanted, speaker, role and escalated.",
            show_default=False,
        ),
    ],
    refit: Annotated[
        float | None,
        typer.Option(
            "--refit",
            metavar="SHARE",
            help=(
                "Fit the temperature and the escalation threshold on this share of the calls (above 0, below 1); "
                "figures are then those of the other calls, before and after."
            ),
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of the split of the calls and the intervals.")
    ] = 0,
    write_models: Annotated[
        str | None,
        typer.Option(
            "--write-models",
            metavar="DIR",
            help="Write the models with the fitted temperature to a new folder.",
        ),
    ] = None,
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    db: opt.Db = None,
    models: opt.Models = None,
) -> None:
    """Hold the database against human labels of your own calls, and fit it to them."""
    from callmood.cli.layouts import VALIDATION
    from callmood.report import Table
    from callmood.validation import told

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    validation = callmood.validate(
        labels, db=db, refit=refit, seed=seed, models=models, write_models=write_models
    )
    if output is Format.JSON:
        write_json(told.as_record(validation))
    else:
        write(Table(columns=told.COLUMNS, rows=iter(told.rows(validation))), output, VALIDATION)
    for sentence in told.sentences(validation):
        say(sentence)


@app.command("models")
def list_models(
    models: opt.Models = None,
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
) -> None:
    """List the shipped models, or those of --models: licence, size and whether they are what was recorded."""
    from callmood.cli.layouts import MODEL_FILES
    from callmood.model_files import list_sets
    from callmood.report import Table

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    files, problems = list_sets(load_settings({"models": models}).settings.models)
    rows = ((name, file.name, file.size_bytes, file.licence, file.state, file.sha256) for name, file in files)
    write(
        Table(columns=("set", "file", "bytes", "licence", "state", "sha256"), rows=rows), output, MODEL_FILES
    )
    for problem in problems:
        say(f"callmood: {problem}")
    raise typer.Exit(Exit.FATAL if problems else Exit.OK)


@app.command()
def config(as_json: opt.AsJson = False, as_csv: opt.AsCsv = False) -> None:
    """Show the settings in force, and where each comes from."""
    from callmood.cli.layouts import SETTINGS
    from callmood.report import Table

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    effective = load_settings()
    rows = ((name, value, effective.sources[name]) for name, value in effective.settings.as_dict().items())
    write(Table(columns=("name", "value", "source"), rows=rows), output, SETTINGS)


@app.command()
def doctor(
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    db: opt.Db = None,
    models: opt.Models = None,
) -> None:
    """Examine what is installed, what can run here, and what to do about what cannot."""
    from callmood.cli.layouts import CHECKS
    from callmood.report import Table
    from callmood.report.doctor import examine

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    checks = examine(load_settings({"db": db, "models": models}).settings)
    rows = ((check.name, check.state, check.found, check.advice) for check in checks)
    write(Table(columns=("name", "state", "found", "advice"), rows=rows), output, CHECKS)
    raise typer.Exit(Exit.FATAL if any(check.state == "problem" for check in checks) else Exit.OK)
