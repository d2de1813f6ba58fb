"""Finds the recordings under the given directories, files and globs; opens nothing but regular files."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from callmood.discover.notices import Notices
from callmood.discover.sniff import HEAD_BYTES, has_audio_extension, is_audio_content
from callmood.errors import UsageError
from callmood.remote import RemotePath, check_url, is_url, list_files
from callmood.text import printable

_MAGIC = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the inputs hold."""

    audio: Mapping[Path, Path]
    """Each recording's path, sorted, by its canonical path (`canonical`)."""
    skipped: tuple[Path, ...]
    """Neither an audio extension nor audio content, sorted."""
    roots: tuple[Path, ...]
    """The directories that the inputs name, in their order."""


def find(inputs: Sequence[str | Path], *, exclude: Collection[Path], notices: Notices) -> Found:
    """Every recording under `inputs`, each once; the files of `exclude` are never opened.

    Paths in the answer are absolute: the real path of the given directory, then the names as they were found; those
    of files elsewhere are their URLs.
    Raises UsageError for an input that does not exist or a glob that matches nothing.
    """
    never = {_identity(info) for path in exclude if (info := _stat(path))}
    audio: dict[Path, Path] = {}
    skipped: set[Path] = set()
    roots: dict[Path, None] = {}
    for given in inputs:
        if is_url(given):
            folder, listed = list_files(str(given))
            roots[folder] = None
            # A name must do: to read the head of every other file each night would take a request each.
            promising = [path for path in listed if has_audio_extension(path) or str(path) == str(given)]
            audio |= {path: path for path in promising if path not in audio}
            skipped |= set(listed) - set(promising)
            if not promising:
                notices.add("No recording was found in an input, so check the path", str(given))
            continue
        root, starts = _expand(given, notices)
        roots[root] = None
        recordings = 0
        for start in starts:
            for real, path, info in _walk(start, notices):
                if info is not None and _identity(info) in never:
                    continue
                if _is_recording(path, info, notices):
                    audio.setdefault(real, path)
                    recordings += 1
                elif not has_audio_extension(path):
                    skipped.add(path)
        if not recordings and not Path(given).is_file():
            notices.add("No recording was found in an input, so check the path", str(given))
    return Found(
        audio=dict(sorted(audio.items(), key=lambda item: item[1])),
        skipped=tuple(sorted(skipped)),
        roots=tuple(roots),
    )


def check_inputs(inputs: Sequence[str | Path]) -> None:
    """Raises UsageError for an input that does not exist or a glob that matches nothing."""
    notices = Notices()
    for given in inputs:
        if is_url(given):
            check_url(str(given))
        else:
            _expand(given, notices)


def canonical(path: Path) -> Path:
    """The real directory of a file and its own name: equal for all ways to reach one directory entry."""
    if isinstance(path, RemotePath):
        return path
    return Path(os.path.realpath(path.parent)) / path.name


def _expand(given: str | Path, notices: Notices) -> tuple[Path, list[Path]]:
    """The directory that an input names, and the files and directories to walk."""
    path = Path(given)
    info = _stat(path) if str(given) else None
    if info is not None and stat.S_ISDIR(info.st_mode):
        return path.resolve(), [path.resolve()]
    if info is not None:
        return canonical(path).parent, [canonical(path)]
    literal = next((i for i, part in enumerate(path.parts) if _MAGIC & set(part)), None)
    if literal is None:
        raise UsageError(
            f"The input '{printable(given)}' does not exist: give a directory, a file or a glob that does."
        )
    base = Path(*path.parts[:literal]).resolve()
    # A set, since two `**` in one glob reach the same entry twice.
    matches = sorted(set(_glob(base, path.parts[literal:], notices)))
    if not matches:
        raise UsageError(
            f"The glob '{printable(given)}' matches nothing: check it, and quote it to keep the shell off."
        )
    return base, matches


def _glob(base: Path, parts: Sequence[str], notices: Notices) -> Iterator[Path]:
    """Like `glob.glob(recursive=True)`, which however follows a loop of symlinks 40 levels deep."""
    if not parts:
        yield base
    elif parts[0] == "**":
        for directory in _directories(base, notices):
            yield from _glob(directory, parts[1:], notices)
    elif not _MAGIC & set(parts[0]):
        if _stat(base / parts[0]):
            yield from _glob(base / parts[0], parts[1:], notices)
    elif base.is_dir():
        for name in _names(base, notices, hidden=parts[0].startswith(".")):
            if fnmatchcase(name, parts[0]):
                yield from _glob(base / name, parts[1:], notices)


def _directories(base: Path, notices: Notices) -> Iterator[Path]:
    """`base` and all directories below it that are not hidden, each once."""
    visited: set[tuple[int, int]] = set()
    pending = [base]
    while pending:
        path = pending.pop()
        info = _stat(path)
        if info is None or not stat.S_ISDIR(info.st_mode) or _identity(info) in visited:
            continue
        visited.add(_identity(info))
        yield path
        pending.extend(path / name for name in _names(path, notices))


def _walk(start: Path, notices: Notices) -> Iterator[tuple[Path, Path, os.stat_result | None]]:
    """Everything at or below `start` that is no directory: canonical path, path, and stat if it answers."""
    visited: set[tuple[int, int]] = set()
    pending = [(start, start)]
    while pending:
        real, path = pending.pop()
        info = _stat(path)
        if info is None or not stat.S_ISDIR(info.st_mode):
            yield real, path, info
        elif _identity(info) not in visited:
            visited.add(_identity(info))
            directory = Path(os.path.realpath(path))
            names = _names(path, notices)
            pending.extend((directory / name, path / name) for name in reversed(names))


def _names(directory: Path, notices: Notices, *, hidden: bool = False) -> list[str]:
    """The names in a directory, sorted; hidden ones only if asked for."""
    try:
        names = [entry.name for entry in directory.iterdir()]
    except OSError:
        notices.add("A directory cannot be listed and was left out, so check its permissions", directory)
        return []
    return sorted(name for name in names if hidden or not name.startswith("."))


def _is_recording(path: Path, info: os.stat_result | None, notices: Notices) -> bool:
    """Whether a path that is no directory gets a row; a broken link does if its name promises audio."""
    named = has_audio_extension(path)
    if info is not None and not stat.S_ISREG(info.st_mode):
        if named:
            notices.add(
                "A pipe, socket or device with the name of a recording was left out, so save it as a file",
                path,
            )
        return False
    if named or info is None:
        return named
    try:
        with path.open("rb") as file:
            return is_audio_content(file.read(HEAD_BYTES))
    except OSError:
        notices.add("A file cannot be read and was left out, so check its permissions", path)
        return False


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino
