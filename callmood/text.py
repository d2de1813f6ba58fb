"""Text that terminals and databases can take, and libraries that write to the terminal unasked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make spreadsheets run a text as a formula."""

_stderr_lock = threading.Lock()


def printable(text: object) -> str:
    """`text` with control characters and undecodable bytes escaped: nothing in it can steer a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in str(text)
    )


def no_formula(text: str) -> str:
    """A text for CSV that no spreadsheet runs: with a leading `'` where it begins like a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def clock(seconds: float | None) -> str:
    """Minutes and seconds, with hours where there are any: `3:07`, `1:03:07`."""
    if seconds is None:
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def who(record: Mapping[str, Any]) -> str:
    """A speaker with the role, where that is known: `S2 customer`."""
    return f"{record['speaker']} {record['role'] or ''}".strip()


def truncated(name: str, lost_s: float) -> str:
    """The sentence for a file of which a part did not decode."""
    return f"{name}: truncated, at least {max(lost_s, 0.1):.1f} s did not decode; fetch it again."


def path_text(path: Path) -> str:
    """A path as text that any database can hold: bytes that are not UTF-8 become escapes."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Point file descriptor 2 elsewhere: for native libraries that print there and offer no way to be quiet."""
    with _stderr_lock:
        try:
            saved = os.dup(2)
        except OSError:  # a daemon may have closed it
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
