"""Worker processes that die."""

from __future__ import annotations

import os
import signal
import sys

import cloudpickle
import pytest
from conftest import make_recording

from callmood import workers
from callmood.settings import Settings
from callmood.types import CallResult, Recording


def stand_in_work(recording: Recording, _: Settings) -> CallResult:
    """Does no work; dies on `poison` as the out-of-memory killer would have it."""
    if recording.call_id == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return CallResult(recording=recording, status="empty")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # Workers cannot import this file, so the function travels by value.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(workers, "_work", stand_in_work)


@pytest.mark.parametrize("jobs", [2, 3])
def test_a_recording_that_kills_its_worker_is_quarantined_and_the_others_are_done(
    stand_in: None, jobs: int
) -> None:
    names = ["poison", *(f"call-{number}" for number in range(9))]

    came = workers.results([make_recording(name) for name in names], Settings(jobs=jobs))
    found = [result for result in came if result is not None]

    status = {result.recording.call_id: result.status for result in found}
    assert len(found) == len(names)
    assert status == {name: "quarantined" if name == "poison" else "empty" for name in names}
    (sentence,) = {result.error for result in found if result.error}
    assert sentence.startswith("/calls/poison.wav: ")
    assert "callmood retry" in sentence
