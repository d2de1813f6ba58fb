"""Tables in the layout of audformat (https://audeering.github.io/audformat/): file, start, end, then values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from callmood.emotions import EMOTIONS, PROBABILITY_COLUMNS
from callmood.exports.exported import ExportedCall
from callmood.files import in_place_of
from callmood.text import no_formula

_STRING, _FLOAT = {"dtype": "str"}, {"dtype": "float"}

SCHEMES: dict[str, dict[str, Any]] = {
    "call_id": _STRING,
    "speaker": _STRING,
    "role": {"dtype": "str", "labels": ["agent", "customer"]},
    "channel": {"dtype": "int"},
    "speaker_confidence": _FLOAT,
    "emotion": {"dtype": "str", "labels": list(EMOTIONS)},
    "confidence": _FLOAT,
    **dict.fromkeys(PROBABILITY_COLUMNS, _FLOAT),
    "valence": _FLOAT,
    "arousal": _FLOAT,
    "negativity": _FLOAT,
    "height": _FLOAT,
    "slope": _FLOAT,
    "recovered": {"dtype": "bool"},
}
"""What the columns of both tables hold."""

_OF_ESCALATIONS = ("height", "slope", "recovered")
COLUMNS = {
    "turns": tuple(name for name in SCHEMES if name not in _OF_ESCALATIONS),
    "escalations": ("call_id", "speaker", "role", *_OF_ESCALATIONS),
}
"""Columns of each table, without those of its index."""
INDEX = ("file", "start", "end")

_PANDAS_TYPES = {"str": "string", "float": "Float64", "int": "Int64", "bool": "boolean"}
_CHUNK_ROWS = 10_000

Row = tuple[Any, ...]


def header() -> str:
    """The database's header, `db.yaml`. It is JSON, which is YAML, too."""
    return (
        json.dumps(
            {
                "name": "callmood",
                "source": "callmood",
                "usage": "unrestricted",
                "languages": [],
                "description": "Turns and escalations of recorded calls, as callmood found them.",
                "schemes": SCHEMES,
                "tables": {
                    table: {
                        "type": "segmented",
                        "columns": {name: {"scheme_id": name} for name in columns},
                    }
                    for table, columns in COLUMNS.items()
                },
            },
            indent=2,
        )
        + "\n"
    )


def rows(call: ExportedCall, table: str) -> Iterator[Row]:
    """The rows of one call in a table, index first."""
    if table == "turns":
        for turn in call.turns:
            index = (call.file_of(turn["channel"]), timedelta(turn["start_s"]), timedelta(turn["end_s"]))
            yield (*index, *(turn[name] for name in COLUMNS[table]))
        return
    channels = {turn["speaker"]: turn["channel"] for turn in call.turns}
    for event in call.escalations:
        end_s = call.duration_s if event["end_s"] is None else event["end_s"]
        file = call.file_of(channels.get(event["speaker"], 0))
        yield (
            *(file, timedelta(event["onset_s"]), timedelta(end_s)),
            *(event[name] for name in COLUMNS[table]),
        )


def timedelta(seconds: float) -> str:
    """Seconds as pandas writes a `Timedelta`: `0 days 00:00:01.500000`."""
    minutes, microseconds = divmod(round(seconds * 1_000_000), 60_000_000)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    whole, fraction = divmod(microseconds, 1_000_000)
    return f"{days} days {hours:02}:{minutes:02}:{whole:02}.{fraction:06}"


def csv_lines(calls: Iterable[ExportedCall], table: str) -> Iterator[str]:
    """A table as CSV, line by line; texts that a spreadsheet would run get a leading `'`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*INDEX, *COLUMNS[table]])
    for call in calls:
        for row in rows(call, table):
            writer.writerow([no_formula(value) if isinstance(value, str) else value for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def write_parquet(path: Path, calls: Iterable[ExportedCall], table: str) -> None:
    """A table as Parquet, texts as they are; raises OSError."""
    import duckdb
    import pandas as pd

    types = dict.fromkeys(INDEX, "string") | {
        name: _PANDAS_TYPES[SCHEMES[name]["dtype"]] for name in COLUMNS[table]
    }
    remaining = (row for call in calls for row in rows(call, table))
    with in_place_of(path) as half, duckdb.connect() as memory:
        memory.register("chunk", pd.DataFrame([], columns=list(types)).astype(types))
        memory.execute("CREATE TABLE exported AS SELECT * FROM chunk")
        while chunk := list(islice(remaining, _CHUNK_ROWS)):
            memory.register("chunk", pd.DataFrame(chunk, columns=list(types)).astype(types))
            memory.execute("INSERT INTO exported SELECT * FROM chunk")
        try:
            memory.table("exported").write_parquet(str(half))
        except duckdb.IOException as error:
            raise OSError(str(error).splitlines()[0]) from error
