"""Writing files that readers may open at any moment: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from callmood.errors import UsageError


def replace_file(path: Path, content: str | bytes) -> None:
    """Put a file in its place in one step: a reader has the old or the new one, never a part.

    Raises OSError, and then leaves what was there.
    """
    with in_place_of(path) as half:
        half.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what lies there at the end takes the place of `path` in one step."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield half
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UsageError:
    """The error for a file that a user asked for and that cannot be written."""
    return UsageError(f"{path}: cannot be written ({error.strerror or error}); name another file.")
