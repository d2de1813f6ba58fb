"""Bytes of a stream, in pieces of any size, to samples.

A stream is WAV or raw PCM (16 bit, little-endian). Before either, a client may tell what its stream holds in a line of
its own: the word `callmood`, a space and a JSON object with any of `rate_hz`, `channels`, `agent_channel`, `party` and
`call_id`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.errors import RecordingError
from callmood.types import Floats, Role

GREETING = b"callmood "
_GREETING_LIMIT = 4096
"""Bytes, the newline included."""
_HEADER_LIMIT = 1 << 20
"""Bytes before the samples of a WAV stream: more is no header."""
_RATES_HZ = (1_000, 192_000)
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""What a writer that cannot seek back leaves as the size of the samples."""
_BLOCK_S = 0.1
"""Resampled at a time, however the bytes come, so that their pieces leave no trace in the samples."""
_FOREIGN = {
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"ID3": "MP3",
    b"\x1aE\xdf\xa3": "WebM or Matroska",
    b"#!AMR": "AMR",
    b"RIFX": "big-endian WAV",
}
"""First bytes of formats that are no PCM."""
_ENCODINGS = {
    (1, 8): "u8",
    (1, 16): "s16",
    (1, 24): "s24",
    (1, 32): "s32",
    (3, 32): "f32",
    (3, 64): "f64",
    (6, 8): "alaw",
    (7, 8): "ulaw",
}
"""Of a WAV stream, by format tag and bits."""
_WIDTHS = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8, "alaw": 1, "ulaw": 1}
"""Bytes of a sample."""


@dataclass(frozen=True, kw_only=True)
class StreamFormat:
    """What a stream holds."""

    rate_hz: int = 8000
    channels: int = 1
    encoding: str = "s16"
    agent_channel: int | None = None
    """0 (left) or 1 (right): the channel of a two-channel stream that the agent speaks on."""
    party: Role | None = None
    """Who speaks in a one-channel stream, where it is one party alone."""
    call_id: str | None = None

    def __post_init__(self) -> None:
        low_hz, high_hz = _RATES_HZ
        if not low_hz <= self.rate_hz <= high_hz:
            raise RecordingError(
                f"a stream of {self.rate_hz} Hz cannot be heard; send {low_hz} to {high_hz} Hz."
            )
        if self.channels not in (1, 2):
            raise RecordingError(f"a stream of {self.channels} channels cannot be heard; send one or two.")
        if self.agent_channel not in (None, 0, 1):
            raise RecordingError(f"agent_channel is {self.agent_channel!r}; it must be 0 or 1.")
        if self.party not in (None, "agent", "customer"):
            raise RecordingError(f"party is {self.party!r}; it must be agent or customer.")

    @property
    def roles(self) -> tuple[Role | None, ...]:
        """Of each channel; None where nobody told."""
        if self.channels == 1:
            return (self.party,)
        if self.agent_channel is None:
            return (None, None)
        return ("agent", "customer") if self.agent_channel == 0 else ("customer", "agent")


class Unpacker:
    """The bytes of one stream to samples at its own rate."""

    def __init__(self, raw: StreamFormat) -> None:
        """`raw` is what a stream without WAV header holds, unless it greets with something else."""
        self._told = raw
        self._greeted = False
        self._bytes = bytearray()
        self._left: int | None = None
        self.format: StreamFormat | None = None
        """Known once the first bytes have come."""

    def feed(self, data: bytes) -> Floats:
        """Samples, shape (n, channels), float32 in [-1, 1], finite; none until the format is known.

        Raises RecordingError where the stream cannot be understood.
        """
        self._bytes += data
        if self.format is None and not self._open(at_end=False):
            return np.zeros((0, 1), dtype=np.float32)
        return self._take()

    def finish(self) -> Floats:
        """What is left, once no more bytes come; a torn sample is left out."""
        if self.format is None and not self._open(at_end=True):
            self.format = self._told
        return self._take()

    def _open(self, *, at_end: bool) -> bool:
        """Read what stands before the samples; False where more bytes are needed."""
        held = self._bytes
        if not self._greeted and GREETING.startswith(held[: len(GREETING)]) and not at_end:
            if len(held) < len(GREETING):
                return False
            end = held.find(b"\n", 0, _GREETING_LIMIT)
            if end < 0:
                if len(held) < _GREETING_LIMIT:
                    return False
                raise RecordingError("the stream's greeting does not end; send one line of JSON.")
            self._told = _greeted(self._told, bytes(held[len(GREETING) : end]))
            self._greeted = True
            del held[: end + 1]
        if len(held) < 4 and not at_end:
            return False
        if bytes(held[:4]) in (b"RIFF", b"RF64"):
            opened = _read_wav(held)
            if opened is None and at_end:
                raise RecordingError("the stream ended inside its WAV header; send the whole of it.")
            if opened is None:
                return False
            found, start, self._left = opened
            self.format = replace(self._told, **found)
            del held[:start]
            return True
        for magic, name in _FOREIGN.items():
            if held.startswith(magic):
                raise RecordingError(
                    f"the stream is {name}, not WAV or PCM; send it through `ffmpeg -i - -f wav -`."
                )
        self.format = self._told
        return True

    def _take(self) -> Floats:
        assert self.format is not None
        width = _WIDTHS[self.format.encoding] * self.format.channels
        held = len(self._bytes) if self._left is None else min(len(self._bytes), self._left)
        taken = held // width * width
        samples = _decode(bytes(self._bytes[:taken]), self.format.encoding)
        del self._bytes[:taken]
        if self._left is not None:
            self._left -= taken
            if self._left < width:
                # What follows the samples of a file are notes.
                self._bytes.clear()
                self._left = 0
        return samples.reshape(-1, self.format.channels)


class Canonical:
    """Samples at a stream's own rate to rows of samples at another."""

    def __init__(self, stream: StreamFormat, *, rate_hz: int) -> None:
        self._channels = stream.channels
        self._block = max(1, int(stream.rate_hz * _BLOCK_S))
        self._waiting = np.zeros((0, stream.channels), dtype=np.float32)
        self._resampler: Any = None
        if stream.rate_hz != rate_hz:
            import soxr

            self._resampler = soxr.ResampleStream(
                stream.rate_hz, rate_hz, stream.channels, dtype="float32", quality="HQ"
            )

    def feed(self, samples: Floats, *, last: bool = False) -> Floats:
        """Shape (n, channels) to (channels, m)."""
        if self._resampler is None:
            return samples.T
        self._waiting = np.concatenate([self._waiting, samples])
        found = [np.zeros((0, self._channels), dtype=np.float32)]
        while len(self._waiting) >= self._block:
            found.append(self._resampler.resample_chunk(np.ascontiguousarray(self._waiting[: self._block])))
            self._waiting = self._waiting[self._block :]
        if last:
            found.append(self._resampler.resample_chunk(np.ascontiguousarray(self._waiting), last=True))
            self._waiting = self._waiting[:0]
        resampled: Floats = np.clip(np.concatenate(found), -1.0, 1.0).T  # resampling overshoots
        return resampled


def _greeted(told: StreamFormat, text: bytes) -> StreamFormat:
    known = {"rate_hz": int, "channels": int, "agent_channel": int, "party": str, "call_id": str}
    try:
        given = json.loads(text)
        wrong = [
            name
            for name, value in given.items()
            if name not in known or not (value is None or type(value) is known[name])
        ]
    except (ValueError, AttributeError, RecursionError) as error:
        raise RecordingError("the stream's greeting is not a JSON object; send one.") from error
    if wrong:
        raise RecordingError(
            f"the stream's greeting has {wrong[0]!r} wrong; it may have {', '.join(known)}, numbers and texts."
        )
    return replace(told, **{name: value for name, value in given.items() if value is not None})


def _read_wav(held: bytearray) -> tuple[dict[str, Any], int, int | None] | None:
    """Format, where the samples begin, and how many bytes they are (None: to the end); None for too few bytes."""
    if len(held) < 12:
        return None
    if held[8:12] != b"WAVE":
        raise RecordingError("the stream's WAV header is damaged; send it from its first byte.")
    at, found = 12, None
    while len(held) >= at + 8:
        name, size = bytes(held[at : at + 4]), struct.unpack_from("<I", held, at + 4)[0]
        if name == b"data":
            if found is None:
                raise RecordingError("the stream's WAV header does not tell the format; record it anew.")
            return found, at + 8, None if size in _UNKNOWN_SIZES else size
        end = at + 8 + size + size % 2
        if end > _HEADER_LIMIT:
            raise RecordingError("the stream's WAV header is damaged; send it from its first byte.")
        if len(held) < end:
            return None
        if name == b"fmt ":
            found = _wav_format(bytes(held[at + 8 : end]))
        at = end
    return None


def _wav_format(chunk: bytes) -> dict[str, Any]:
    if len(chunk) < 16:
        raise RecordingError("the stream's WAV header is damaged; send it from its first byte.")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == 0xFFFE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    if (tag, bits) not in _ENCODINGS:
        raise RecordingError(
            f"a WAV stream with format {tag} of {bits} bits cannot be heard; send it through "
            "`ffmpeg -i - -f wav -`."
        )
    return {"rate_hz": rate_hz, "channels": channels, "encoding": _ENCODINGS[tag, bits]}


def _decode(data: bytes, encoding: str) -> Floats:
    """Interleaved samples, shape (n,)."""
    samples: NDArray[Any]
    match encoding:
        case "s16":
            samples = np.frombuffer(data, "<i2") * np.float32(2**-15)
        case "u8":
            samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) * np.float32(2**-7)
        case "s24":
            thirds = np.frombuffer(data, np.uint8).reshape(-1, 3)
            padded = np.zeros((len(thirds), 4), dtype=np.uint8)
            padded[:, 1:] = thirds
            samples = padded.view("<i4")[:, 0] * 2.0**-31
        case "s32":
            samples = np.frombuffer(data, "<i4") * 2.0**-31
        case "f32" | "f64":
            floats = np.frombuffer(data, "<f4" if encoding == "f32" else "<f8")
            samples = np.clip(np.where(np.isfinite(floats), floats, 0.0), -1.0, 1.0)
        case _:
            table = _A_LAW if encoding == "alaw" else _MU_LAW
            samples = table[np.frombuffer(data, np.uint8)]
    return np.asarray(samples, dtype=np.float32)


def _mu_law() -> NDArray[np.float32]:
    """The 256 values of G.711 mu-law, of full scale."""
    code = ~np.arange(256, dtype=np.uint8).astype(np.int32) & 0xFF
    size = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132
    return np.asarray(np.where(code & 128, -size, size) * 2.0**-15, dtype=np.float32)


def _a_law() -> NDArray[np.float32]:
    """The 256 values of G.711 A-law, of full scale."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    low, exponent = (code & 15) << 4, (code >> 4) & 7
    size = np.where(exponent == 0, low + 8, (low + 264) << np.maximum(exponent - 1, 0))
    return np.asarray(np.where(code & 128, size, -size) * 2.0**-15, dtype=np.float32)


_MU_LAW, _A_LAW = _mu_law(), _a_law()
