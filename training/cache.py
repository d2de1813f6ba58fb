"""Results that take long, kept on disk for the next run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def built_whole(target: Path) -> Iterator[Path]:
    """A path to make a file or a folder at, which becomes `target` when it is done.

    Never half there. Two processes may build the same: the result of one of them stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as own:
        made = Path(own) / target.name
        yield made
        try:
            made.rename(target)
        except OSError:
            if not target.exists():
                raise
