"""Commands that write to a database: each parses, opens, calls and prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

import callmood
from callmood.cli import options as opt
from callmood.cli.output import chosen_format, say

_HOW = (
    "diarizer",
    "speakers",
    "pyannote_pipeline",
    "rttm",
    "causal",
    "emotion_for",
    "min_role_confidence",
    "guess_roles",
    "pseudonymize",
    "pseudonym_key_file",
    "plain_columns",
    "escalation_threshold",
    "jobs",
    "backend",
    "scheduler",
    "device",
    "models",
    "max_seconds_per_call",
    "max_memory_per_worker",
    "max_runtime",
    "lock",
    "wait",
    "snapshot_every",
    "log_file",
    "heartbeat_file",
    "metrics_file",
)
"""Settings of how recordings are analyzed, which `analyze` and `retry` share."""


@opt.with_settings("db", "out", "metadata", "pattern", "timezone", *_HOW)
def analyze(
    *,
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
    given: Mapping[str, Any],
) -> None:
    """Analyze recordings into the database; what it already holds is left as it is."""
    from callmood.cli.running import run_and_tell

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


@opt.with_settings("db", *_HOW)
def retry(
    *,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Recordings too that did not decode or held no samples.")
    ] = False,
    quiet: opt.Quiet = False,
    one_line: opt.OneLine = False,
    as_json: opt.SummaryAsJson = False,
    given: Mapping[str, Any],
) -> None:
    """Analyze the calls again that failed or were quarantined."""
    from callmood.cli.running import run_and_tell

    code = run_and_tell(
        lambda **during: callmood.retry(unreadable=unreadable, **during, **given),
        given,
        quiet=quiet,
        one_line=one_line,
        as_json=as_json,
    )
    raise typer.Exit(code)


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
