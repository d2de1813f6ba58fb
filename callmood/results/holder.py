"""Who holds a database: a small file beside it that the writer leaves for those who find it locked."""

from __future__ import annotations

import getpass
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def holder_path(database: Path) -> Path:
    """Where the writer of a database says who it is."""
    return database.with_name(f"{database.name}.holder")


def user_name() -> str:
    """The user's name, or number where there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in containers
        return str(os.getuid())


def say_holder(database: Path) -> None:
    """Write who this process is. It is only read while DuckDB's lock is held, so a left-over file means nothing."""
    about = {
        "pid": os.getpid(),
        "host": platform.node(),
        "user": user_name(),
        "program": Path(sys.argv[0]).name or "python",
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = holder_path(database)
    half = path.with_name(f".{path.name}.half")
    half.write_text(json.dumps(about), encoding="utf-8")
    half.replace(path)


def holder(database: Path, *, pid: str | None) -> str:
    """The holder in words; `pid` is the process that DuckDB names (the file is of no use if it names another)."""
    about: dict[str, Any] = {}
    try:
        read = json.loads(holder_path(database).read_text(encoding="utf-8"))
        if isinstance(read, dict) and pid in (None, str(read.get("pid"))):
            about = read
    except (OSError, ValueError):
        pass
    if not about:
        return f"PID {pid}" if pid else "its process id is unknown"
    return "PID {pid} on {host}, {program} of {user} since {since}".format(
        **{name: about.get(name, "?") for name in ("pid", "host", "program", "user", "since")}
    )
