"""The worker's side: networks that other processes run for this one, as long as they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.connection import Client
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.network import predict_spans
from callmood.gpu.wire import Request, receive_answer, send_request
from callmood.types import Floats

Address = tuple[str, bytes]
"""Unix socket of a server and the key to it."""

_servers: list[Address] | None = None
"""Those that have not failed, the next one to ask first; None where this process was never given any."""


def use_servers(addresses: Sequence[Address], *, first: int = 0) -> None:
    """Let servers run the networks of this process from now on; `first` says, modulo their number, which to ask first."""
    global _servers
    first %= len(addresses)
    _servers = [*addresses[first:], *addresses[:first]]


def served() -> bool:
    """Whether servers were to run the networks of this process; its own, if it comes to that, run on the CPU."""
    return _servers is not None


def predict(
    name: str, network: Callable[[], Any], stretches: Sequence[Floats], spans: Sequence[NDArray[np.int64]]
) -> list[Floats]:
    """What the network called `name` says of spans inside stretches, as `predict_spans` has it.

    A server is asked where this process has any, each in its turn; one that fails is not asked again. When none is left,
    `network` gives the network of this process.
    """
    while _servers and stretches:
        address, key = server = _servers.pop(0)
        _servers.append(server)
        try:
            # A connection for each request: one that a time limit interrupts leaves nothing half read behind.
            with Client(address, "AF_UNIX", authkey=key) as connection:
                send_request(connection, Request(network=name, stretches=stretches, spans=spans))
                return receive_answer(connection)
        except (OSError, EOFError):
            _servers.remove(server)
    return predict_spans(network(), stretches, spans)
