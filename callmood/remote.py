"""Recordings that lie elsewhere, named by a URL that fsspec understands: s3://, gs://, az://, https://.

Nothing is asked of the network but what such a URL, given by the user, says. Credentials come from where the protocol's
own package takes them (environment, configuration files, roles of the machine); a URL that carries some is refused, as
it would be kept with the results.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from callmood.errors import ReadFailedError, UsageError
from callmood.text import printable
from callmood.types import CallResult, Recording

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)
_MAGIC = re.compile(r"[*?\[]")
_EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "https": "https"}
"""What to install for a protocol: the extra of callmood."""
_WEB = ("http", "https")
"""Elsewhere a question mark is a glob's, or a name's, and what stands before an @ names a container."""
_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "created")
_TAGS = ("ETag", "etag", "md5Hash")
_BLOCK_BYTES = 8 << 20


def is_url(text: object) -> bool:
    """Whether an input names something elsewhere."""
    return _URL.match(str(text)) is not None


def as_path(text: str) -> Path:
    """The path that a text, as a database keeps it, stands for."""
    return RemotePath(text) if is_url(text) else Path(text)


class RemotePath(PosixPath):
    """The place of a file elsewhere, as the stages between discover and store handle paths.

    Its text is the URL. Files elsewhere are asked about only where they are listed or read, so `exists` and `is_file`
    take them to be there.

    >>> path = RemotePath("s3://calls/2026/susan_0417.wav")
    >>> str(path), path.stem, str(path.parent)
    ('s3://calls/2026/susan_0417.wav', 'susan_0417', 's3://calls/2026')
    """

    state: os.stat_result | None = None
    """What the listing said of it."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def exists(self, **_: Any) -> bool:
        return True

    def is_file(self, **_: Any) -> bool:
        return True

    def resolve(self, strict: bool = False) -> RemotePath:
        return self

    def absolute(self) -> RemotePath:
        return self

    def stat(self, **_: Any) -> os.stat_result:
        """Size and time of change. Where the store gives a tag of the content (ETag), the time's part below a second
        stands for that."""
        if self.state is not None:
            return self.state
        files, path = filesystem(str(self))
        with as_os_error(str(self)):
            return _state(files.info(path))

    def open(self, *_: Any, **__: Any) -> IO[Any]:  # type: ignore[override]
        """The content, to be read as bytes."""
        files, path = filesystem(str(self))
        with as_os_error(str(self)):
            opened: IO[Any] = files.open(path, "rb", block_size=_BLOCK_BYTES)
            return opened


def check_url(url: str) -> None:
    """Raises UsageError for a URL that carries credentials, whose protocol is not installed, or where nothing is."""
    files, path = filesystem(url)
    try:
        there = bool(_MAGIC.search(path)) or files.exists(path)
    except Exception as error:
        raise UsageError(
            f"{printable(url)} cannot be reached ({why(error)}): check it and the credentials."
        ) from error
    if not there:
        raise UsageError(
            f"The input '{printable(url)}' does not exist: give a folder, a file or a glob that does."
        )


def list_files(url: str) -> tuple[RemotePath, list[RemotePath]]:
    """The folder that a URL names, and the files below it, or that match it, or itself; sorted.

    Raises UsageError where it cannot be listed, or a glob matches nothing.
    """
    files, path = filesystem(url)
    magic = _MAGIC.search(path)
    try:
        if magic:
            found = files.glob(path, detail=True)
        elif url.startswith("https:"):  # servers list no folders
            found = {path: files.info(path)}
        else:
            found = files.find(path, detail=True)
    except Exception as error:
        raise UsageError(
            f"{printable(url)} cannot be listed ({why(error)}): check it and the credentials."
        ) from error
    if magic and not found:
        raise UsageError(
            f"The glob '{printable(url)}' matches nothing: check it, and quote it to keep the shell off."
        )
    # Of the listing's own names only the end is taken: some drop the protocol, some the host.
    known = path[: magic.start()] if magic else path.rstrip("/")
    given = url[: url.index(path[magic.start() :])] if magic else url.rstrip("/")
    listed = [
        _listed(given + name[len(known) :], info)
        for name, info in found.items()
        if info.get("type") != "directory"
    ]
    folder = given.rpartition("/")[0] if magic or [str(path) for path in listed] == [given] else given
    return RemotePath(folder), sorted(filter(None, listed))


def _listed(url: str, info: Any) -> RemotePath | None:
    path = RemotePath(url)
    if str(path) != url:  # a key with `//` or `.` in it, which no path can say
        return None
    path.state = _state(info)
    return path


def _state(info: Any) -> os.stat_result:
    modified = next((info[name] for name in _MODIFIED if info.get(name)), 0)
    if isinstance(modified, str):
        modified = datetime.fromisoformat(modified)
    seconds = int(modified.timestamp() if isinstance(modified, datetime) else modified)
    tag = next((str(info[name]) for name in _TAGS if info.get(name)), "")
    below = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8]) % 10**9 if tag else 0
    size = int(info.get("size") or 0)
    values = (0o100444, 0, 0, 1, 0, 0, size, seconds, seconds, seconds)
    nanoseconds = seconds * 10**9 + below
    times = dict.fromkeys(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), nanoseconds)
    return os.stat_result(values, times)


@contextmanager
def at_hand(recording: Recording) -> Iterator[Recording]:
    """The recording, with files that lie elsewhere copied to a temporary folder inside the block.

    Raises ReadFailedError where one cannot be fetched, or is not what it was when it was found.
    """
    if not any(isinstance(leg.path, RemotePath) for leg in recording.legs):
        yield recording
        return
    with ExitStack() as stack:
        legs = []
        for leg in recording.legs:
            path = leg.path
            if isinstance(path, RemotePath):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="callmood-"))
                path = Path(folder, path.name)
                _fetch(leg.path, path, content_hash=leg.content_hash if leg.has_content else "")
            legs.append(replace(leg, path=path))
        yield replace(recording, legs=tuple(legs))


def _fetch(source: Path, target: Path, *, content_hash: str) -> None:
    name = printable(source)
    try:
        files, path = filesystem(str(source))
        files.get_file(path, str(target))
    except Exception as error:
        raise ReadFailedError(
            f"{name} could not be fetched ({why(error)}): check the network and the credentials of the worker, then run "
            "`callmood retry`."
        ) from error
    if content_hash:
        with target.open("rb") as file:
            fetched = hashlib.file_digest(file, "sha256").hexdigest()
        if fetched != content_hash:
            raise ReadFailedError(
                f"{name} changed while it waited for its turn; run `callmood analyze` again."
            )


def as_named(result: CallResult, local: Recording, recording: Recording) -> CallResult:
    """The result of a recording that was `at_hand`, with the names of the recording as it was given."""
    error = result.error
    for here, there in zip(local.legs, recording.legs, strict=True):
        error = error and error.replace(printable(here.path), printable(there.path))
    return replace(result, recording=recording, error=error)


def filesystem(url: str) -> tuple[Any, str]:
    """What reads a URL, and the path of it there.

    Raises UsageError.
    """
    parts = urlsplit(url)
    web = parts.scheme in _WEB
    if parts.password or (web and (parts.username or parts.query)):
        shown = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise UsageError(
            f"{printable(shown)}: the URL carries a password or a query, or a user's name, which would be kept with the results; leave "
            "credentials to the environment."
        )
    if parts.scheme in ("sftp", "ssh"):  # fsspec takes any host's key there
        raise UsageError(
            f"{printable(url)}: {parts.scheme}:// is not supported; mount the folder (sshfs, say) and name it by its path."
        )
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        extra = _EXTRAS.get(parts.scheme)
        way = (
            f'pip install "callmood[{extra}]"'
            if extra
            else f"install what fsspec needs for {parts.scheme}://"
        )
        raise UsageError(f"{printable(url)}: {parts.scheme}:// is not installed; {way}.") from error
    except Exception as error:
        raise UsageError(f"{printable(url)} cannot be opened ({why(error)}): check it.") from error
    return files, str(path)


@contextmanager
def as_os_error(url: str) -> Iterator[None]:
    """Whatever a protocol's package raises, as the OSError that a local file would raise."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{printable(url)}: {why(error)}") from error


def why(error: Exception) -> str:
    """What went wrong, in one line: the packages of the protocols raise errors of many kinds."""
    reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0] or "no reason given"
    return printable(f"{type(error).__name__}: {reason}")
