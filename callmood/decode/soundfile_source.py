"""Reading what libsndfile knows: WAV, FLAC, Ogg, MP3 and others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from callmood.decode.source import Source, block_frames, check_format
from callmood.text import quiet_stderr
from callmood.types import Floats

_UNKNOWN_FRAMES = 2**62
"""libsndfile gives SF_COUNT_MAX where a header leaves the length open."""


@contextmanager
def open_soundfile(path: Path) -> Iterator[Source | None]:
    """Open a recording with libsndfile; None where libsndfile does not read its format.

    Raises RecordingError for a header that makes no sense.
    """
    import soundfile

    # By descriptor: libsndfile then goes by content alone, and any file name will do.
    with path.open("rb") as file:
        try:
            with quiet_stderr():
                handle = soundfile.SoundFile(file.fileno(), mode="r", closefd=False)
        except (soundfile.LibsndfileError, ValueError):
            yield None
            return
        with handle:
            check_format(path, rate_hz=handle.samplerate, channels=handle.channels)
            source = Source(
                rate_hz=handle.samplerate, channels=handle.channels, blocks=iter(()), codec=handle.subtype
            )
            # The length of an MP3 may be an estimate: losses.py counts its frames instead.
            if handle.format != "MP3" and 0 < handle.frames < _UNKNOWN_FRAMES:
                source.announced_s = handle.frames / handle.samplerate
            source.blocks = _blocks(handle, source)
            yield source


def _blocks(handle: Any, source: Source) -> Iterator[Floats]:
    import soundfile

    frames = block_frames(rate_hz=source.rate_hz, channels=source.channels)
    # Only libmpg123 talks, so other formats leave the process's stderr alone.
    hush = quiet_stderr if handle.format == "MP3" or "MPEG" in handle.subtype else nullcontext
    while True:
        try:
            with hush():
                block: Floats = handle.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            source.failed = True
            return
        if not len(block):
            return
        yield block
