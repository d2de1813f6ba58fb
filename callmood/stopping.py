"""Ending a run before its work is done, between calls."""

from __future__ import annotations

import time
from collections.abc import Callable

FINISH_WITHIN_S = 60.0
"""How long a run that is to end waits for the calls that are being analyzed; the next run takes up the others."""


class Stopping:
    """Whether a run shall begin no further call, because it was asked to end or its time is up."""

    def __init__(
        self,
        *,
        max_runtime_s: float = 0.0,
        finish_within_s: float = FINISH_WITHIN_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_runtime_s` counts from now; 0 means no limit."""
        self._clock_s = clock_s
        self._end_s = clock_s() + max_runtime_s if max_runtime_s else None
        self._finish_within_s = finish_within_s
        self._asked_s: float | None = None

    def ask(self) -> None:
        """Ask for the end; safe in a signal handler."""
        if self._asked_s is None:
            self._asked_s = self._clock_s()

    @property
    def asked(self) -> bool:
        return self._asked_s is not None

    @property
    def due(self) -> bool:
        """Whether no further call shall begin."""
        return self.asked or (self._end_s is not None and self._clock_s() >= self._end_s)

    @property
    def overdue(self) -> bool:
        """Whether the calls being analyzed shall not be waited for any longer."""
        since_s = [at_s for at_s in (self._asked_s, self._end_s) if at_s is not None]
        return bool(since_s) and self._clock_s() >= min(since_s) + self._finish_within_s
