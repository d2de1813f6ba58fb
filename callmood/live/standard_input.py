"""One stream from a file descriptor: standard input, or a named pipe."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from callmood.errors import Exit
from callmood.live.engine import Engine
from callmood.live.lines import as_line
from callmood.live.listener import Listener, due_records
from callmood.live.wire import StreamFormat

_PIECE = 1 << 16


def hear(engine: Engine, source: int, raw: StreamFormat, output: BinaryIO) -> Exit:
    """Write a line per hop of the stream that descriptor `source` carries, and a closing one.

    SIGTERM and SIGINT end the stream as its end would. A reader of the lines who has gone raises BrokenPipeError; bytes
    that cannot be understood raise RecordingError.
    """
    listener = Listener(engine, raw)
    with _asked_to_end() as (wake, asked):
        for piece in _pieces(source, wake, asked):
            listener.feed(piece)
            _write(output, listener, engine)
        listener.end()
        _write(output, listener, engine)
        output.write(as_line(listener.closing("asked to end" if asked() else "end of input")))
        output.flush()
        return Exit.INTERRUPTED if asked() else Exit.OK


def _write(output: BinaryIO, listener: Listener, engine: Engine) -> None:
    for record in due_records(engine, listener):
        output.write(as_line(record))
        output.flush()


def _pieces(source: int, wake: int, asked: Callable[[], bool]) -> Iterator[bytes]:
    while not asked():
        ready, _, _ = select.select([source, wake], [], [])
        if source in ready and not asked():
            piece = os.read(source, _PIECE)
            if not piece:
                return
            yield piece


@contextmanager
def _asked_to_end() -> Iterator[tuple[int, Callable[[], bool]]]:
    """A descriptor that becomes readable at SIGTERM or SIGINT, and whether one has come."""
    came: list[int] = []
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    wakeup_before = signal.set_wakeup_fd(waker)
    try:
        yield wake, lambda: bool(came)
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(waker)
