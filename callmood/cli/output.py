"""Writing to the terminal: tables, JSON, CSV and sentences, all of them safe to show, pipe and open."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

from callmood.errors import UsageError
from callmood.text import no_formula, printable

if TYPE_CHECKING:
    from callmood.report import Table


MOST_ROWS = 100
"""Of a report that people read, where they ask for no other number."""


class Format(Enum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column of a table for people: its heading, and what it shows of a record."""

    heading: str
    show: Callable[[Mapping[str, Any]], str]
    number: bool = False
    """Aligned right, never wrapped."""
    optional: bool = False
    """Left out where no record has it."""


def chosen_format(*, as_json: bool, as_csv: bool, as_markdown: bool = False) -> Format:
    """The format that the options name."""
    named = [
        (option, output)
        for option, output, given in (
            ("--json", Format.JSON, as_json),
            ("--csv", Format.CSV, as_csv),
            ("--markdown", Format.MARKDOWN, as_markdown),
        )
        if given
    ]
    if len(named) > 1:
        options = " and ".join(option for option, _ in named)
        raise UsageError(f"{options} exclude one another; give one of them.")
    return named[0][1] if named else Format.TABLE


def write(
    table: Table,
    output: Format,
    fields: Sequence[Field] | None = None,
    *,
    empty: str = "no rows",
    at_most: int | None = None,
) -> None:
    """Print a table: all its columns as JSON or CSV, `fields` (default: all columns) for people and as Markdown.

    `empty` is the sentence that people get, on standard error, where there are no rows. They are shown `at_most` so many,
    with a sentence where there are more.
    """
    if output is Format.JSON:
        emit(_json_lines(table.records()))
    elif output is Format.CSV:
        emit(_csv_lines(table))
    elif output is Format.MARKDOWN:
        emit(_markdown_lines(list(table.records()), fields or plain_fields(table.columns)))
    elif records := list(table.records()):
        write_table(records[:at_most], fields or plain_fields(table.columns))
        if at_most is not None and len(records) > at_most:
            say(f"These are the first {at_most}; --top N shows more, --json or --csv all of them.")
    else:
        say(empty)


def most_rows(top: int | None, output: Format) -> int | None:
    """How many rows of a report to show at most where the asker names no number; None leaves it to `top`. One more row
    is to be asked for, which tells that there are more."""
    return MOST_ROWS if top is None and output is Format.TABLE else None


def write_json(value: Any) -> None:
    """Print one JSON value."""
    emit([json.dumps(_jsonable(value), indent=2) + "\n"])


def write_table(records: Sequence[Mapping[str, Any]], fields: Sequence[Field]) -> None:
    """Print records as a table as wide as the terminal, or as wide as it needs to be in a pipe."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    texts, shown = _shown(records, fields)
    table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for field in (fields[i] for i in shown):
        table.add_column(
            Text(printable(field.heading)),
            justify="right" if field.number else "left",
            no_wrap=field.number,
            overflow="fold",
        )
    for row in texts:
        table.add_row(*(Text(row[i]) for i in shown))
    is_terminal = sys.stdout.isatty()
    buffer = io.StringIO()
    Console(
        file=buffer,
        force_terminal=is_terminal,
        color_system="standard" if is_terminal and not os.environ.get("NO_COLOR") else None,
        width=terminal_width() if is_terminal else 100_000,
        legacy_windows=False,
    ).print(table)
    emit(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


def _shown(
    records: Sequence[Mapping[str, Any]], fields: Sequence[Field]
) -> tuple[list[list[str]], list[int]]:
    """What the fields show of each record, and which of them are not left out."""
    texts = [[printable(field.show(record)) for field in fields] for record in records]
    return texts, [i for i, field in enumerate(fields) if not field.optional or any(row[i] for row in texts)]


def write_record(record: Mapping[str, Any], fields: Sequence[Field]) -> None:
    """Print one record, a line for each field that it has."""
    texts = [(field.heading, printable(field.show(record))) for field in fields]
    width = max(len(heading) for heading, _ in texts)
    emit(f"{heading:<{width}}  {text}\n" for heading, text in texts if text)


def plain_fields(columns: Iterable[str]) -> list[Field]:
    """Fields that show columns as they are."""
    return [_plain_field(name) for name in columns]


def terminal_width() -> int:
    """Columns of the terminal; 80 where there is none."""
    import shutil

    return shutil.get_terminal_size().columns


def emit(lines: Iterable[str]) -> None:
    """Write to standard output; a reader that has gone (`| head`) ends the writing, not the program."""
    try:
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at exit; that must find a place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(sentence: str) -> None:
    """Write one sentence to standard error."""
    print(printable(sentence), file=sys.stderr, flush=True)


def say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """A stand-in for `warnings.showwarning` that tells this package's own warnings as sentences."""
    if category.__module__.startswith("callmood."):
        say(f"warning: {message}")
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _plain_field(name: str) -> Field:
    return Field(heading=name, show=lambda record: _plain(record[name]))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return _text(value)


def _text(value: Any) -> str:
    """A value as CSV holds it."""
    value = _jsonable(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _json_lines(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    """A JSON list, one object per line."""
    before = "["
    for record in records:
        yield f"{before}\n{json.dumps(_jsonable(record))}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _csv_lines(table: Table) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([no_formula(name) for name in table.columns])
    for row in table.rows:
        yield _drain(buffer)
        writer.writerow([_csv_value(value) for value in row])
    yield _drain(buffer)


def _csv_value(value: Any) -> Any:
    """A value as the writer takes it, which writes numbers as JSON has them and nothing for None."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if value is None or kind is int:
        return value
    return no_formula(value) if kind is str else _text(value)


def _markdown_lines(records: Sequence[Mapping[str, Any]], fields: Sequence[Field]) -> Iterator[str]:
    texts, shown = _shown(records, fields)
    yield _markdown_row(printable(fields[i].heading) for i in shown)
    yield "|" + "|".join(" ---: " if fields[i].number else " --- " for i in shown) + "|\n"
    for row in texts:
        yield _markdown_row(row[i] for i in shown)


def _markdown_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(_no_markup(text) for text in texts) + " |\n"


def _no_markup(text: str) -> str:
    """A text that Markdown shows as it is: nothing in it is markup, HTML, a link or the end of a cell."""
    # GitHub's dialect makes links of bare addresses, too.
    escaped = re.sub(r"([\\`*_{}\[\]|~@]|:(?=//)|(?<=www)\.)", r"\\\1", text)
    return html.escape(escaped, quote=False)


def _drain(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _jsonable(value: Any) -> Any:
    """A value of the database as JSON knows it: times in ISO 8601, what is no finite number as null."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, Decimal)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value)
