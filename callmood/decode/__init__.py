"""Decode: any recording to canonical audio, float32, one or two channels, at one rate.

libsndfile reads what it can, ffmpeg the rest, both in blocks, so that memory does not grow with length but
for the canonical samples themselves.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from callmood.decode.canonical import Canonicalizer, Rows
from callmood.decode.ffmpeg_source import find_ffmpeg, open_ffmpeg, raw_options
from callmood.decode.losses import continues, lost_s
from callmood.decode.soundfile_source import open_soundfile
from callmood.decode.source import Source, check_file, empty
from callmood.errors import ReadFailedError, RecordingError
from callmood.text import printable
from callmood.types import Audio, Recording

__all__ = ["decode", "decode_file", "find_ffmpeg"]

_GAIN_S = 0.1
"""How much more of a damaged file the second decoder must read to be preferred."""


def decode(recording: Recording, *, rate_hz: int) -> Audio:
    """Canonical audio of a recording; two legs become the two channels, the shorter padded with silence.

    Raises EmptyRecordingError where there are no samples, RecordingError where nothing decodes.
    """
    if len(recording.legs) == 1:
        return decode_file(recording.path, rate_hz=rate_hz)
    if len(recording.legs) != 2:
        raise RecordingError(
            f"{printable(recording.path)} is one of {len(recording.legs)} legs of one call, and two are the "
            "most: correct the rows of the metadata that share its call_id."
        )
    legs = [decode_file(leg.path, rate_hz=rate_hz) for leg in recording.legs]
    rows = Rows(2, rate_hz=rate_hz)
    length = max(leg.samples.shape[1] for leg in legs)
    step = 60 * rate_hz
    for start in range(0, length, step):
        block = np.zeros((2, min(step, length - start)), dtype=np.float32)
        for row, leg in zip(block, legs, strict=True):
            part = leg.samples[:, start : start + step]
            row[: part.shape[1]] = part.mean(axis=0)
        rows.append(block)
    return Audio(
        samples=rows.finish(),
        rate_hz=rate_hz,
        source_rate_hz=legs[0].source_rate_hz,
        source_channels=legs[0].source_channels,
        codec=legs[0].codec,
        lost_s=max(leg.lost_s for leg in legs),
    )


def decode_file(path: Path | str, *, rate_hz: int) -> Audio:
    """Canonical audio of one file.

    Two channels that are the same signal, whatever their gains, come out as one; three and more are mixed.
    What of a damaged file decodes is returned, with the seconds missing in `lost_s`. Raises
    EmptyRecordingError where there are no samples, ReadFailedError where the system fails to read it, RecordingError where
    nothing decodes.
    """
    path = Path(path)
    check_file(path)
    try:
        first, whole = None, False
        if not raw_options(path):
            first, whole = _attempt(path, open_soundfile(path), rate_hz=rate_hz)
        if first is not None and whole and not continues(path, codec=first.codec):
            return first
        # Of a damaged file, or one of several streams, libsndfile may read less than ffmpeg does.
        try:
            second, _ = _attempt(path, open_ffmpeg(path), rate_hz=rate_hz)
        except RecordingError:
            if first is None:
                raise
            second = None
    except OSError as error:
        raise ReadFailedError(
            f"{printable(path)} could not be read to its end ({error.strerror or error}): check the disk "
            "and the room for temporary files (TMPDIR), then run `callmood retry`."
        ) from error
    audio = first or second
    if first is not None and second is not None and second.duration_s - first.duration_s > _GAIN_S:
        audio = second
    if audio is None or not audio.samples.shape[1]:
        raise empty(path)
    return audio


def _attempt(
    path: Path, opened: AbstractContextManager[Source | None], *, rate_hz: int
) -> tuple[Audio | None, bool]:
    """What one decoder makes of a file (None where it does not know the format), and whether that is all."""
    with opened as source:
        if source is None:
            return None, False
        canonicalizer = Canonicalizer(source, rate_hz=rate_hz)
        for block in source.blocks:
            canonicalizer.add(block)
        if canonicalizer.frames and not canonicalizer.any_finite:
            raise RecordingError(
                f"{printable(path)} holds nothing but NaN or infinite samples: "
                "export it again from where it was recorded."
            )
        missing_s = lost_s(
            path,
            codec=source.codec,
            rate_hz=source.rate_hz,
            decoded_s=canonicalizer.frames / source.rate_hz,
            announced_s=source.announced_s,
        )
        audio = Audio(
            samples=canonicalizer.finish(),
            rate_hz=rate_hz,
            source_rate_hz=source.rate_hz,
            source_channels=source.channels,
            codec=source.codec,
            lost_s=missing_s,
        )
    return audio, bool(audio.samples.shape[1]) and not missing_s and not source.failed
