"""What the tables `runs` and `purges` keep of what was done to a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of `analyze`, as the table `runs` keeps it."""

    run_id: str
    started_at: datetime
    started_by: str
    host: str
    version: str
    settings: Mapping[str, Any]
    settings_hash: str
    model_hash: str
    emotion_for: str
    pseudonyms: str | None = None
    """Check value of the key that ids were replaced by; None where they are as given."""


@dataclass(frozen=True, kw_only=True)
class Purge:
    """Calls that are removed, as the table `purges` keeps it."""

    purged_at: datetime
    purged_by: str
    host: str
    version: str
    criterion: Mapping[str, Any]
    reason: str | None
