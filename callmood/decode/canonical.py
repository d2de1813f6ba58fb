"""From blocks of any rate and any number of channels to the canonical form."""

from __future__ import annotations

import mmap
import shutil
import tempfile
import threading
import time
import weakref
from typing import IO

import numpy as np
from numpy.typing import NDArray

from callmood.decode.source import Source
from callmood.types import Floats

MEMORY_S = 30 * 60
"""Longer recordings lie in an unlinked temporary file instead of memory."""

_LET_GO_EVERY_S = 0.02

SAME_CONTENT_CORRELATION = 0.9
"""Two channels whose `same_content_correlation` is at least this are one."""

_FRAME_S = 0.5
_ACTIVE_SHARE = 1e-2
"""A frame is active where it is within 20 dB of its channel's 95th percentile."""

_COMPARED_HZ = 2_000
"""Rate at which channels are compared: lossy joint stereo keeps the phase of low frequencies only."""

_MAX_GAIN = 30.0
"""Channels whose levels differ by more (29.5 dB) are a leg and its crosstalk, not one panned mix."""


class Rows:
    """One or two channels that grow block by block; in memory while short, then in a temporary file."""

    def __init__(self, channels: int, *, rate_hz: int) -> None:
        self._limit = MEMORY_S * rate_hz
        # Byte arrays grow in place, where a list of blocks would need as much again to be joined.
        self._memory = [bytearray() for _ in range(channels)]
        self._files: list[IO[bytes]] = []
        self.length = 0

    def append(self, block: Floats) -> None:
        """Add samples, shape (channels, n)."""
        self.length += block.shape[1]
        for memory, row in zip(self._memory, block, strict=True):
            memory += row.tobytes()
        if self.length > self._limit:
            # Without a name, the files vanish with the process, even with one that is killed.
            self._files = self._files or [tempfile.TemporaryFile() for _ in self._memory]  # noqa: SIM115
            for memory, file in zip(self._memory, self._files, strict=True):
                file.write(memory)
                memory.clear()

    def finish(self, *, only: int | None = None) -> Floats:
        """All samples, or those of row `only`, shape (channels, length); the rows are spent."""
        keep = range(len(self._memory)) if only is None else (only,)
        shape = (len(keep), self.length)
        if not self._files:
            joined, *others = (self._memory[index] for index in keep)
            for memory in others:
                joined += memory
                memory.clear()
            return np.frombuffer(joined, dtype=np.float32).reshape(shape)
        first, *rest = (self._files[index] for index in keep)
        for file in rest:
            file.seek(0)
            shutil.copyfileobj(file, first, 1 << 20)
        first.flush()
        mapped = mmap.mmap(first.fileno(), 0)
        for file in self._files:
            file.close()
        _keep_out_of_memory(mapped)
        return np.frombuffer(mapped, dtype=np.float32).reshape(shape)


def _keep_out_of_memory(mapped: mmap.mmap) -> None:
    """Let go of the pages of a map again and again while it is in use: the file holds them.

    The system would only drop them when memory is short, and until then count them as this process's.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    reference = weakref.ref(mapped)

    def let_go() -> None:
        while (held := reference()) is not None:
            held.madvise(mmap.MADV_DONTNEED)
            del held
            time.sleep(_LET_GO_EVERY_S)

    threading.Thread(target=let_go, daemon=True).start()


class Canonicalizer:
    """Takes a source's blocks; gives float32 samples in [-1, 1], finite, one or two channels, at one rate."""

    def __init__(self, source: Source, *, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._channels = source.channels if source.channels <= 2 else 1
        self._resampler = None
        if source.rate_hz != rate_hz:
            import soxr

            self._resampler = soxr.ResampleStream(
                source.rate_hz, rate_hz, self._channels, dtype="float32", quality="HQ"
            )
        self._rows = Rows(self._channels, rate_hz=rate_hz)
        self._moments: list[NDArray[np.float64]] = []
        self.any_finite = False
        self.frames = 0

    def add(self, block: Floats) -> None:
        """Take the next block, shape (frames, channels), at the source's rate."""
        finite = np.isfinite(block)
        self.any_finite |= bool(finite.any())
        self.frames += len(block)
        block = np.clip(np.where(finite, block, np.float32(0.0)), -1.0, 1.0)
        if block.shape[1] > 2:
            block = block.mean(axis=1, keepdims=True)
        if self._resampler is not None:
            block = self._resampler.resample_chunk(np.ascontiguousarray(block))
        self._store(block)

    def finish(self) -> Floats:
        """The canonical samples, shape (channels, n); call once, at the end."""
        if self._resampler is not None:
            self._store(self._resampler.resample_chunk(np.zeros((0, self._channels), np.float32), last=True))
        only = None
        if self._moments:
            moments = np.concatenate(self._moments)
            if same_content_correlation(moments) >= SAME_CONTENT_CORRELATION:
                only = int(moments[:, 1].sum() > moments[:, 0].sum())  # the louder: less coding noise
        return self._rows.finish(only=only)

    def _store(self, block: Floats) -> None:
        if not len(block):
            return
        rows = np.clip(block, -1.0, 1.0).T  # resampling overshoots
        self._rows.append(rows)
        whole_frame = rows.shape[1] >= _FRAME_S * self._rate_hz
        if self._channels == 2 and (whole_frame or not self._moments):
            self._moments.append(frame_moments(rows, rate_hz=self._rate_hz))


def frame_moments(rows: Floats, *, rate_hz: int) -> NDArray[np.float64]:
    """Per frame of 0.5 s: sums of left², right² and left times right, shape (frames, 3).

    `rows` has shape (2, n). They are taken below 1 kHz and without the frame's mean (8-bit encoders leave an
    offset); samples after the last whole frame are left out, unless there is no other.
    """
    group = min(max(1, rate_hz // _COMPARED_HZ), rows.shape[1])
    length = min(int(_FRAME_S * rate_hz), rows.shape[1]) // group
    frames = rows.shape[1] // (length * group)
    grouped = rows[:, : frames * length * group].reshape(2, frames, length, group)
    # Sums of slices: over an axis this short, numpy's mean takes ten times as long.
    low = sum(grouped[..., place].astype(np.float64) for place in range(group)) / group
    left, right = (x - x.mean(axis=-1, keepdims=True) for x in low)
    return np.stack([(left**2).sum(1), (right**2).sum(1), (left * right).sum(1)], axis=1)


def same_content_correlation(moments: NDArray[np.float64]) -> float:
    """How much two channels are one signal at two gains: 0 (different) to 1 (the same, perhaps inverted).

    The zero-lag correlation over all active frames, each scaled to the same energy. One mix has one ratio of
    gains throughout, hence 1 whatever the gains; joint-stereo coding at the lowest bit rates leaves 0.92 and
    more. Two legs with line echo have one ratio while the one party speaks and its inverse while the other
    does: 0.55 with an undelayed echo of -10 dB, 0.8 with -6 dB, near 0 once it is delayed by some ms; at
    -10 dB a party needs 3 % of the speech to bring it below the threshold of 0.9. `moments` are those of
    `frame_moments`; channels that differ by more than 29.5 dB in level count as different.
    """
    weaker, stronger = sorted(moments[:, :2].sum(axis=0))
    if stronger > _MAX_GAIN**2 * weaker:
        return 0.0
    loud = np.percentile(moments[:, :2], 95, axis=0)
    active = moments[(moments[:, :2] > _ACTIVE_SHARE * loud).any(axis=1)]
    scaled = active / active[:, :2].sum(axis=1, keepdims=True)
    left, right, both = scaled.sum(axis=0)
    power = float(left * right)
    return float(abs(both) / np.sqrt(power)) if power > 0 else 0.0
