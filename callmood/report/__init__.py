"""Reports: queries over the results database's views. What a report shows, anyone can query."""

from callmood.report.choice import ALL_CALLS, Choice, chosen
from callmood.report.queries import (
    Table,
    agents,
    calls,
    conversation,
    escalations,
    find_agent,
    find_call,
    moments,
    run_sql,
    speakers,
    trajectory,
    trajectory_peaks,
    turns,
)

__all__ = [
    "ALL_CALLS",
    "Choice",
    "Table",
    "agents",
    "calls",
    "chosen",
    "conversation",
    "escalations",
    "find_agent",
    "find_call",
    "moments",
    "run_sql",
    "speakers",
    "trajectory",
    "trajectory_peaks",
    "turns",
]
