"""The program: its commands, and what becomes of an error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

import callmood
from callmood.cli import audio, reports, runs, upkeep
from callmood.cli.output import (
    say,
    say_warning,
)
from callmood.emotion.device import own_process
from callmood.errors import CallmoodError

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
    own_process()
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


app.command()(runs.analyze)
app.command()(runs.retry)
app.command()(runs.load)
app.command(cls=reports.OptionalAgent)(reports.report)
app.command()(reports.show)
app.command()(reports.export)
app.command("link-agents")(runs.link_agents)
app.command()(runs.purge)
app.command()(reports.sql)
app.command()(audio.classify)
app.command()(audio.diarize)
app.command()(audio.listen)
app.command()(upkeep.validate)
app.command("models")(upkeep.list_models)
app.command()(upkeep.config)
app.command()(upkeep.doctor)
