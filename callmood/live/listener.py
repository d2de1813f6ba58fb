"""One stream of bytes: what comes in, what is due, and the lines that go out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from callmood.errors import RecordingError
from callmood.live.engine import Engine, Hop, Stream
from callmood.live.lines import Reason, Teller
from callmood.live.wire import StreamFormat, Unpacker
from callmood.types import Floats


class Listener:
    """A stream from its first byte to its closing record."""

    def __init__(self, engine: Engine, raw: StreamFormat) -> None:
        self._engine = engine
        self._unpacker = Unpacker(raw)
        self._teller: Teller | None = None
        self.stream: Stream | None = None
        """None until the first bytes have told what the stream holds."""

    @property
    def due(self) -> bool:
        return self.stream is not None and self.stream.due

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that wait to be heard."""
        return 0.0 if self.stream is None else self.stream.waiting_s

    def feed(self, data: bytes) -> None:
        """Take the next bytes; raises RecordingError where they cannot be understood."""
        self._take(self._unpacker.feed(data))

    def end(self) -> None:
        """No more bytes will come; raises RecordingError where those that came cannot be understood."""
        self._take(self._unpacker.finish())
        if self.stream is not None:
            self.stream.end()

    def _take(self, samples: Floats) -> None:
        if self.stream is None and self._unpacker.format is not None:
            self.stream = self._engine.open(self._unpacker.format)
            self._teller = Teller(self.stream)
        if self.stream is not None:
            self.stream.feed(samples)

    def record(self, hop: Hop) -> dict[str, Any]:
        """The record of a hop of this stream."""
        assert self._teller is not None
        return self._teller.hop(hop)

    def closing(self, reason: Reason) -> dict[str, Any]:
        """The last record."""
        if self._teller is None:
            raise RecordingError("the stream ended before it began; send WAV or PCM.")
        return self._teller.end(reason)


def listen(engine: Engine, pieces: Iterable[bytes], raw: StreamFormat) -> Iterator[dict[str, Any]]:
    """The records of one stream, each as soon as the sound for it has come."""
    listener = Listener(engine, raw)
    for piece in pieces:
        listener.feed(piece)
        yield from due_records(engine, listener)
    listener.end()
    yield from due_records(engine, listener)
    yield listener.closing("end of input")


def due_records(engine: Engine, listener: Listener) -> Iterator[dict[str, Any]]:
    """The records of the hops that are due now."""
    while listener.due and listener.stream is not None:
        (hop,) = engine.step([listener.stream])
        yield listener.record(hop)
