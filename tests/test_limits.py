"""Time and memory limits of a recording, and workers without a parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from conftest import make_recording

from callmood.limits import LimitExceeded, limited
from callmood.settings import Settings
from callmood.types import CallResult
from callmood.workers import within_limits

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory and processes are read from /proc")


def busy() -> CallResult:
    """Work that catches every error on its way."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(Exception):
            time.sleep(0.01)
    return CallResult(recording=make_recording(), status="ok")


def test_a_recording_that_takes_too_long_fails_in_one_sentence() -> None:
    result = within_limits(make_recording(), Settings(max_seconds_per_call=1), busy)

    assert (result.status, result.analysis) == ("failed", None)
    assert result.error == (
        "/calls/call-1.wav: took longer than 1 s (--max-seconds-per-call); raise the limit and run `callmood retry`."
    )


@linux
def test_a_recording_that_needs_too_much_memory_fails_in_one_sentence() -> None:
    held: list[bytearray] = []

    def greedy() -> CallResult:
        # From what the process holds anyway, up to 2 GB above the limit.
        for _ in range(200):
            held.append(bytearray(b"x" * 10_000_000))
            time.sleep(0.02)
        return CallResult(recording=make_recording(), status="ok")

    result = within_limits(make_recording(), Settings(max_memory_per_worker=500), greedy)

    assert result.status == "failed"
    assert "needed more than 500 MiB (--max-memory-per-worker)" in str(result.error)


def test_what_stays_within_its_limits_is_left_alone() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with limited(max_s=30, max_memory_mib=100_000):
        time.sleep(0.3)

    assert signal.getsignal(signal.SIGALRM) is handler


def test_the_limit_is_no_error_that_others_catch() -> None:
    assert not issubclass(LimitExceeded, Exception)


def test_native_code_that_never_returns_ends_the_process() -> None:
    # `sum` over a range holds the interpreter's lock and looks at no signal.
    program = (
        "from callmood import limits; limits.GRACE_S = 0.5\n"
        "with limits.limited(max_s=0.2, max_memory_mib=0): sum(range(10**13))\n"
    )
    child = subprocess.run([sys.executable, "-c", program], timeout=30, check=False, env=os.environ)

    assert child.returncode == 1


@linux
def test_workers_end_soon_after_their_parent_was_killed() -> None:
    worker = (
        "import os, time; from callmood.limits import end_with_parent\n"
        "end_with_parent(os.getppid()); print(os.getpid(), flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    parent.kill()

    # The pipe ends with the worker, which holds it for a minute otherwise.
    parent.communicate(timeout=20)
    assert parent.returncode == -signal.SIGKILL
