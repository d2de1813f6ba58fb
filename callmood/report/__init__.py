"""Reports: queries over the results database's views. What a report shows, anyone can query."""

from callmood.report.choice import ALL_CALLS, Choice, chosen
from callmood.report.groups import IN_ORDER, Groups, find_groups, weeks_of_agent
from callmood.report.queries import (
    Table,
    calls,
    conversation,
    escalations,
    find_agent,
    find_call,
    left_out,
    moments,
    run_sql,
    speaker_moods,
    speakers,
    trajectory,
    trajectory_peaks,
    turns,
)

__all__ = [
    "ALL_CALLS",
    "IN_ORDER",
    "Choice",
    "Groups",
    "Table",
    "calls",
    "chosen",
    "conversation",
    "escalations",
    "find_agent",
    "find_call",
    "find_groups",
    "left_out",
    "moments",
    "run_sql",
    "speaker_moods",
    "speakers",
    "trajectory",
    "trajectory_peaks",
    "turns",
    "weeks_of_agent",
]
