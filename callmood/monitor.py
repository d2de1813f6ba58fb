"""What a run leaves for those who were not there: a log, a heartbeat, and metrics for Prometheus."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from callmood.errors import CallmoodError, Exit, UsageError
from callmood.files import cannot_write, replace_file
from callmood.run import Progress, RunSummary
from callmood.settings import Settings

LOG_BYTES = 10_000_000
LOG_FILES = 5
"""A full log is renamed to `.1`, and so on; older ones go."""
BEAT_EVERY_S = 10.0


class LogWarning(UserWarning):
    """Says that the log is no longer whole."""


class Monitor:
    """Follows one run, as far as the settings name files to write to."""

    def __init__(self, settings: Settings, *, command: str) -> None:
        """Raises UsageError where one of the files cannot be written."""
        self._command = command
        self._started_s = time.time()
        self._log = _open_log(settings.log_file)
        self._heartbeat = Path(settings.heartbeat_file) if settings.heartbeat_file else None
        self._metrics = Path(settings.metrics_file) if settings.metrics_file else None
        self._state: dict[str, Any] = {"state": "running", "done": 0, "total": None, "last_result": None}
        self._over = threading.Event()
        self._told = False
        if self._metrics and not self._metrics.absolute().parent.is_dir():
            raise UsageError(f"{self._metrics}: its folder does not exist; create it or name another file.")

    def __enter__(self) -> Self:
        self._write("started", command=self._command, pid=os.getpid())
        if self._heartbeat:
            try:
                self._beat()
            except OSError as error:
                raise cannot_write(self._heartbeat, error) from error
            threading.Thread(target=self._beat_on, daemon=True).start()
        return self

    def progress(self, then: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
        """A callback for the run that notes each recording, and hands it on."""

        def callback(progress: Progress) -> None:
            result = progress.result
            self._state |= {"done": progress.done, "total": progress.total, "last_result": _now()}
            self._write(
                "recording",
                call_id=result.recording.call_id,
                path=result.recording.legs[0].kept_path,
                status=result.status,
                error=result.error,
                duration_s=result.analysis.duration_s if result.analysis else None,
            )
            if then:
                then(progress)

        return callback

    def finished(self, summary: RunSummary) -> None:
        """The run came to its end."""
        for warning in summary.warnings:
            self._write("warning", sentence=warning)
        self._write(
            "finished",
            run_id=summary.run_id,
            exit_code=int(summary.exit_code),
            **{name: value for name, value, _ in _counts(summary)},
        )
        self._end(int(summary.exit_code), summary)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._told and error is not None:
            code = error.exit_code if isinstance(error, CallmoodError) else Exit.FATAL
            if isinstance(error, KeyboardInterrupt):
                code = Exit.INTERRUPTED
            self._write("failed", error=str(error) or type(error).__name__, exit_code=int(code))
            self._end(int(code), None)
        self._over.set()
        for handler in self._log.handlers if self._log else ():
            with suppress(OSError):  # what a full disk did not take
                handler.close()

    def _end(self, exit_code: int, summary: RunSummary | None) -> None:
        self._told = True
        self._over.set()
        self._state |= {"state": "finished", "exit_code": exit_code}
        # Monitoring that cannot be written is seen by its age; it must not fail a run that is done.
        with suppress(OSError):
            if self._heartbeat:
                self._beat()
        with suppress(OSError):
            if self._metrics:
                text = metrics(summary, exit_code=exit_code, started_s=self._started_s, now_s=time.time())
                replace_file(self._metrics, text)

    def _write(self, event: str, **values: Any) -> None:
        if self._log:
            self._log.info(json.dumps({"time": _now(), "event": event} | values, default=str))

    def _beat_on(self) -> None:
        while not self._over.wait(BEAT_EVERY_S):
            with suppress(OSError):
                self._beat()

    def _beat(self) -> None:
        assert self._heartbeat
        replace_file(self._heartbeat, json.dumps({"time": _now(), "pid": os.getpid()} | self._state) + "\n")


def metrics(summary: RunSummary | None, *, exit_code: int, started_s: float, now_s: float) -> str:
    """Prometheus's text format of a run that ended; `summary` is None where it ended in an error."""
    values: list[tuple[str, float, str]] = [
        ("exit_code", exit_code, "Exit code of the last run."),
        ("success", float(exit_code in (Exit.OK, Exit.SOME_FAILED)), "1 where the last run came to its end."),
        ("started_timestamp_seconds", started_s, "When the last run began."),
        ("finished_timestamp_seconds", now_s, "When the last run ended."),
    ]
    if summary is not None:
        values += [(name, value, help_text) for name, value, help_text in _counts(summary)]
    return "".join(
        f"# HELP callmood_last_run_{name} {help_text}\n"
        f"# TYPE callmood_last_run_{name} gauge\n"
        f"callmood_last_run_{name} {value!r}\n"
        for name, value, help_text in values
    )


def _counts(summary: RunSummary) -> list[tuple[str, float, str]]:
    return [
        ("recordings_found", summary.found, "Recordings found."),
        ("recordings_analyzed", summary.analyzed, "Recordings with a new result, failed ones included."),
        ("recordings_failed", len(summary.failures), "Recordings that newly failed."),
        ("recordings_truncated", len(summary.truncated), "Recordings of which a part did not decode."),
        ("recordings_already_known", summary.already_known, "Recordings left as they were."),
        ("recordings_stale", summary.other_settings, "Of these, made with other settings or another model."),
        ("recordings_writing", summary.writing, "Recordings that somebody is still writing."),
        ("recordings_left", summary.left, "Recordings left for the next run."),
        ("audio_seconds", summary.audio_s, "Seconds of audio analyzed."),
        ("wall_seconds", summary.wall_s, "Seconds that the analysis took."),
    ]


def _open_log(name: str | None) -> logging.Logger | None:
    if name is None:
        return None
    try:
        handler = _LogFile(name, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    except OSError as error:
        raise cannot_write(Path(name), error) from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    # Of no name that others could share or configure.
    log = logging.Logger("callmood", level=logging.INFO)
    log.addHandler(handler)
    return log


class _LogFile(RotatingFileHandler):
    """A log that fails, on a full disk, is told of once; it does not fail the run."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not self._told:
            self._told = True
            warnings.warn(
                f"{self.baseFilename}: the log cannot be written any more; see to disk space and permissions.",
                LogWarning,
                stacklevel=2,
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
