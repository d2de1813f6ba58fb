"""The process of one GPU: requests of many workers in, one large batch through the network, answers out.

Started by `callmood.gpu.servers`, which sends its arguments as a line of JSON and keeps the pipe open for as long as the
process shall live. It says `ready`, or else why it ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from callmood.errors import CallmoodError
from callmood.gpu.wire import Request, receive_request, send_answer
from callmood.text import printable
from callmood.types import Floats

READY = "ready"
BATCH_FRAMES = 240_000
"""MFCC frames, padding included, that run through a network at a time, ten times what a CPU takes; and about as many as
are taken from the queue for it."""
_WAITING = 16
"""Requests held at a time, each of at most 92 MB; others wait in their workers."""
_BACKLOG = 256
_START_WITHIN_S = 300.0
_RUN_WITHIN_S = 120.0
"""A driver that hangs in a run ends the process, and the workers go on without it."""

Waiting = SimpleQueue[tuple[Request, "Future[list[Floats]]"]]


def serve(address: str, key: bytes, *, device: str, models: str | None) -> None:
    """Answer requests at a Unix socket until the process ends; raises what ails the device."""
    from callmood.diarize.voice import VoiceModel
    from callmood.emotion.device import use_device
    from callmood.emotion.model import EmotionModel

    with _ends_within(_START_WITHIN_S):
        use_device(device)
        emotion, voice = EmotionModel(models), VoiceModel(models, device=device)
        networks = {"emotion": emotion.network, "voice": voice.network}
        for network in networks.values():
            # Only a run shows that the driver works.
            network.predict_on_batch([np.zeros((1, 4, network.input_shape[0][-1])), np.ones((1, 1, 1))])
    waiting: Waiting = SimpleQueue()
    with Listener(address, "AF_UNIX", backlog=_BACKLOG, authkey=key) as listener:
        threading.Thread(target=_accept, args=(listener, waiting), daemon=True).start()
        print(READY, flush=True)
        while True:
            together = _next(waiting)
            with _ends_within(_RUN_WITHIN_S):
                answers = run([request for request, _ in together], networks)
            for (_, future), answer in zip(together, answers, strict=True):
                future.set_result(answer)


def run(requests: Sequence[Request], networks: Mapping[str, Any]) -> list[list[Floats]]:
    """The answer to each request; those of one network go through it together."""
    from callmood.emotion.network import predict_spans

    answers: list[list[Floats]] = [[] for _ in requests]
    for name in {request.network for request in requests}:
        members = [number for number, request in enumerate(requests) if request.network == name]
        stretches = [stretch for number in members for stretch in requests[number].stretches]
        spans = [rows for number in members for rows in requests[number].spans]
        found = iter(predict_spans(networks[name], stretches, spans, batch_frames=BATCH_FRAMES))
        for number in members:
            answers[number] = [next(found) for _ in requests[number].stretches]
    return answers


def _next(waiting: Waiting) -> list[tuple[Request, Future[list[Floats]]]]:
    """What waits, at least one request, until it fills a batch."""
    together = [waiting.get()]
    with suppress(Empty):
        while sum(len(stretch) for request, _ in together for stretch in request.stretches) < BATCH_FRAMES:
            together.append(waiting.get_nowait())
    return together


def _accept(listener: Listener, waiting: Waiting) -> None:
    room = threading.BoundedSemaphore(_WAITING)
    while True:
        # A worker may end in the middle of anything.
        with suppress(OSError, EOFError, AuthenticationError):
            connection = listener.accept()
            threading.Thread(target=_converse, args=(connection, waiting, room), daemon=True).start()


def _converse(connection: Connection, waiting: Waiting, room: threading.BoundedSemaphore) -> None:
    with suppress(OSError, EOFError), connection, room:
        answer: Future[list[Floats]] = Future()
        waiting.put((receive_request(connection), answer))
        send_answer(connection, answer.result())


@contextmanager
def _ends_within(limit_s: float) -> Iterator[None]:
    """End the process where the block takes longer, whatever native code is doing."""
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Serve as the line on standard input says."""
    # Ctrl-C and SIGTERM may reach a whole process group; when this ends is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        serve(told["address"], bytes.fromhex(told["key"]), device=told["device"], models=told["models"])
    except CallmoodError as error:
        print(error, flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {printable(error)}"[:500], flush=True)
    # At once: threads may be in the middle of an answer that will not come.
    os._exit(1)


if __name__ == "__main__":
    main()
