"""Groups of calls: values with intervals, adjusted for queue, shrunk, and held against noise.

docs/agents.md defines every figure and names its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.statistics.calls import TEAM, CallRows
from callmood.statistics.compare import (
    Comparison,
    against_peers,
    clustering,
    mean_p_values,
    percentiles,
    q_values,
    rate_p_values,
    shrinkage,
    trends,
    variance_within,
)
from callmood.statistics.intervals import Reals, Whole, bootstrap_t, standard_errors, sums, wilson
from callmood.statistics.measures import MEASURES, Measure

MIN_CALLS = 5
"""Calls with a measure below which nothing is claimed of a group."""
MIN_WEEKS = 3
"""Weeks with calls below which no trend is claimed."""
FALSE_DISCOVERIES = 0.05
"""Share of false ones that is allowed among the differences said to be more than noise."""
SEED = 0


@dataclass(frozen=True, kw_only=True)
class GroupStatistic:
    """One measure of one group, as the table `group_statistics` keeps it; None is what is not claimed."""

    group_kind: str
    """`agent`, `queue`, `hour`, ..., or a metadata column."""
    group_name: str
    team: str | None
    """The agent's team; None for other kinds, and where none is told."""
    calls: int
    """All calls of the group."""
    hours: float | None
    measure: str
    calls_measured: int
    numerator: float
    denominator: float
    value: float | None
    low: float | None
    high: float | None
    team_value: float | None
    """The value of all groups of the team together (of all groups, where there are no teams)."""
    expected: float | None
    """What the team's values on the same queues let expect."""
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    adjusted: float | None
    """`team_value` + `difference`."""
    shrunk: float | None
    percentile: float | None
    """Of `shrunk` within the team, 0 to 100."""
    q_value: float | None
    within_noise: bool | None
    trend: float | None
    """Change per week."""
    trend_low: float | None
    trend_high: float | None
    why: str | None
    """Why something is None."""


def group_statistics(
    rows: CallRows,
    kind: str,
    *,
    measures: Sequence[Measure] = MEASURES,
    min_calls: int = MIN_CALLS,
    seed: int = SEED,
) -> list[GroupStatistic]:
    """Statistics of every group of one kind, ordered by group and then by measure as given.

    Agents are compared within their team (the one that most of their calls name) on the same queues, queues
    with one another, groups of any other kind with one another on the same queues. Calls of which the group is
    not known are left out. The order of the rows does not matter.

    Raises
    ------
    ValueError
        `rows` were not read for this kind, or `min_calls` is below 2.
    """
    if kind not in rows.keys:
        raise ValueError(f"the calls were read without {kind!r}")
    if min_calls < 2:
        raise ValueError(f"min_calls is {min_calls}: one call has no spread, so it must be 2 or more")
    arranged = _arrange(rows, kind)
    calls = np.bincount(arranged.group, minlength=len(arranged.names))
    length = rows.hours[arranged.rows]
    hours = sums(np.nan_to_num(length), arranged.group, len(calls))
    timed = np.bincount(arranged.group[~np.isnan(length)], minlength=len(calls))
    figures = [
        _of_each(_figures(rows, measure, arranged, min_calls=min_calls, seed=seed)) for measure in measures
    ]
    return [
        GroupStatistic(
            group_kind=kind,
            group_name=name,
            team=arranged.teams[group],
            calls=int(calls[group]),
            hours=float(hours[group]) if timed[group] else None,
            measure=measure.name,
            **of_measure[group],
        )
        for group, name in enumerate(arranged.names)
        for measure, of_measure in zip(measures, figures, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class _Arranged:
    """Calls by group, and whom they are compared with."""

    rows: Whole
    """Those of which the group is known, by group and, so that their order is no matter, by call_id."""
    group: Whole
    peers: Whole
    names: list[str]
    teams: list[str | None]
    team: Whole
    """Number of each group's team."""


def _arrange(rows: CallRows, kind: str) -> _Arranged:
    keys = rows.keys[kind]
    known = np.array([i for i, name in enumerate(keys) if name is not None], dtype=np.intp)
    names, group = _coded(keys[known])
    order = np.lexsort((_coded(rows.call_id[known])[1], group))
    known, group = known[order], group[order]
    teams: list[str | None] = [None] * len(names)
    if kind == "agent":
        for number, name in _most_frequent(group, rows.keys[TEAM][known]).items():
            teams[number] = name
    _, team = _coded([name or "" for name in teams])
    queue = np.zeros(len(known), dtype=np.intp)
    if kind != "queue":
        # Calls whose queue is not known are one another's peers.
        _, queue = _coded([name or "" for name in rows.keys["queue"][known]])
    stratum = team[group] * (queue.max(initial=0) + 1) + queue
    peers = np.unique(stratum, return_inverse=True)[1]
    return _Arranged(rows=known, group=group, peers=peers, names=names, teams=teams, team=team)


def _coded(texts: Sequence[str] | NDArray[np.object_]) -> tuple[list[str], Whole]:
    """The different texts in order, and the place of each text among them."""
    names = sorted(set(texts))
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[text] for text in texts], dtype=np.intp)


def _most_frequent(group: Whole, texts: NDArray[np.object_]) -> dict[int, str]:
    """Of each group, the text that most of its calls have; of several, the first in order."""
    counts: dict[tuple[int, str], int] = {}
    for number, text in zip(group.tolist(), texts, strict=True):
        if text is not None:
            counts[number, text] = counts.get((number, text), 0) + 1
    best: dict[int, str] = {}
    for (number, text), count in sorted(counts.items()):
        if number not in best or count > counts[number, best[number]]:
            best[number] = text
    return best


@dataclass(frozen=True, kw_only=True)
class _Calls:
    """The calls with one measure."""

    x: Reals
    """Shape (calls,), as all of them: numerators."""
    d: Reals
    """Denominators, above 0."""
    group: Whole
    peers: Whole
    week: Reals


def _figures(
    rows: CallRows, measure: Measure, arranged: _Arranged, *, min_calls: int, seed: int
) -> dict[str, NDArray[Any]]:
    """The fields of `GroupStatistic` that come of one measure, shape (groups,); NaN where nothing is claimed."""
    groups = len(arranged.names)
    held = _with_measure(rows, measure, arranged)
    comparison = against_peers(held.x, held.d, held.group, held.peers, groups=groups)
    calls = np.bincount(held.group, minlength=groups)
    enough = calls >= min_calls
    judged = enough & (comparison.calls >= min_calls)

    numerator, denominator = sums(held.x, held.group, groups), sums(held.d, held.group, groups)
    value = numerator / np.where(enough, denominator, np.nan)
    difference = np.where(judged, comparison.difference, np.nan)
    if measure.kind == "rate":
        cluster = clustering(held.x, held.d, held.group, groups=groups)
        ends = _wilson_ends(value, denominator / cluster)
        trials = comparison.denominator / cluster / (1 - comparison.own_share)
        observed = _wilson_ends(np.where(judged, comparison.expected, np.nan) + difference, trials)
        difference_ends = tuple(end - comparison.expected for end in observed)
        p = rate_p_values(comparison, cluster)
    else:
        ends, _ = _bootstrap_ends(
            held, value, variance_within(held.x, held.d, held.group, groups=groups), seed
        )
        difference_ends, errors = _bootstrap_ends(
            _compared(held, comparison), difference, comparison.variance, seed,
            narrower=np.sqrt(1 - comparison.own_share),
        )  # fmt: skip
        p = mean_p_values(comparison, errors)
    q = np.full(groups, np.nan)
    q[judged] = q_values(p[judged])

    team_value = _team_values(held, arranged.team)
    shrunk = _within(measure, team_value + shrinkage(comparison) * difference)
    line = trends(comparison.residual, held.d, held.week, held.group, groups=groups)
    straight = enough & (line.weeks >= MIN_WEEKS)
    slope = np.where(straight, line.slope, np.nan)
    return {
        "calls_measured": calls,
        "numerator": numerator,
        "denominator": denominator,
        "value": value,
        "low": _within(measure, ends[0]),
        "high": _within(measure, ends[1]),
        "team_value": np.where(enough, team_value, np.nan),
        "expected": np.where(judged, comparison.expected, np.nan),
        "difference": difference,
        "difference_low": difference_ends[0],
        "difference_high": difference_ends[1],
        "adjusted": _within(measure, team_value + difference),
        "shrunk": shrunk,
        "percentile": _percentiles_within(shrunk, arranged.team),
        "q_value": q,
        "trend": slope,
        "trend_low": slope - line.half_width,
        "trend_high": slope + line.half_width,
        "why": _reasons(calls, comparison.calls, line.weeks, min_calls=min_calls),
    }


def _of_each(figures: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Figures by name as records, NaN as None."""
    columns = {
        name: [None if value != value else value for value in values.tolist()]
        for name, values in figures.items()
    }
    columns["within_noise"] = [None if q is None else q > FALSE_DISCOVERIES for q in columns["q_value"]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _with_measure(rows: CallRows, measure: Measure, arranged: _Arranged) -> _Calls:
    x, d = rows.numerators[measure.name][arranged.rows], rows.denominators[measure.name][arranged.rows]
    known = ~np.isnan(x) & (d > 0)
    return _Calls(
        x=x[known],
        d=d[known],
        group=arranged.group[known],
        peers=arranged.peers[known],
        week=rows.week[arranged.rows][known],
    )


def _compared(held: _Calls, comparison: Comparison) -> _Calls:
    """The calls that have peers, with the residuals in place of the numerators."""
    kept = comparison.compared
    return _Calls(
        x=comparison.residual[kept],
        d=held.d[kept],
        group=held.group[kept],
        peers=held.peers[kept],
        week=held.week[kept],
    )


def _wilson_ends(value: Reals, trials: Reals) -> tuple[Reals, Reals]:
    """Ends of the intervals of rates, NaN where the rate is."""
    low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    some = ~np.isnan(value)
    low[some], high[some] = wilson(value[some], trials[some])
    return low, high


def _bootstrap_ends(
    held: _Calls, value: Reals, pooled: float, seed: int, *, narrower: Reals | None = None
) -> tuple[tuple[Reals, Reals], Reals]:
    """Ends of the intervals of the groups' ratios, and their standard errors, NaN where the value is.

    `narrower`: what to multiply standard errors and lengths by.
    """
    low, high, errors = (np.full(len(value), np.nan) for _ in range(3))
    (some,) = np.nonzero(~np.isnan(value))
    if len(some):
        chosen = ~np.isnan(value)[held.group]
        x, d = held.x[chosen], held.d[chosen]
        lengths = np.bincount(held.group[chosen])[some]
        variances = np.full(len(some), pooled)
        factor = 1.0 if narrower is None else narrower[some]
        below, above = bootstrap_t(x, d, lengths, variances, seed=seed)
        low[some], high[some] = value[some] - below * factor, value[some] + above * factor
        errors[some] = standard_errors(x, d, lengths, variances) * factor
    return (low, high), errors


def _team_values(held: _Calls, team: Whole) -> Reals:
    """The ratio over all calls of each group's team, shape (groups,); NaN where it has none."""
    of = team[held.group]
    total = sums(held.d, of, len(team))
    ratio = sums(held.x, of, len(team)) / np.where(total > 0, total, np.nan)
    return np.asarray(ratio[team])


def _percentiles_within(shrunk: Reals, team: Whole) -> Reals:
    found = np.full(len(shrunk), np.nan)
    for number in np.unique(team):
        mates = (team == number) & ~np.isnan(shrunk)
        found[mates] = percentiles(shrunk[mates])
    return found


def _within(measure: Measure, values: Reals) -> Reals:
    """Values held to what the measure can be."""
    lowest = -np.inf if measure.lowest is None else measure.lowest
    highest = np.inf if measure.highest is None else measure.highest
    return np.clip(values, lowest, highest)


def _reasons(calls: Whole, compared: Whole, weeks: Whole, *, min_calls: int) -> NDArray[np.object_]:
    """For each group, why something is not claimed; None where all is."""
    return np.array(
        [
            _reason(*counts, min_calls=min_calls)
            for counts in zip(calls.tolist(), compared.tolist(), weeks.tolist(), strict=True)
        ],
        dtype=object,
    )


def _reason(calls: int, compared: int, weeks: int, *, min_calls: int) -> str | None:
    if calls < min_calls:
        return f"{calls} calls with this measure, of at least {min_calls}"
    reasons = []
    if compared < min_calls:
        reasons.append(
            f"no comparison: {compared} calls of queues that others take too, of at least {min_calls}"
        )
    if weeks < MIN_WEEKS:
        reasons.append(f"no trend: calls in {weeks} weeks, of at least {MIN_WEEKS}")
    return "; ".join(reasons) or None
