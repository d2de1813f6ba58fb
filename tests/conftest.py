"""Shared fixtures: a hand-made analysis, and databases that hold it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from audio import voice, write_wav

import callmood
from benchmarks import kills
from callmood import workers
from callmood.emotions import EMOTIONS
from callmood.model_files import models_folder
from callmood.pipeline import Engines, analyze_recording
from callmood.results.run import Run
from callmood.results.store import Store
from callmood.run import RunSummary
from callmood.settings import Settings
from callmood.trajectory import affect_of
from callmood.types import (
    Analysis,
    CallMetadata,
    CallResult,
    Escalation,
    EscalationScore,
    Floats,
    Leg,
    Recording,
    Turn,
    Windows,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def certain(*emotions: str | None) -> Floats:
    """Probability rows, shape (n, 7), that are certain of the named emotions; None gives a row of NaN."""
    rows = np.zeros((len(emotions), len(EMOTIONS)), dtype=np.float32)
    for row, emotion in enumerate(emotions):
        rows[row, EMOTIONS.index(emotion) if emotion else slice(None)] = 1.0 if emotion else np.nan
    return rows


def make_run(run_id: str = "run-1") -> Run:
    return Run(
        run_id=run_id,
        started_at=NOON,
        started_by="tester",
        host="testhost",
        version="0.0.0",
        settings={"emotion_for": "everyone"},
        settings_hash="settings-1",
        model_hash="model-1",
        emotion_for="everyone",
    )


def make_recording(call_id: str = "call-1", **metadata: object) -> Recording:
    return Recording(
        call_id=call_id,
        legs=(Leg(path=Path(f"/calls/{call_id}.wav")),),
        content_hash=f"hash of {call_id}",
        metadata=CallMetadata(**metadata),  # type: ignore[arg-type]
    )


def make_result(call_id: str = "call-1", **metadata: object) -> CallResult:
    """A 30 s call drawn by hand: the agent speaks 0-6 s (neutral), the customer 7-13 s (happy), the agent
    14-16 s (not scored), the customer 20-28 s (angry)."""
    turns = (
        Turn(speaker="S1", channel=0, start_s=0.0, end_s=6.0, role="agent", confidence=0.9),
        Turn(speaker="S2", channel=1, start_s=7.0, end_s=13.0, role="customer"),
        Turn(speaker="S1", channel=0, start_s=14.0, end_s=16.0, role="agent"),
        Turn(speaker="S2", channel=1, start_s=20.0, end_s=28.0, role="customer", overlap_s=0.5),
    )
    windows = Windows(
        turn_index=np.array([0, 1, 1, 3, 3], dtype=np.int32),
        start_s=np.array([0.0, 7.0, 9.0, 20.0, 26.0]),
        end_s=np.array([2.0, 9.0, 11.0, 22.0, 28.0]),
        affect=affect_of(certain("neutral", "happy", "happy", "neutral", "angry")),
        negativity_smooth=np.array([0.0, 0.0, 0.0, 0.25, 0.75], dtype=np.float32),
    )
    return CallResult(
        recording=make_recording(call_id, **metadata),
        status="ok",
        analysis=Analysis(
            duration_s=30.0,
            channels=2,
            rate_hz=8000,
            codec="ULAW",
            lost_s=0.0,
            diarizer="channels 1",
            turns=turns,
            turn_affect=affect_of(certain("neutral", "happy", None, "angry")),
            windows=windows,
            escalations=(
                Escalation(
                    speaker="S2",
                    role="customer",
                    onset_s=21.0,
                    peak_s=27.0,
                    end_s=None,
                    height=0.75,
                    slope=0.125,
                    recovered=False,
                    other_party="silent",
                ),
            ),
            escalation_scores=(
                EscalationScore(speaker="S1", evidence=36.0, score=0.9),
                EscalationScore(speaker="S2", evidence=12.0, score=0.75),
            ),
        ),
    )


def stand_in_work(recording: Recording, settings: Settings) -> CallResult:
    """An analysis by the settings' rules of roles, without networks: each half of a call is one speaker's."""
    engines = Engines(
        diarizer=kills._Halves(),
        model=kills._Levels(),
        emotion_for=settings.emotion_for,
        min_role_confidence=settings.min_role_confidence,
        guess_roles=settings.guess_roles,
    )
    return analyze_recording(recording, engines)


@pytest.fixture
def small_calls(tmp_path: Path) -> Path:
    """A folder with four calls of 2 s, changed an hour ago."""
    folder = tmp_path / "calls"
    folder.mkdir()
    hour_ago = time.time() - 3600
    for number in range(4):
        path = write_wav(folder / f"{number}.wav", voice(seconds=2.0, seed=number))
        os.utime(path, (hour_ago, hour_ago))
    return folder


@pytest.fixture
def analyze_small(
    small_calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RunSummary]:
    """`callmood.analyze` of those calls into `x.duckdb`, with `stand_in_work` in place of the networks."""
    # Workers cannot import these, so they travel by value.
    for module in (sys.modules[__name__], kills):
        cloudpickle.register_pickle_by_value(module)
    monkeypatch.setattr(workers, "_work", stand_in_work)

    def analyze(**options: Any) -> RunSummary:
        return callmood.analyze(small_calls, **({"db": str(tmp_path / "x.duckdb"), "jobs": 1} | options))

    return analyze


@pytest.fixture
def model_copy(tmp_path: Path) -> Path:
    """A copy of the shipped models, to be changed."""
    return Path(shutil.copytree(models_folder(), tmp_path / "models"))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Three calls: two of agent alice (one hand-drawn, one unreadable), one of agent bob."""
    path = tmp_path / "calls.duckdb"
    run = make_run()
    with Store(path) as store:
        store.begin_run(run)
        store.write(make_result("call-1", agent_id="alice", queue="sales"), run, analyzed_at=NOON)
        broken = make_recording("call-2", agent_id="alice", queue="billing")
        store.write(
            CallResult(recording=broken, status="unreadable", error="/calls/call-2.wav: no audio."),
            run,
            analyzed_at=NOON,
        )
        store.write(make_result("call-3", agent_id="bob", queue="sales"), run, analyzed_at=NOON)
        store.finish_run(run.run_id, finished_at=NOON, found=3, analyzed=2, failed=1, already_known=0)
    return path
