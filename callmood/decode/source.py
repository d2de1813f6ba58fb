"""What both decoders hand on: blocks of samples, and what the file says about itself."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from callmood.errors import EmptyRecordingError, RecordingError
from callmood.text import printable
from callmood.types import Floats

BLOCK_S = 10.0
_BLOCK_VALUES = 4_000_000
"""Values (frames times channels) that no block exceeds, whatever rate and channels a header claims."""

_RATES_HZ = (1_000, 768_000)


@dataclass
class Source:
    """An opened recording."""

    rate_hz: int
    channels: int
    blocks: Iterator[Floats]
    """Float32, shape (frames, channels), in order."""
    codec: str = "unknown"
    announced_s: float | None = None
    """Duration by the file's own account, where that is not a mere estimate."""
    failed: bool = False
    """The decoder gave up before the end of the file.

    This, `codec` and `announced_s` are final once `blocks` is exhausted.
    """


def block_frames(*, rate_hz: int, channels: int) -> int:
    """How many frames to read at a time: about 10 s, less for very many channels."""
    return max(1, min(int(rate_hz * BLOCK_S), _BLOCK_VALUES // channels))


def check_file(path: Path) -> None:
    """Raise a RecordingError unless `path` is a readable regular file that is not empty.

    Nothing but a regular file is ever opened: opening a FIFO or a device can block for ever.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise RecordingError(f"{printable(path)} is {kind}, not a file: name a recording instead.")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise RecordingError(f"{printable(path)} does not exist: check the path.") from None
    except PermissionError:
        raise RecordingError(
            f"{printable(path)} cannot be opened: grant read permission on it (and its folder)."
        ) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise RecordingError(f"{printable(path)} cannot be opened ({reason}): check the path.") from None
    if status.st_size == 0:
        raise empty(path)


def check_format(path: Path, *, rate_hz: int, channels: int) -> None:
    """Raise a RecordingError where a header claims a rate or a number of channels that no call has."""
    low_hz, high_hz = _RATES_HZ
    if not low_hz <= rate_hz <= high_hz or channels < 1:
        raise RecordingError(
            f"{printable(path)} claims {rate_hz} Hz and {channels} channels, so its header is damaged "
            f"(rates of {low_hz} to {high_hz} Hz are read): export it again from where it was recorded."
        )


def empty(path: Path) -> EmptyRecordingError:
    """The error for a recording without samples."""
    return EmptyRecordingError(
        f"{printable(path)} holds no audio samples: copy or export it again from where it was recorded."
    )
