"""The views that every report reads, a module for each topic."""

from __future__ import annotations

from callmood.results.views import calls, statistics

VIEWS: dict[str, str] = {**calls.VIEWS, **statistics.VIEWS}
"""Name and query of each view, in the order of creation."""
