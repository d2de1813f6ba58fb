"""Many streams at once: each connection to a local socket is one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from callmood.errors import RecordingError, UsageError
from callmood.live.engine import Engine
from callmood.live.lines import as_line, error_record
from callmood.live.listener import Listener
from callmood.live.wire import StreamFormat

ROUND_S = 0.05
"""Least time between two rounds through the networks: what becomes due meanwhile goes through them together."""
_PIECE = 1 << 16
_AHEAD_S = 4.0
"""A client that sends faster than it is heard is read no further than this."""
_UNREAD = 1 << 18
"""Bytes of lines that may wait for a client to read them; until it does, it is not heard."""
_BACKLOG = 1024
"""Clients that may wait to be accepted: after a restart all recorders come back at once."""
_FINISH_S = 5.0
"""How long clients have to read their last lines once the server is asked to end."""


class _Client:
    def __init__(self, listener: Listener, writer: asyncio.StreamWriter) -> None:
        self.listener = listener
        self.writer = writer
        self.heard = asyncio.Event()

    @property
    def due(self) -> bool:
        return self.listener.due and (
            self.writer.is_closing() or self.writer.transport.get_write_buffer_size() < _UNREAD
        )

    def write(self, record: dict[str, Any]) -> None:
        if not self.writer.is_closing():
            self.writer.write(as_line(record))

    async def heard_more(self) -> None:
        self.heard.clear()
        await self.heard.wait()


class Server:
    """Listens for clients until it is asked to end."""

    def __init__(self, engine: Engine, raw: StreamFormat) -> None:
        """`raw` is what a stream holds that says nothing else."""
        self._engine = engine
        self._raw = raw
        self._clients: set[_Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    async def serve(
        self, *, path: Path | None = None, port: int | None = None, ready: Callable[[str], None]
    ) -> None:
        """Serve a Unix socket at `path`, a TCP port of the loopback, or both, until SIGTERM or SIGINT.

        `ready` is told where clients can connect. Streams that are open at the end get their closing line.
        """
        bound = None if path is None else _bound(path)
        servers = []
        try:
            if port is not None:
                servers.append(await _on_loopback(self._accept, port))
            # Both can be had, so from here on this is the server that signals are for.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._ending.set)
            if servers:
                ready(f"127.0.0.1:{servers[0].sockets[0].getsockname()[1]}")
            if bound is not None:
                servers.append(await asyncio.start_unix_server(self._accept, sock=bound, backlog=_BACKLOG))
                ready(str(path))
            rounds = asyncio.create_task(self._rounds())
            ending = asyncio.create_task(self._ending.wait())
            await asyncio.wait({rounds, ending}, return_when=asyncio.FIRST_COMPLETED)
            if self._tasks and not rounds.done():
                await asyncio.wait(self._tasks, timeout=_FINISH_S)
            for task in (*self._tasks, ending):
                task.cancel()
            if rounds.done():
                rounds.result()  # what went wrong
            rounds.cancel()
        finally:
            for server in servers:
                server.close()
            if path is not None:
                path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        client = _Client(Listener(self._engine, self._raw), writer)
        self._clients.add(client)
        try:
            await self._converse(client, reader)
        except RecordingError as error:
            client.write(error_record(str(error)))
            with suppress(OSError):
                await writer.drain()
        except OSError:
            pass  # The client has gone.
        finally:
            self._clients.discard(client)
            writer.close()

    async def _converse(self, client: _Client, reader: asyncio.StreamReader) -> None:
        while data := await self._read(reader):
            client.listener.feed(data)
            while client.listener.waiting_s > _AHEAD_S:
                await client.heard_more()
            await client.writer.drain()
        client.listener.end()
        while client.listener.due:
            await client.heard_more()
        client.write(client.listener.closing("asked to end" if self._ending.is_set() else "end of input"))
        await client.writer.drain()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """The next bytes; none at the end of the stream, or of the server."""
        reading = asyncio.ensure_future(reader.read(_PIECE))
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            return b"" if ending.done() else reading.result()
        finally:
            reading.cancel()
            ending.cancel()

    async def _rounds(self) -> None:
        while True:
            started_s = time.monotonic()
            due = [client for client in self._clients if client.due]
            streams = [client.listener.stream for client in due if client.listener.stream is not None]
            for client, hop in zip(due, self._engine.step(streams) if streams else (), strict=True):
                client.write(client.listener.record(hop))
                client.heard.set()
            behind = any(client.due for client in self._clients)
            await asyncio.sleep(0.0 if behind else max(0.0, started_s + ROUND_S - time.monotonic()))


def _bound(path: Path) -> socket.socket:
    """A Unix socket at `path` that its owner alone can connect to; one that a dead server left is replaced."""
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        if path.exists():
            _remove_dead(path)
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"{path}: no socket can be made there ({error.strerror or error}); name another path."
        ) from error
    finally:
        os.umask(before)
    return listening


def _remove_dead(path: Path) -> None:
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise UsageError(f"{path}: exists and is no socket; name another path.")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise UsageError(f"{path}: another process listens there; name another path.")


async def _on_loopback(accept: Any, port: int) -> asyncio.Server:
    try:
        return await asyncio.start_server(accept, "127.0.0.1", port, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used ({error.strerror or error}); name another one."
        ) from error
