"""How much of a recording is missing, by what its headers announce."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from callmood.mpeg import LAYER3_KBPS, LOW_RATE_KBPS, RATES_HZ

_TOLERANCE_S = 0.25
_TOLERANCE_SHARE = 0.001
"""Encoder delay, padding and rounding make containers announce this much more than they hold."""

_STREAMED_BYTES = 0x7FFF0000
"""Programs that cannot know the length of a WAV write 0 or some size near 2 or 4 GiB."""

_OGG_PAGE_S = 60.0
"""No page of audio is longer; a position further ahead is that of a video track, or damage."""


def lost_s(
    path: Path, *, codec: str, rate_hz: int, decoded_s: float, announced_s: float | None = None
) -> float:
    """Seconds that the file announces and that did not decode; 0 where it announces nothing.

    `announced_s` is the container's duration, which counts only where it exceeds what was decoded by more
    than a tolerance. WAV, MP3 and Ogg tell by their own headers, to the byte, frame or page.
    """
    missing_s = 0.0
    if announced_s is not None and announced_s - decoded_s > _TOLERANCE_S + _TOLERANCE_SHARE * announced_s:
        missing_s = announced_s - decoded_s
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] == b"RIFF":
            return max(missing_s, _wav_missing_share(data) * decoded_s)
        if data[:4] == b"OggS":
            page_s = _ogg_end(data) / (48_000 if codec.lower() == "opus" else rate_hz) - decoded_s
            return max(missing_s, page_s) if page_s < _OGG_PAGE_S else missing_s
        if codec in ("MPEG_LAYER_III", "mp3") and data[4:8] != b"ftyp":
            return max(missing_s, _mp3_missing_s(data))
    return missing_s


def continues(path: Path, *, codec: str) -> bool:
    """Whether audio follows the stream that libsndfile takes for all of a file: chained Ogg, joined MP3 files."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] == b"OggS":
            return _ogg_is_chained(data)
        return codec == "MPEG_LAYER_III" and _mp3_continues(data)


def _ogg_is_chained(data: mmap.mmap) -> bool:
    """Whether a page that begins a stream comes after pages that do not."""
    at, begun = 0, False
    while at + 27 <= len(data) and data[at : at + 4] == b"OggS":
        if not data[at + 5] & 2:
            begun = True
        elif begun:
            return True
        segments = data[at + 26]
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    return False


def _mp3_continues(data: mmap.mmap) -> bool:
    """Whether there are more frames than the first one's count says."""
    announced = whole = 0
    for at, length, _ in _mp3_frames(data):
        if not whole and not announced:
            announced = _mp3_announced(data[at : at + length])
            if not announced:
                return False  # libsndfile reads on where there is no count
        else:
            whole += 1
    # Some encoders leave the header frame out of the count, or a frame of padding.
    return whole > announced + 2


def _wav_missing_share(data: mmap.mmap) -> float:
    """Bytes that the data chunk lacks, as a share of those that it has."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            present = len(data) - at
            missing = size - present if size < _STREAMED_BYTES else 0
            return max(0.0, missing / present) if present else 0.0
        at += size + size % 2
    return 0.0


def _ogg_end(data: mmap.mmap) -> int:
    """Last sample that a cut last page would have held; 0 where the last page is whole."""
    at = data.rfind(b"OggS")
    if at + 27 > len(data):
        return 0
    (granule,) = struct.unpack_from("<q", data, at + 6)
    segments = data[at + 26]
    end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
    return max(0, granule) if end > len(data) else 0


def _mp3_missing_s(data: mmap.mmap) -> float:
    """Duration of the MP3 frames that a Xing, Info or VBRI header counts and the file lacks.

    Without such a header: of the last frame, where the file ends inside it.
    """
    announced = whole = cut = 0
    frame_s = 0.0
    for at, length, duration_s in _mp3_frames(data):
        frame_s = duration_s
        if not whole and not announced and (announced := _mp3_announced(data[at : at + length])):
            continue  # this frame only carries the count
        if at + length > len(data):
            cut = 1
        else:
            whole += 1
    missing = announced - whole
    # Some encoders count the header frame as well.
    return frame_s * (missing if missing > 1 else cut)


def _mp3_frames(data: mmap.mmap) -> Iterator[tuple[int, int, float]]:
    """Start, length in bytes and duration in seconds of each frame, the last perhaps cut."""
    at = 0
    while data[at : at + 3] == b"ID3":
        size = data[at + 6 : at + 10]
        at += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
    synced = False
    while at + 4 <= len(data):
        frame = _mp3_frame(data[at : at + 4])
        if frame is not None and not synced:
            after = at + frame[0]
            # A header by chance is seldom followed by another.
            frame = frame if after + 4 > len(data) or _mp3_frame(data[after : after + 4]) else None
        if frame is None:
            synced = False
            at = data.find(b"\xff", at + 1)
            if at < 0:
                return
            continue
        synced = True
        yield at, *frame
        at += frame[0]


def _mp3_frame(header: bytes) -> tuple[int, float] | None:
    """Length in bytes and duration in seconds of the layer III frame that this header begins."""
    if header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    rate_hz = RATES_HZ[version][rate]
    kbps = (LAYER3_KBPS if version == 3 else LOW_RATE_KBPS)[bitrate - 1]
    samples = 1152 if version == 3 else 576
    return samples // 8 * kbps * 1000 // rate_hz + (header[2] >> 1 & 1), samples / rate_hz


def _mp3_announced(frame: bytes) -> int:
    """Frames that the file has by the count in its first frame; 0 where there is none."""
    for tag in (b"Xing", b"Info"):
        at = frame.find(tag, 0, 64)
        if at >= 0 and len(frame) >= at + 12:
            flags, frames = struct.unpack_from(">II", frame, at + 4)
            return int(frames) if flags & 1 else 0
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return int(struct.unpack_from(">I", frame, 50)[0])
    return 0
