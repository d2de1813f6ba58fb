"""Writing a table to a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from callmood.cli.output import Field, Format, say, write
from callmood.errors import UsageError
from callmood.report import Table

_ROWS = 10_000
"""Held in memory at a time."""


def write_or_save(
    table: Table,
    output: Format,
    fields: Sequence[Field],
    *,
    parquet: str | None,
    empty: str,
    at_most: int | None,
) -> None:
    """Print a table as `output` says or, where a file is named, write it there and say how many rows it has."""
    if parquet is None:
        write(table, output, fields, empty=empty, at_most=at_most)
    elif output is not Format.TABLE:
        raise UsageError(f"--parquet and --{output.value} exclude one another; give one of them.")
    else:
        rows = write_parquet(table, Path(parquet))
        say(f"wrote {rows} {'row' if rows == 1 else 'rows'} to {parquet}")


def write_parquet(table: Table, path: Path) -> int:
    """Write all columns, with the types that the database has them in, over what is there; returns the rows.

    Texts are written as they are: what a reader makes of a leading `=` is the reader's.
    """
    import duckdb
    import pandas as pd

    columns = [f'"{name.replace(chr(34), 2 * chr(34))}"' for name in table.columns]
    rows = 0
    half = path.with_name(f".{path.name}.part")
    # A connection of its own: those to results databases may write no file.
    with duckdb.connect() as connection:
        typed = ", ".join(f"{name} {kind}" for name, kind in zip(columns, table.types, strict=True))
        connection.execute(f"CREATE TABLE rows ({typed})")
        while batch := list(islice(table.rows, _ROWS)):
            frame = pd.DataFrame(batch, columns=list(table.columns), dtype=object)
            connection.register("batch", frame)
            connection.execute(f"INSERT INTO rows SELECT {', '.join(columns)} FROM batch")  # noqa: S608 - quoted
            connection.unregister("batch")
            rows += len(batch)
        try:
            connection.table("rows").write_parquet(str(half))
            half.replace(path)
        except (OSError, duckdb.IOException) as error:
            raise UsageError(
                f"{path}: cannot be written ({str(error).splitlines()[0]}); name another file with --parquet."
            ) from error
        finally:
            half.unlink(missing_ok=True)
    return rows
