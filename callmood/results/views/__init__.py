"""The views that every report reads, a module for each topic."""

from __future__ import annotations

from callmood.results.measures import Measure
from callmood.results.views import calls, conversation, mood, overview, statistics

VIEWS: dict[str, str] = {
    **mood.VIEWS,
    **conversation.VIEWS,
    **calls.VIEWS,
    **overview.VIEWS,
    **statistics.VIEWS,
}
"""Name and query of each view, in the order of creation."""

MEASURES: dict[str, tuple[Measure, ...]] = {**mood.MEASURES, **conversation.MEASURES}
"""The measures of a view, by its name."""
