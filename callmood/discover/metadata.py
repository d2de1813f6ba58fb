"""The metadata file: CSV, JSON lines or Parquet, told apart by content, and which file each row is about.

Columns, in any case and order: `call_id` and `path` (one of them at least), `agent_id`, `customer_id`,
`queue`, `started_at`, `agent_channel`, and `role` and `channel` where the parties of a call are separate
files. Any other column is kept as given. CSV may be separated by commas, semicolons or tabs, with or without a
byte order mark.

A row with a `path` is about that file: a URL, or relative to the metadata file's directory, else to the inputs' ones. A
row without one is about the files whose name without extension is its `call_id`, or whose name gives that
`call_id`. Rows about one file are merged if they agree; where they contradict each other the first one holds.
"""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path

from callmood.discover.fields import CALL_FIELDS, LEG_FIELDS, Facts, read_facts, text_of
from callmood.discover.find import canonical
from callmood.discover.notices import Notices
from callmood.errors import UsageError
from callmood.remote import as_path, is_url
from callmood.text import printable

_KNOWN_COLUMNS = frozenset((*CALL_FIELDS, *LEG_FIELDS, "path"))


@dataclass(frozen=True, kw_only=True)
class MetadataRow:
    """One row of the metadata file."""

    facts: Facts
    path: str | None = None
    place: str
    """The file and line, for messages."""

    def contradicts(self, other: MetadataRow) -> bool:
        """Whether a field is given by both rows and differs."""
        return any(
            a is not None and b is not None and a != b
            for a, b in zip(self._values(), other._values(), strict=True)
        )

    def merged(self, other: MetadataRow) -> MetadataRow:
        """This row, and where it is silent the other one."""
        return replace(self, facts=self.facts.over(other.facts))

    def _values(self) -> tuple[object, ...]:
        known = self.facts.metadata
        return (
            self.facts.call_id,
            known.agent_id,
            known.customer_id,
            known.queue,
            known.started_at,
            known.agent_channel,
            self.facts.role,
            self.facts.channel,
        )


def read_metadata(path: Path, *, zone: tzinfo, notices: Notices) -> tuple[MetadataRow, ...]:
    """The rows of a metadata file; `zone`: what a date without an offset means.

    Raises UsageError for a file that cannot be read or has neither a column call_id nor path.
    """
    try:
        columns, numbered = _read_table(path, notices)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _unusable(path, f"cannot be read ({reason})") from None
    if not {"call_id", "path"} & set(columns):
        raise _unusable(path, "has neither a column call_id nor a column path")
    rows = []
    for number, values in numbered:
        place = f"{path} line {number}"
        row = MetadataRow(
            facts=read_facts(
                {name: value for name, value in values.items() if name != "path"},
                place=place,
                zone=zone,
                notices=notices,
            ),
            path=text_of(values.get("path")),
            place=place,
        )
        if row.path is None and row.facts.call_id is None:
            notices.add("A row of the metadata has neither a call_id nor a path and was ignored", place)
            continue
        if row.path is None and row.facts.is_of_leg:
            notices.add("A leg in the metadata has no path, so its role and channel were ignored", place)
            row = replace(row, facts=replace(row.facts, role=None, channel=None))
        rows.append(row)
    return tuple(rows)


def match_rows(
    rows: Sequence[MetadataRow],
    *,
    files: Mapping[Path, Path],
    named_ids: Mapping[Path, str],
    directories: Iterable[Path],
    notices: Notices,
) -> dict[Path, MetadataRow]:
    """The row about each file, merged where there are several; files without one are left out.

    `files`: path by canonical path; `named_ids`: call_id by path, as far as names give one; `directories`:
    where relative paths are looked up, in order.
    """
    by_id: dict[str, list[Path]] = {}
    for file in files.values():
        for call_id in {file.stem, named_ids.get(file, file.stem)}:
            by_id.setdefault(call_id, []).append(file)
    places = tuple(directories)
    matched: dict[Path, MetadataRow] = {}
    # Rows with a path come first: they are explicit.
    for row in sorted(rows, key=lambda row: row.path is None):
        if row.path is not None:
            found = _at(row.path, files, places)
        else:
            found = by_id.get(row.facts.call_id or "", [])
        if not found:
            about = f"path '{row.path}'" if row.path is not None else f"call_id '{row.facts.call_id}'"
            notices.add(
                "No recording was found for a row of the metadata, so check its path or call_id",
                f"{row.place} ({about})",
            )
        for file in found:
            earlier = matched.setdefault(file, row)
            if earlier.contradicts(row):
                notices.add(
                    "Two rows of the metadata contradict each other about a file, so the first one holds",
                    f"{file} ({earlier.place}, {row.place})",
                )
            else:
                matched[file] = earlier.merged(row)
    return matched


def _at(path: str, files: Mapping[Path, Path], directories: Iterable[Path]) -> list[Path]:
    if is_url(path):
        return [file for file in (files.get(as_path(path)),) if file is not None]
    for directory in directories:
        try:
            file = files.get(canonical(directory / path))
        except ValueError:  # a NUL in the path
            return []
        if file is not None:
            return [file]
    return []


_Table = tuple[Sequence[str], Sequence[tuple[int, dict[str, object]]]]
"""Column names, and each row's line number and values by column name."""


def _read_table(path: Path, notices: Notices) -> _Table:
    raw = path.read_bytes()
    if raw[:4] == b"PAR1":
        return _from_json(*_parquet_as_json(path))
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if text.lstrip()[:1] == "{":
        return _from_json((), text.split("\n"))
    return _from_csv(path, text, notices)


def _from_json(columns: Iterable[str], lines: Sequence[str]) -> _Table:
    """Rows of JSON lines; `columns`: those known to exist though no row may give them."""
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        # NaN and Infinity are no JSON, but many programs write them where a value is missing.
        try:
            values = json.loads(line, parse_constant=lambda _: None)
        except ValueError as error:
            raise ValueError(f"line {number} is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"line {number} is no JSON object")
        rows.append((number, {_column(name): value for name, value in values.items()}))
    names = {name: None for _, values in rows for name in values}
    return [*map(_column, columns), *names], rows


def _parquet_as_json(path: Path) -> tuple[list[str], list[str]]:
    """Column names and one JSON object per row, in which DuckDB spells dates, decimals and nested values."""
    import duckdb

    # Escaped and without partitions, since DuckDB would expand `*` and read columns out of the path.
    source = [glob.escape(str(path))]
    # What is not built in must not be fetched from the network.
    settings = {"autoinstall_known_extensions": "false", "threads": "1"}
    try:
        with duckdb.connect(config=settings) as connection:
            table = "read_parquet(?, hive_partitioning = false)"
            connection.execute(f"SELECT * FROM {table} LIMIT 0", source)  # noqa: S608 (a constant)
            columns = [str(column[0]) for column in connection.description]
            connection.execute(f"SELECT to_json(line) FROM {table} AS line", source)  # noqa: S608
            return columns, [str(row[0]) for row in connection.fetchall()]
    except duckdb.Error as error:
        raise ValueError(str(error).splitlines()[0]) from None


def _from_csv(path: Path, text: str, notices: Notices) -> _Table:
    delimiter = max(
        ",;\t", key=lambda mark: len(next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), []))
    )
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    header = [_column(name) for name in next(reader, [])]
    named = [name for name in header if name]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise ValueError(f"it has two columns {printable(repeated[0])}")

    rows: list[tuple[int, dict[str, object]]] = []
    for cells in reader:
        if any(cells[len(header) :]):
            notices.add(
                "A row of the metadata has more cells than the header and was ignored, so quote its values",
                f"{path} line {reader.line_num}",
            )
        elif any(cells):
            values = dict(zip(header, cells, strict=False))
            values.pop("", None)
            rows.append((reader.line_num, {name: value or None for name, value in values.items()}))
    return named, rows


def _column(name: str) -> str:
    """A column's name: those with a meaning in lower case, others as given."""
    name = name.strip()
    return name.lower() if name.lower() in _KNOWN_COLUMNS else name


def _unusable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"The metadata file {printable(path)} {printable(why)}: give CSV, JSON lines or Parquet, text in UTF-8,"
        " with a column call_id or path."
    )
