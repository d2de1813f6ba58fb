"""Reports: queries over the results database's views. What a report shows, anyone can query."""

from callmood.report.queries import (
    Table,
    agents,
    calls,
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
    "Table",
    "agents",
    "calls",
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
