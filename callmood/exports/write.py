"""Exports of calls, to a folder or as text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from callmood.errors import UsageError
from callmood.exports import audformat
from callmood.exports.exported import ExportedCall, exported_calls
from callmood.exports.labels import audacity, rttm, webvtt
from callmood.files import cannot_write, in_place_of, replace_file
from callmood.results.schema import Connection

PER_CALL: dict[str, tuple[str, Callable[[ExportedCall], str]]] = {
    "rttm": (".rttm", rttm),
    "audacity": (".txt", audacity),
    "webvtt": (".vtt", webvtt),
}
"""Formats with a file for each call: its ending and what writes it."""
FORMATS = (*PER_CALL, "audformat", "audformat-parquet")

_LONGEST_NAME = 200


def as_text(connection: Connection, call_ids: Sequence[str] | None, form: str) -> Iterator[str]:
    """An export as text, piece by piece; `call_ids` None means all calls.

    Raises
    ------
    UsageError
        The format cannot hold several calls in one text, or is none of text.
    """
    _check(form)
    if form == "audformat-parquet":
        raise UsageError("Parquet is not for a terminal; name a folder with --out.")
    calls = exported_calls(connection, call_ids)
    if form == "audformat":
        return audformat.csv_lines(calls, "turns")
    if form == "rttm":
        return _rttm_of(calls)
    if call_ids is None or len(call_ids) != 1:
        raise UsageError(f"{form} holds one call; name one, or a folder for several with --out.")
    one = next(calls, None)
    if one is None:
        raise UsageError(f"{call_ids[0]!r} has no turns to export; `callmood show` says why.")
    return iter([PER_CALL[form][1](one)])


def to_folder(
    connection: Connection, call_ids: Sequence[str] | None, form: str, folder: Path
) -> tuple[Path, ...]:
    """Write an export to a folder, which is made where it is missing, and name the files.

    Each file is put in its place in one step; one of the same name is replaced.

    Raises
    ------
    UsageError
        The folder or a file cannot be written.
    """
    _check(form)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if form in PER_CALL:
            ending, written = PER_CALL[form]
            paths = []
            for call in exported_calls(connection, call_ids):
                paths.append(folder / f"{file_stem(call.call_id)}{ending}")
                replace_file(paths[-1], written(call))
            return tuple(paths)
        return _audformat_database(lambda: exported_calls(connection, call_ids), form, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def file_stem(call_id: str) -> str:
    """A file's name, without its ending, for a call_id: different for different ones, harmless on any system.

    What is no letter, digit, `-`, `_` or `.` becomes `%` and its bytes in hexadecimal digits, as in URLs; a long
    name ends in a part of its SHA-256.
    """
    safe = "".join(
        char
        if char.isalnum() or char in "-_" or (char == "." and at)
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8"))
        for at, char in enumerate(call_id)
    )
    if 0 < len(safe.encode("utf-8")) <= _LONGEST_NAME:
        return safe
    digest = hashlib.sha256(call_id.encode("utf-8")).hexdigest()[:16]
    return f"{safe.encode('utf-8')[: _LONGEST_NAME - 20].decode('utf-8', 'ignore')}~{digest}"


def _check(form: str) -> None:
    if form not in FORMATS:
        raise UsageError(f"There is no format {form!r}; it must be one of {', '.join(FORMATS)}.")


def _rttm_of(calls: Iterator[ExportedCall]) -> Iterator[str]:
    named: dict[str, str] = {}
    for call in calls:
        text = rttm(call)
        name = text.split(" ", 2)[1]
        if named.setdefault(name, call.call_id) != call.call_id:
            raise UsageError(
                f"{named[name]!r} and {call.call_id!r} are both called {name} in RTTM, which knows no spaces; "
                "export to a folder with --out."
            )
        yield text


def _audformat_database(
    calls: Callable[[], Iterator[ExportedCall]], form: str, folder: Path
) -> tuple[Path, ...]:
    """`calls` reads them anew for each table."""
    paths = [folder / "db.yaml"]
    replace_file(paths[0], audformat.header())
    for table in audformat.COLUMNS:
        as_csv, as_parquet = folder / f"db.{table}.csv", folder / f"db.{table}.parquet"
        if form == "audformat":
            with in_place_of(as_csv) as half, half.open("w", encoding="utf-8", newline="") as file:
                file.writelines(audformat.csv_lines(calls(), table))
            # audformat reads Parquet first: that of an earlier export would hide this table.
            as_parquet.unlink(missing_ok=True)
            paths.append(as_csv)
        else:
            audformat.write_parquet(as_parquet, calls(), table)
            as_csv.unlink(missing_ok=True)
            paths.append(as_parquet)
    return tuple(paths)
