"""Reports: queries over the results database's views. What a report shows, anyone can query."""

from callmood.report.groups import Groups, find_groups, weeks_of_agent
from callmood.report.queries import (
    Table,
    agents,
    call,
    calls,
    escalations,
    find_agent,
    find_call,
    run_sql,
    speakers,
    trajectory,
    trajectory_peaks,
    turns,
)

__all__ = [
    "Groups",
    "Table",
    "agents",
    "call",
    "calls",
    "escalations",
    "find_agent",
    "find_call",
    "find_groups",
    "run_sql",
    "speakers",
    "trajectory",
    "trajectory_peaks",
    "turns",
    "weeks_of_agent",
]
