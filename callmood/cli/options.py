"""Options that several commands share; those of settings take their texts from `Settings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from callmood.settings import Settings


def _setting(name: str) -> Any:
    """The option of a setting. Its default stays None, so that environment and file can decide."""
    field = next(field for field in fields(Settings) if field.name == name)
    flag = f"--{name.replace('_', '-')}"
    if field.type == "bool":
        return typer.Option(
            f"{flag}/--no-{name.replace('_', '-')}", help=field.metadata["help"], show_default=False
        )
    choices = field.metadata.get("choices")
    default = "" if field.default is None else f" [default: {field.default}]"
    return typer.Option(
        flag,
        help=field.metadata["help"] + default,
        metavar="|".join(choices) if choices else {"int": "N", "bool": None}.get(str(field.type), "TEXT"),
        show_default=False,
    )


_KINDS = {"str": str, "int": int, "float": float, "bool": bool}


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each of some settings, behind its own; they come together, as `given`."""
    annotated: Any = Annotated
    kinds = {field.name: _KINDS[str(field.type).removesuffix(" | None")] for field in fields(Settings)}
    options = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=annotated[kinds[name] | None, _setting(name)],
        )
        for name in names
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = signature(command, eval_str=True)

        @wraps(command)
        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            command(**values, given=given)

        parameters = [parameter for name, parameter in own.parameters.items() if name != "given"]
        run.__signature__ = own.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]
        return run

    return decorate


Db = Annotated[str | None, _setting("db")]
Timezone = Annotated[str | None, _setting("timezone")]
Diarizer = Annotated[str | None, _setting("diarizer")]
Speakers = Annotated[str | None, _setting("speakers")]
PyannotePipeline = Annotated[str | None, _setting("pyannote_pipeline")]
EmotionFor = Annotated[str | None, _setting("emotion_for")]
Wait = Annotated[int | None, _setting("wait")]
Pseudonymize = Annotated[bool | None, _setting("pseudonymize")]
PseudonymKeyFile = Annotated[str | None, _setting("pseudonym_key_file")]
Device = Annotated[str | None, _setting("device")]
EscalationThreshold = Annotated[float | None, _setting("escalation_threshold")]
Models = Annotated[str | None, _setting("models")]

Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but warnings and failures.")]
OneLine = Annotated[
    bool,
    typer.Option(
        "--one-line", help="Print how the run went as one line on standard output, as for cron's mail."
    ),
]
SummaryAsJson = Annotated[
    bool, typer.Option("--json", help="Print what was done as JSON on standard output.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print CSV instead of a table, made safe to open in a spreadsheet.")
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")]
Parquet = Annotated[
    str | None,
    typer.Option(
        "--parquet", metavar="FILE", help="Write all columns to a Parquet file instead of printing."
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Calls that began then or later: 2026-04-17, 2026-04-17T08:00, or how long ago: 12h, 7d, 2w.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Calls that began before; a date includes its day."),
]
Queue = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="Calls of that queue.")]
