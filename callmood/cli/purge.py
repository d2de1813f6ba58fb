"""Purging from the command line: the list, the question, and the outcome."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import astuple, fields
from typing import Any

import typer

import callmood
from callmood.cli.layouts import PURGEABLE
from callmood.cli.output import Format, say, write
from callmood.errors import Exit
from callmood.purging import PurgeableCall, PurgeSummary
from callmood.report import Table


def purge_and_tell(
    given: Mapping[str, Any], output: Format, *, reason: str | None, dry_run: bool, yes: bool
) -> None:
    """Purge the calls that `given` names (see `callmood.purge`), and tell about it.

    On a terminal, unless `yes`, they are counted and asked about first. The calls are listed in a dry run, or where
    a format was asked for.
    """
    if not dry_run and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        count = len(callmood.purge(dry_run=True, **given).calls)
        if count and not typer.confirm(f"Remove {_calls(count)} for good?", err=True):
            say("nothing was purged")
            raise typer.Exit(Exit.OK)
    summary = callmood.purge(reason=reason, dry_run=dry_run, **given)
    if dry_run or output is not Format.TABLE:
        write(_table(summary), output, PURGEABLE, empty="no call is that old")
    if not summary.calls and not dry_run:
        say("no call is that old; nothing was purged")
    elif summary.calls:
        say(f"{'would purge' if dry_run else 'purged'} {_calls(len(summary.calls))}")
    for path in summary.removed_files:
        say(f"deleted {path}, a backup that could hold purged calls")


def _table(summary: PurgeSummary) -> Table:
    names = tuple(field.name for field in fields(PurgeableCall))
    return Table(columns=names, rows=(astuple(call) for call in summary.calls))


def _calls(count: int) -> str:
    return f"{count} call" if count == 1 else f"{count} calls"
