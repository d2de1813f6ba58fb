"""Statistics of agents and other groups of calls, with their uncertainty; docs/agents.md defines each figure."""

from callmood.statistics.calls import CallRows, group_kinds, read_calls
from callmood.statistics.groups import MIN_CALLS, GroupStatistic, group_statistics
from callmood.statistics.measures import MEASURES, SOURCES, Measure

__all__ = [
    "MEASURES",
    "MIN_CALLS",
    "SOURCES",
    "CallRows",
    "GroupStatistic",
    "Measure",
    "group_kinds",
    "group_statistics",
    "read_calls",
]
