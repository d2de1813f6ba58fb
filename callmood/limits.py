"""Time and memory that one recording may take, and workers that do not outlive their parent."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from callmood.errors import UsageError

GRACE_S = 30.0
"""How long native code may go on after a limit before the process is ended from outside of Python."""
_LOOK_EVERY_S = 0.1
_PARENT_EVERY_S = 1.0
_MIB = 1 << 20
_STATUS = Path("/proc/self/status")


class LimitExceeded(BaseException):
    """Raised inside `limited` when a limit is reached; no `except Exception` on the way takes it for its own."""


def private_memory_bytes() -> int:
    """Memory of this process that no file backs (pages of mapped files can be dropped, so they do not count)."""
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def check_memory_limit(limit_mib: int) -> None:
    """Raises UsageError where a memory limit is asked for and the system does not tell a process's memory."""
    if limit_mib and not _STATUS.exists():
        raise UsageError("max_memory_per_worker needs /proc, which this system lacks; set it to 0.")


@contextmanager
def limited(*, max_s: float, max_memory_mib: int) -> Iterator[None]:
    """Raise LimitExceeded inside the block once it has taken too long or the process holds too much memory.

    0 means no limit. To be used in the main thread. Native code that does not return to Python within `GRACE_S`
    ends the process.
    """
    if not max_s and not max_memory_mib:
        yield
        return
    over: list[str] = []
    done = threading.Event()
    main = threading.get_ident()

    def interrupt(*_: object) -> None:
        if over and not done.is_set():
            raise LimitExceeded(over[0])

    def look() -> None:
        started_s = time.monotonic()
        while not done.wait(_LOOK_EVERY_S):
            if max_s and time.monotonic() - started_s > max_s:
                over.append(f"took longer than {max_s:g} s (--max-seconds-per-call)")
            elif max_memory_mib and private_memory_bytes() > max_memory_mib * _MIB:
                over.append(f"needed more than {max_memory_mib} MiB (--max-memory-per-worker)")
            if over:
                signal.pthread_kill(main, signal.SIGALRM)
                # A thread of C: it works while native code holds the interpreter's lock.
                faulthandler.dump_traceback_later(GRACE_S, exit=True, file=nowhere)
                return

    before = signal.signal(signal.SIGALRM, interrupt)
    with Path(os.devnull).open("w") as nowhere:
        # The watcher needs the lock too, so this also stands for a block that never lets go of it.
        if max_s:
            faulthandler.dump_traceback_later(max_s + GRACE_S, exit=True, file=nowhere)
        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, before)


def end_with_parent(parent: int) -> None:
    """End this process soon after `parent` has gone, so that a killed run leaves no workers behind."""

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_EVERY_S)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def limit_child(pid: int, *, cpu_s: int, memory_bytes: int) -> None:
    """Limit a child process that just started; it may open few files and write none."""
    import resource

    if not hasattr(resource, "prlimit"):
        return
    with suppress(OSError):  # it may have ended by now
        for kind, limit in (
            (resource.RLIMIT_CPU, cpu_s),
            (resource.RLIMIT_AS, memory_bytes),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.prlimit(pid, kind, (limit, limit))
