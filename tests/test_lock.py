"""Lock files, held by runs and by the program `flock`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import callmood
from callmood.errors import LockedError, UsageError
from callmood.lock import held

needs_flock = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("flock") is None, reason="flock of util-linux"
)


def flock(path: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["flock", "--nonblock", str(path), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@needs_flock
def test_a_lock_that_another_job_holds_is_exit_code_4_and_its_name(tmp_path: Path) -> None:
    other = flock(tmp_path / "x.lock", "sh", "-c", "echo held; read line")
    assert other.stdout is not None
    other.stdout.readline()
    try:
        with pytest.raises(
            LockedError, match=rf"x.lock: locked by another process \(PID {other.pid}"
        ) as refused:
            callmood.analyze(tmp_path, db=str(tmp_path / "x.duckdb"), lock=str(tmp_path / "x.lock"))
        assert refused.value.exit_code == 4
        assert not (tmp_path / "x.duckdb").exists()
    finally:
        other.communicate("\n")


@needs_flock
def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    other = flock(tmp_path / "x.lock", "sh", "-c", "echo held; read line")
    assert other.stdout is not None
    other.stdout.readline()
    threading.Timer(1.0, other.communicate, args=("\n",)).start()

    with held(str(tmp_path / "x.lock"), wait_s=30, give_up=lambda: False):
        assert other.wait(10) == 0


@needs_flock
def test_other_jobs_are_kept_apart_and_let_in_afterwards(tmp_path: Path) -> None:
    with held(str(tmp_path / "x.lock"), wait_s=0, give_up=lambda: False):
        during = flock(tmp_path / "x.lock", "true").wait()
    after = flock(tmp_path / "x.lock", "true").wait()

    assert (during, after) == (1, 0)


@needs_flock
def test_waiting_ends_when_the_run_is_to_end(tmp_path: Path) -> None:
    other = flock(tmp_path / "x.lock", "sh", "-c", "echo held; read line")
    assert other.stdout is not None
    other.stdout.readline()
    try:
        with pytest.raises(LockedError), held(str(tmp_path / "x.lock"), wait_s=600, give_up=lambda: True):
            pass
    finally:
        other.communicate("\n")


def test_a_lock_file_keeps_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text("not ours\n")
    with held(str(tmp_path / "x.lock"), wait_s=0, give_up=lambda: False):
        pass

    assert (tmp_path / "x.lock").read_text() == "not ours\n"


def test_a_lock_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="cannot be opened as a lock file"),
        held(str(tmp_path / "none" / "x.lock"), wait_s=0, give_up=lambda: False),
    ):
        pass
