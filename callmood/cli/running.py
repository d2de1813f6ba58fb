"""Running `analyze` and `retry`: signals, progress, and telling what was done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from callmood.cli import summary as told
from callmood.cli.output import emit, say, write_json
from callmood.cli.progress import progress_shown
from callmood.errors import Exit
from callmood.run import RunSummary
from callmood.settings import load_settings
from callmood.stopping import FINISH_WITHIN_S, Stopping


def run_and_tell(
    work: Callable[..., RunSummary],
    given: Mapping[str, Any],
    *,
    quiet: bool,
    one_line: bool,
    as_json: bool,
) -> Exit:
    """Do the work, tell about it, and answer with the exit code.

    `work` is called with `progress` and `stopping`. SIGTERM, which cron and systemd send, lets the calls finish
    that are being analyzed, for `FINISH_WITHIN_S` at most; Ctrl-C does not wait.
    """
    stopping = Stopping(max_runtime_s=load_settings(given).settings.max_runtime)

    def ask(*_: object) -> None:
        stopping.ask()
        # The signal may have come while a line was being written, and then no other can be.
        with suppress(RuntimeError, OSError):
            say(f"asked to end: finishing the calls at hand, within {FINISH_WITHIN_S:.0f} s")

    before = signal.signal(signal.SIGTERM, ask)
    try:
        with progress_shown(quiet=quiet) as progress:
            summary = work(progress=progress, stopping=stopping)
    except KeyboardInterrupt:
        say("interrupted; finished recordings are kept, run again to go on")
        return Exit.INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        write_json(told.as_record(summary))
    if one_line:
        emit([told.one_line(summary) + "\n"])
    for sentence in told.problems(summary):
        say(sentence)
    if not quiet:
        for sentence in told.outcome(summary):
            say(sentence)
    return summary.exit_code
