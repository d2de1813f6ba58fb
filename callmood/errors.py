"""Every error a user can cause, with its exit code; each message names the file and the way out."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    FATAL = 1
    USAGE = 2
    SOME_FAILED = 3
    BUSY = 4
    INTERRUPTED = 130


class CallmoodError(Exception):
    """Base of all expected errors; `str(error)` is one sentence fit for a terminal."""

    exit_code = Exit.FATAL


class UsageError(CallmoodError):
    """An option, a setting or a path that cannot be used as given."""

    exit_code = Exit.USAGE


class DatabaseBusyError(CallmoodError):
    """Another process holds the database for writing."""

    exit_code = Exit.BUSY


class LockedError(CallmoodError):
    """Another process holds the lock file."""

    exit_code = Exit.BUSY


class DatabaseError(CallmoodError):
    """The database is missing, damaged, read-only or made by a newer version."""


class RefusedValueError(DatabaseError):
    """A value does not fit its column: a fault of this program, not of the disk."""


class StoppedError(CallmoodError):
    """The run was to end before it knew what there is to do."""

    exit_code = Exit.INTERRUPTED


class ModelError(CallmoodError):
    """A model file is missing, damaged or does not match its recorded SHA-256."""


class EngineUnavailableError(CallmoodError):
    """A diarizer, device or decoder was asked for that cannot run on this machine."""


class ArchiveError(CallmoodError):
    """Results as Parquet that cannot be written, or read."""


class ClusterError(CallmoodError):
    """A cluster that does not answer, was lost, or has a worker that cannot do the work."""


class RecordingError(CallmoodError):
    """One recording cannot be analyzed; `status` is what its row in `calls` will say."""

    status = "unreadable"


class ReadFailedError(RecordingError):
    """A recording that the system did not let us read to its end this time."""

    status = "failed"


class EmptyRecordingError(RecordingError):
    """A recording that holds no samples."""

    status = "empty"
