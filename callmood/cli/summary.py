"""What a run of `analyze` did, in sentences and as JSON."""

from __future__ import annotations

from typing import Any

from callmood.run import RunSummary, Truncation
from callmood.types import CallResult

SHOWN = 20
"""Failures, and warnings, that are told one by one."""

_NOT_OK = "callmood sql \"SELECT path, status, error FROM calls WHERE status <> 'ok' OR truncated\""


def problems(summary: RunSummary) -> list[str]:
    """Warnings and failures, one sentence each, the first of each kind only where there are many."""
    failed = [result.error or f"{result.recording.name}: {result.status}." for result in summary.failures]
    cut = [result.error or "" for result in summary.truncated]
    return [
        *(f"warning: {warning}" for warning in summary.warnings[:SHOWN]),
        *_more(len(summary.warnings), "see them all with --json"),
        *(failed + cut)[:SHOWN],
        *_more(len(failed + cut), f"see `{_NOT_OK}`"),
    ]


def outcome(summary: RunSummary) -> list[str]:
    """What was done, left out and kept."""
    sentences = []
    if summary.skipped:
        sentences.append(f"skipped {counted(summary.skipped, 'file')} without audio")
    if summary.duplicates:
        sentences.append(f"left out {counted(summary.duplicates, 'file')} with the content of another")
    if summary.purged:
        sentences.append(
            f"left out {counted(summary.purged, 'recording')} that had been purged; --include-purged analyzes such"
        )
    if summary.other_settings:
        sentences.append(
            f"{counted(summary.other_settings, 'recording')} had been analyzed with other settings or another "
            "model and stayed as they were; --stale analyzes them again"
        )
    if summary.left:
        why = "asked to end" if summary.asked_to_end else "--max-runtime is over"
        sentences.append(f"{why}: {counted(summary.left, 'recording')} left for the next run")
    if summary.analyzed:
        known = f"; {summary.already_known} already known" if summary.already_known else ""
        cut = f", {len(summary.truncated)} truncated" if summary.truncated else ""
        sentences += [
            _WHOSE[summary.emotion_for],
            f"analyzed {counted(summary.analyzed, 'recording')} ({_length(summary.audio_s)}) "
            f"in {summary.wall_s:.0f} s; {len(summary.failures)} failed{cut}{known}",
        ]
    elif summary.already_known:
        sentences.append(f"nothing new: {counted(summary.already_known, 'recording')} already known")
    else:
        sentences.append("no recordings found")
    return sentences


def one_line(summary: RunSummary) -> str:
    """The outcome in one line, for cron's mail."""
    numbers = [
        f"{summary.analyzed} analyzed ({_length(summary.audio_s)})",
        f"{len(summary.failures)} failed",
        f"{len(summary.truncated)} truncated",
        f"{summary.already_known} already known",
        f"{summary.other_settings} of them stale",
        f"{summary.writing} still being written",
        f"{summary.left} left",
    ]
    return f"callmood: {', '.join(numbers)}; {summary.wall_s:.0f} s, exit code {int(summary.exit_code)}"


def as_record(summary: RunSummary) -> dict[str, Any]:
    """The summary as `analyze --json` prints it."""
    return {
        "run_id": summary.run_id,
        "emotion_for": summary.emotion_for,
        "found": summary.found,
        "analyzed": summary.analyzed,
        "already_known": summary.already_known,
        "failed": len(summary.failures),
        "truncated": len(summary.truncated),
        "skipped": summary.skipped,
        "duplicates": summary.duplicates,
        "other_settings": summary.other_settings,
        "purged": summary.purged,
        "writing": summary.writing,
        "left": summary.left,
        "audio_s": summary.audio_s,
        "wall_s": summary.wall_s,
        "exit_code": int(summary.exit_code),
        "failures": [
            _identity(result) | {"status": result.status, "error": result.error}
            for result in summary.failures
        ],
        "truncations": [_identity(result) | {"lost_s": result.lost_s} for result in summary.truncated],
        "warnings": list(summary.warnings),
    }


_WHOSE = {
    "everyone": "emotions of everyone were inferred; --emotion-for customer leaves agents out",
    "customer": "emotions of customers alone were inferred, of nobody whose role is unknown",
    "agent": "emotions of agents alone were inferred, of nobody whose role is unknown",
}


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _more(count: int, advice: str) -> list[str]:
    return [f"and {count - SHOWN} more; {advice}"] if count > SHOWN else []


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _identity(result: CallResult | Truncation) -> dict[str, str]:
    return {"call_id": result.recording.call_id, "path": result.recording.legs[0].kept_path}
