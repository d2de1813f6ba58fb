"""Live audio on the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from callmood.cli.output import say
from callmood.errors import Exit, RecordingError, UsageError

if TYPE_CHECKING:
    from callmood.live import Engine, StreamFormat


def hear_input(engine: Engine, source: str, raw: StreamFormat) -> Exit:
    """One stream from `-` or a path, as JSON lines on standard output."""
    from callmood.live.standard_input import hear

    try:
        descriptor = 0 if source == "-" else os.open(source, os.O_RDONLY)
    except OSError as error:
        raise UsageError(
            f"{source}: cannot be opened ({error.strerror}); name a pipe, or - for standard input."
        ) from error
    try:
        return hear(engine, descriptor, raw, sys.stdout.buffer)
    except RecordingError as error:
        raise RecordingError(f"{'standard input' if source == '-' else source}: {error}") from error
    except BrokenPipeError:
        # The interpreter flushes once more at exit; that must find a place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


def serve(engine: Engine, raw: StreamFormat, *, path: str | None, port: int | None) -> None:
    """A stream for each connection, until SIGTERM or Ctrl-C."""
    from callmood.live.server import Server

    async def run() -> None:
        await Server(engine, raw).serve(
            path=None if path is None else Path(path),
            port=port,
            ready=lambda where: say(f"listening at {where}"),
        )

    asyncio.run(run())
