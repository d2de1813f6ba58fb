"""What a worker and the process of a GPU send each other: plain arrays, never pickled objects."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.types import Floats

_MAX_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Request:
    """Spans inside stretches that a network is asked about; see `callmood.emotion.network.predict_spans`."""

    network: str
    """`emotion` or `voice`."""
    stretches: Sequence[Floats]
    spans: Sequence[NDArray[np.int64]]


def send_request(connection: Connection, request: Request) -> None:
    """Send a request of at least one stretch."""
    _send(
        connection,
        network=np.array(request.network),
        lengths=np.array([len(stretch) for stretch in request.stretches]),
        counts=np.array([len(rows) for rows in request.spans]),
        frames=np.concatenate(request.stretches).astype(np.float32, copy=False),
        spans=np.concatenate(request.spans).astype(np.int64, copy=False),
    )


def receive_request(connection: Connection) -> Request:
    """The request that comes; raises EOFError where the other side has gone."""
    arrays = _receive(connection)
    return Request(
        network=str(arrays["network"]),
        stretches=_split(arrays["frames"], arrays["lengths"]),
        spans=_split(arrays["spans"], arrays["counts"]),
    )


def send_answer(connection: Connection, found: Sequence[Floats]) -> None:
    """Send what `predict_spans` returned, for at least one stretch."""
    _send(connection, counts=np.array([len(rows) for rows in found]), rows=np.concatenate(found))


def receive_answer(connection: Connection) -> list[Floats]:
    """The answer that comes; raises EOFError where the other side has gone."""
    arrays = _receive(connection)
    return _split(arrays["rows"], arrays["counts"])


def _split(rows: NDArray[Any], lengths: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(rows, np.cumsum(lengths)[:-1])


def _send(connection: Connection, **arrays: NDArray[Any]) -> None:
    message = io.BytesIO()
    np.savez(message, allow_pickle=False, **arrays)
    connection.send_bytes(message.getbuffer())


def _receive(connection: Connection) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(connection.recv_bytes(_MAX_BYTES)), allow_pickle=False) as arrays:
        return dict(arrays)
