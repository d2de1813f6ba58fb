"""The examples for cron and systemd: their syntax, and that every option and setting in them exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from callmood.cli.app import app
from callmood.settings import Settings
from callmood.stopping import FINISH_WITHIN_S

NIGHTLY = Path(__file__).resolve().parents[1] / "examples" / "nightly"

VARIABLES = {f"CALLMOOD_{field.name.upper()}" for field in fields(Settings)}
# Of crontab(5): for each field, the least and the greatest number.
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def crontab() -> tuple[dict[str, str], list[tuple[list[str], str, list[str]]]]:
    """Variables of the example, and for each job its times, its user and its command."""
    variables, jobs = {}, []
    for line in (NIGHTLY / "callmood.crontab").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if assigned := re.fullmatch(r"([A-Z_]+)=(.*)", line):
            variables[assigned[1]] = assigned[2]
        else:
            *times, user, command = line.split(maxsplit=6)
            jobs.append((times, user, shlex.split(command)))
    return variables, jobs


def unit(name: str) -> dict[str, list[str]]:
    """Values of each key of a unit file."""
    found: dict[str, list[str]] = {}
    for line in (NIGHTLY / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def parse(command: list[str]) -> None:
    """Have the program parse a command line, and not run it."""
    group = typer.main.get_command(app)
    with group.make_context("callmood", command[1:], resilient_parsing=False) as context:
        name, subcommand, rest = group.resolve_command(context, command[1:])  # type: ignore[attr-defined]
        with subcommand.make_context(name, rest, parent=context):
            pass


def test_times_of_the_crontab_are_times() -> None:
    _, jobs = crontab()

    assert len(jobs) == 3
    for times, user, command in jobs:
        for text, (least, greatest) in zip(times, RANGES, strict=True):
            assert text == "*" or least <= int(text) <= greatest
        assert user == "callmood"
        # To cron a percent sign is a new line.
        assert "%" not in " ".join(command)


def test_commands_of_the_crontab_are_understood() -> None:
    _, jobs = crontab()
    own = [command for _, _, command in jobs if command[0] == "callmood"]

    assert [command[1] for command in own] == ["analyze", "retry"]
    for command in own:
        parse(command)


def test_settings_in_the_examples_exist() -> None:
    variables, _ = crontab()
    environment = [value.split("=")[0] for value in unit("callmood.service")["Environment"]]
    named = {name for name in (*variables, *environment) if name.startswith("CALLMOOD_")}

    assert named
    assert named <= VARIABLES


def test_the_service_is_understood_and_waits_long_enough() -> None:
    service = unit("callmood.service")
    (command,) = service["ExecStart"]

    parse(["callmood", *shlex.split(command)[1:]])
    assert service["KillMode"] == ["mixed"]
    assert float(service["TimeoutStopSec"][0]) > FINISH_WITHIN_S + 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    for name in ("callmood.service", "callmood.timer"):
        shutil.copy(NIGHTLY / name, tmp_path)
    # It looks whether the program is there.
    service = tmp_path / "callmood.service"
    service.write_text(service.read_text().replace("/opt/callmood/bin/callmood", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(service), str(tmp_path / "callmood.timer")],
        capture_output=True,
        text=True,
        check=False,
    )

    faults = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "callmood" in line]
    assert faults == []
    assert done.returncode == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_time(tmp_path: Path) -> None:
    (time,) = unit("callmood.timer")["OnCalendar"]
    done = subprocess.run(["systemd-analyze", "calendar", time], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "02:15:00" in done.stdout
