"""Files that somebody is still writing: their turn comes in the next run.

A file is being written where its size or time of change differ between two looks, or where a process of this
machine holds it open for writing (as far as /proc shows: the processes of the same user, all of them to root).
That it was changed a short while ago is no reason, only an occasion to look twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from callmood.remote import RemotePath

RECENT_S = 60.0
"""A file changed within this time, by the clock, is looked at again"""
APART_S = 1.0
"""after this time: a recorder of telephone speech writes a buffer of 4096 bytes every half second."""

_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a file looks like from outside."""

    size_bytes: int
    modified_ns: int
    inode: int


def look(path: Path) -> Look | None:
    """A look at a file; None where it cannot be had."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return Look(size_bytes=state.st_size, modified_ns=state.st_mtime_ns, inode=state.st_ino)


class Looks:
    """The first look at each file, taken before its content is read."""

    def __init__(self, content_hash: Callable[[Path], str]) -> None:
        """`content_hash`: of a file; see `callmood.discover.discover`."""
        self._content_hash = content_hash
        self._first: dict[Path, Look | None] = {}

    def hash(self, path: Path) -> str:
        """The content hash of a file that is looked at first."""
        if not isinstance(path, RemotePath):  # what fetches that looks whether it is the same
            self._first[path] = look(path)
        return self._content_hash(path)

    def changed(self, path: Path) -> bool:
        """Whether a file looks otherwise than at first; False for one that was not looked at."""
        return path in self._first and look(path) != self._first[path]

    def unsettled(
        self,
        paths: Collection[Path],
        *,
        now_s: float,
        pause: Callable[[float], None] = time.sleep,
        proc: Path = Path("/proc"),
    ) -> set[Path]:
        """Those of some files that are being written; takes `APART_S` where one was changed recently.

        `now_s` is the time by the clock that dates files, in seconds since 1970.
        """
        first: Mapping[Path, Look] = {
            path: found for path in paths if (found := self._first.get(path)) is not None
        }
        if any(now_s - found.modified_ns / 1e9 < RECENT_S for found in first.values()):
            pause(APART_S)
        written = open_for_writing(first, proc=proc) if first else set()
        return {path for path in first if path in written or self.changed(path)}


def open_for_writing(paths: Collection[Path], *, proc: Path = Path("/proc")) -> set[Path]:
    """Those of some files that a process holds open for writing, as far as this user may know."""
    wanted: dict[tuple[int, int], list[Path]] = {}
    for path in paths:
        try:
            state = path.stat()
        except OSError:
            continue
        wanted.setdefault((state.st_dev, state.st_ino), []).append(path)
    found: set[Path] = set()
    for descriptor in proc.glob("[0-9]*/fd/*"):
        try:
            # Descriptors of pipes and sockets have no path: cheaper to tell than their state.
            if not str(descriptor.readlink()).startswith("/"):
                continue
            state = descriptor.stat()
            members = wanted.get((state.st_dev, state.st_ino))
            if members and _writes(descriptor):
                found.update(members)
        except OSError:  # closed meanwhile, or not ours to see
            continue
    return found


def _writes(descriptor: Path) -> bool:
    info = descriptor.parent.parent / "fdinfo" / descriptor.name
    for line in info.read_text(encoding="ascii").splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & _ACCESS != os.O_RDONLY
    return False
