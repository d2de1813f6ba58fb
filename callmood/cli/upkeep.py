"""Commands about models, settings and the installation: each parses, opens, calls and prints."""

from __future__ import annotations

from typing import Annotated

import typer

import callmood
from callmood.cli import options as opt
from callmood.cli.output import Format, chosen_format, say, write, write_json
from callmood.errors import Exit
from callmood.settings import load_settings


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


def config(as_json: opt.AsJson = False, as_csv: opt.AsCsv = False) -> None:
    """Show the settings in force, and where each comes from."""
    from callmood.cli.layouts import SETTINGS
    from callmood.report import Table

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    effective = load_settings()
    rows = ((name, value, effective.sources[name]) for name, value in effective.settings.as_dict().items())
    write(Table(columns=("name", "value", "source"), rows=rows), output, SETTINGS)


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
