"""Runs that are killed with signal 9 at any moment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.kills import try_points


@pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")
def test_killed_runs_and_those_that_follow_make_the_database_of_an_undisturbed_one(tmp_path: Path) -> None:
    outcome = try_points(tmp_path, points=8, seed=1, stand_in=True, jobs=2)

    assert sum(outcome.points.values()) == 8
    assert outcome.found == []
