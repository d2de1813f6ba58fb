"""Why a call was flagged, in two plain sentences made of the database's numbers."""

from __future__ import annotations

from callmood.report.in_depth import CallInDepth, Record
from callmood.text import clock, who

_NOT_ANALYZED = {
    "no_speech": "nobody speaks in it",
    "empty": "it holds no samples",
    "unreadable": "it could not be read",
    "failed": "its analysis failed",
    "quarantined": "its analysis took its process down twice",
}


def why(call: CallInDepth) -> tuple[str, str]:
    """Why a call was flagged, or why it was not; then what was heard."""
    summary = call.summary
    if summary["status"] != "ok":
        reason = _NOT_ANALYZED.get(summary["status"], summary["status"])
        return f"Not flagged, since {reason}.", summary["error"] or "There is nothing more to tell."
    if summary["escalations"] is None:
        return (
            "Not flagged, since nobody's emotion was inferred in it.",
            "Every turn is too short, or of somebody whose emotions the run was told to leave out.",
        )
    # As in `call_summary`: escalations of speakers known as agents flag no call.
    counted = [event for event in call.escalations if event["role"] != "agent"]
    if not counted:
        return (
            "Not flagged: nobody's negativity stayed above their own usual level for long enough to be an "
            "escalation.",
            f"The worst moment is {clock(summary['worst_s'])}, where {summary['worst_speaker']} reaches a "
            f"negativity of {summary['worst_negativity']:.2f}{_mood(summary)}.",
        )
    highest = counted[0]
    among = "" if len(counted) == 1 else f" This is the highest of {len(counted)} escalations."
    return (
        f"Flagged, since the negativity of {who(highest)} rises by {highest['height']:.2f} above the speaker's "
        f"own level, from {clock(highest['onset_s'])} to its peak at {clock(highest['peak_s'])}, and "
        f"{_end(highest)}.{among}",
        f"{_score(summary)}{_at_peak(call, highest)}{_mood(summary)}.",
    )


def _score(summary: Record) -> str:
    if summary["escalation_score"] is None:
        return "The call has no score, as an earlier version analyzed it (`callmood analyze --stale` gives it one)"
    return f"The call's score is {summary['escalation_score']:.2f}"


def _end(event: Record) -> str:
    if event["recovered"]:
        return f"is back by {clock(event['end_s'])}"
    return "has not come down when the speaker is last heard"


def _at_peak(call: CallInDepth, event: Record) -> str:
    """What the turn of the peak was taken for."""
    for turn in call.turns:
        if turn["speaker"] == event["speaker"] and turn["start_s"] <= event["peak_s"] <= turn["end_s"]:
            if turn["emotion"] is None:
                break
            return (
                f"; the turn of the peak ({clock(turn['start_s'])} to {clock(turn['end_s'])}) sounds "
                f"{turn['emotion']} ({turn['confidence']:.0%})"
            )
    return ""


def _mood(summary: Record) -> str:
    if summary["mood_start"] is None or summary["mood_end"] is None:
        return ""
    whose = "" if summary["mood_of"] == "everyone" else f" of the {summary['mood_of']}"
    return f"; the mood{whose} goes from {summary['mood_start']:+.2f} to {summary['mood_end']:+.2f}"
