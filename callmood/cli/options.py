"""Options that several commands share; those of settings take their texts from `Settings`."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import typer

from callmood.settings import Settings


def _setting(name: str) -> Any:
    """The option of a setting. Its default stays None, so that environment and file can decide."""
    field = next(field for field in fields(Settings) if field.name == name)
    choices = field.metadata.get("choices")
    default = "" if field.default is None else f" [default: {field.default}]"
    return typer.Option(
        f"--{name.replace('_', '-')}",
        help=field.metadata["help"] + default,
        metavar="|".join(choices) if choices else ("N" if field.type == "int" else "TEXT"),
        show_default=False,
    )


Db = Annotated[str | None, _setting("db")]
Metadata = Annotated[str | None, _setting("metadata")]
Pattern = Annotated[str | None, _setting("pattern")]
Timezone = Annotated[str | None, _setting("timezone")]
Diarizer = Annotated[str | None, _setting("diarizer")]
Speakers = Annotated[str | None, _setting("speakers")]
PyannotePipeline = Annotated[str | None, _setting("pyannote_pipeline")]
Rttm = Annotated[str | None, _setting("rttm")]
EmotionFor = Annotated[str | None, _setting("emotion_for")]
Jobs = Annotated[int | None, _setting("jobs")]
Device = Annotated[str | None, _setting("device")]
EscalationThreshold = Annotated[float | None, _setting("escalation_threshold")]
Models = Annotated[str | None, _setting("models")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print CSV instead of a table, made safe to open in a spreadsheet.")
]
