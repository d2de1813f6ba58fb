"""What a measure is: a name, a value made of components that stand beside it, and the evidence it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Need:
    """Evidence without which a measure is NULL."""

    condition: str
    """SQL over the components."""
    lacking: str
    """What is wrong where the condition does not hold, for people."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of a view."""

    name: str
    meaning: str
    """The definition, in words, with its denominator."""
    value: str
    """SQL over the components."""
    components: tuple[str, ...]
    """Columns of the same view."""
    needs: tuple[Need, ...] = ()
    source: str = ""
    """Where the definition comes from, where it is not ours."""


def measured(measures: Sequence[Measure], *, keys: Sequence[str], base: str) -> str:
    """The query of a view with the given keys, each measure, its components, and the column `too_thin`.

    `base` is a query that has the keys and all components. A measure whose needs are not met is NULL, and
    `too_thin` then names it with the reason; it is NULL itself where all could be measured.
    """
    components = list(dict.fromkeys(c for measure in measures for c in measure.components))
    own = {measure.name for measure in measures} | set(keys)
    values = [
        f"CASE WHEN {_all(measure.needs)} THEN {measure.value} END AS {measure.name}" for measure in measures
    ]
    reasons = [
        f"CASE WHEN NOT coalesce({need.condition}, false)"
        f" AND {_all(measure.needs[:index])} THEN '{measure.name}: {need.lacking}' END"
        for measure in measures
        for index, need in enumerate(measure.needs)
    ]
    columns = [*keys, *values, *(name for name in components if name not in own)]
    return (
        f"SELECT {', '.join(columns)}, "
        f"nullif(concat_ws('; ', {', '.join(reasons)}), '') AS too_thin FROM ({base}) AS components"
    )


def _all(needs: Sequence[Need]) -> str:
    return " AND ".join(f"coalesce({need.condition}, false)" for need in needs) or "true"
