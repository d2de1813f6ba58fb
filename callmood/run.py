"""What a run of `analyze` tells: its progress, and what it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callmood.errors import Exit

if TYPE_CHECKING:
    from callmood.types import CallResult, Recording


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Told after each recording."""

    done: int
    total: int
    audio_s: float
    """Seconds of audio analyzed so far."""
    result: CallResult


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """A recording of which a part did not decode. (Its analysis is in the database: many would fill the memory.)"""

    recording: Recording
    error: str | None
    lost_s: float
    """Seconds that did not decode."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run of `analyze` did."""

    run_id: str
    emotion_for: str
    """Whose emotions were inferred."""
    found: int
    """Recordings found."""
    analyzed: int
    """Recordings that have a new result, failed ones included."""
    already_known: int
    """Recordings left as they were."""
    failures: tuple[CallResult, ...]
    """Recordings that failed in this run."""
    truncated: tuple[Truncation, ...]
    """Recordings analyzed in this run of which a part did not decode."""
    skipped: int
    """Files that are no audio."""
    duplicates: int
    """Files whose content another file repeats."""
    other_settings: int
    """Recordings left as they were that had been analyzed with other settings or another model."""
    warnings: tuple[str, ...]
    audio_s: float
    wall_s: float
    writing: int = 0
    """Recordings left for the next run because somebody is still writing them."""
    left: int = 0
    """Recordings left for the next run because this one was to end."""
    purged: int = 0
    """Recordings left out because they were purged."""
    asked_to_end: bool = False
    """Whether the run was asked to end (SIGTERM), rather than done or out of time."""

    @property
    def exit_code(self) -> Exit:
        if self.asked_to_end and self.left:
            return Exit.INTERRUPTED
        return Exit.SOME_FAILED if self.failures else Exit.OK
