"""One run at a time: a lock file, as the program `flock` and other jobs of the night use it.

The lock of the database keeps two runs from one database all by itself. A lock file is for what DuckDB knows nothing
of: the job that copies recordings in, the backup of the database, a run on another database of the same machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from callmood.errors import LockedError, UsageError
from callmood.text import printable

_RETRY_S = 0.5
_LOCKS = Path("/proc/locks")


@contextmanager
def held(name: str | None, *, wait_s: float, give_up: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock file of that name (None: none) inside the block; it is made where there is none, and stays.

    Another holder is waited for `wait_s` seconds, or until `give_up`. The lock ends with this process, however that
    ends.

    Raises
    ------
    LockedError
        Another process holds it.
    UsageError
        The file cannot be opened, or this system has no such locks.
    """
    if name is None:
        yield
        return
    path = Path(name)
    try:
        # To append, so that a file of that name which is something else stays what it is.
        file = path.open("ab")
    except OSError as error:
        raise UsageError(
            f"{printable(path)}: cannot be opened as a lock file ({error.strerror or error}); name another file."
        ) from error
    with file:
        until_s = time.monotonic() + wait_s
        while not _taken(file, path):
            left_s = until_s - time.monotonic()
            if left_s <= 0 or give_up():
                raise LockedError(
                    f"{printable(path)}: locked by another process ({_holder(file)}); try again when it has finished, "
                    "or let --wait SECONDS wait for it."
                )
            time.sleep(min(_RETRY_S, left_s))
        yield


def _taken(file: IO[bytes], path: Path) -> bool:
    try:
        import fcntl
    except ImportError as error:
        raise UsageError(f"{printable(path)}: this system has no such locks; leave --lock out.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[bytes]) -> str:
    """Number and name of the process that holds the lock, as far as the system tells."""
    state = os.fstat(file.fileno())
    place = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    try:
        # "1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF"
        fields = [line.split() for line in _LOCKS.read_text(encoding="ascii").splitlines()]
        pid = next(words[4] for words in fields if words[1] == "FLOCK" and words[5] == place)
    except (OSError, StopIteration, IndexError):
        return "its process id is unknown"
    try:
        return f"PID {pid}, {printable(Path('/proc', pid, 'comm').read_text(encoding='utf-8').strip())}"
    except (OSError, ValueError):
        return f"PID {pid}"
