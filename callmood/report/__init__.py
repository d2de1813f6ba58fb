"""Reports: queries over the results database's views. What a report shows, anyone can query."""

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
    "Table",
    "agents",
    "call",
    "calls",
    "escalations",
    "find_agent",
    "find_call",
    "run_sql",
    "speakers",
    "trajectory",
    "trajectory_peaks",
    "turns",
]
