"""Groups held against their peers: expected values, shrinkage, tests, ranks and trends, as arrays.

In what follows `calls` is the number of calls with the measure, x and d are their numerators and denominators,
`group` and `peers` the whole numbers, from 0, of the group that each belongs to and of the calls that it can be
compared with. What is not defined is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from callmood.statistics.intervals import PRIOR_CALLS, Reals, Whole, sums

_ALONE = 1 - 1e-9
"""Share of its peers' denominators from which on a group has no peers but itself."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Groups against their peers."""

    residual: Reals
    """Shape (calls,): x - P d, with P = sum x / sum d over the call's peers."""
    compared: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Shape (calls,): whether another group has calls among the peers; the others enter nothing below."""
    calls: Whole
    """Shape (groups,), as all that follow: how many are compared."""
    denominator: Reals
    expected: Reals
    """sum P d / sum d."""
    difference: Reals
    """sum residual / sum d: observed less expected."""
    own_share: Reals
    """How much of the expectation the group makes itself, in [0, 1): sum over peers of p^2 / (q sum d), where p is
    what the group has of the peers' denominators and q their sum. The difference is that much smaller than the
    one from the others alone, and varies less."""
    variance: float
    """Variance per unit of denominator within groups and peers, pooled over groups."""


def against_peers(x: Reals, d: Reals, group: Whole, peers: Whole, *, groups: int) -> Comparison:
    """Indirect standardization: each group's observed less what its peers let expect."""
    number = int(peers.max(initial=-1)) + 1
    peer_x, peer_d = sums(x, peers, number), sums(d, peers, number)
    cells, cell = np.unique(group * number + peers, return_inverse=True)
    cell_d = sums(d, cell, len(cells))
    cell_group, cell_peers = np.divmod(cells, max(1, number))
    share = cell_d / peer_d[cell_peers]
    shared = share < _ALONE
    compared = shared[cell]
    level = peer_x / np.where(peer_d > 0, peer_d, 1)
    residual = x - level[peers] * d

    denominator = sums(cell_d * shared, cell_group, groups)
    with np.errstate(invalid="ignore"):
        difference = sums(residual * compared, group, groups) / denominator
        expected = sums(cell_d * level[cell_peers] * shared, cell_group, groups) / denominator
        own_share = sums(cell_d * share * shared, cell_group, groups) / denominator
    calls = np.bincount(group[compared], minlength=groups)
    return Comparison(
        residual=residual,
        compared=compared,
        calls=calls,
        denominator=denominator,
        expected=expected,
        difference=difference,
        own_share=own_share,
        variance=variance_within(residual[compared], d[compared], group[compared], groups=groups),
    )


def variance_within(x: Reals, d: Reals, group: Whole, *, groups: int) -> float:
    """Variance of x per unit of d about each group's ratio, pooled; NaN where no group has two calls."""
    calls = np.bincount(group, minlength=groups)
    total = sums(d, group, groups)
    ratio = sums(x, group, groups) / np.where(total > 0, total, 1)
    squares = np.sum((x - ratio[group] * d) ** 2)
    freedom = np.sum(total * (1 - 1 / np.maximum(calls, 1)))
    return float(squares / freedom) if freedom > 0 else float("nan")


def clustering(x: Reals, d: Reals, group: Whole, *, groups: int) -> float:
    """How many trials of a rate count for one, since those of one call are alike: the design effect (Kish 1965),
    pooled over groups. 1 where there is one trial per call; never less."""
    total = sums(d, group, groups)
    rate = sums(x, group, groups) / np.where(total > 0, total, 1)
    independent = np.sum(total * rate * (1 - rate))
    squares = np.sum((x - rate[group] * d) ** 2)
    return max(1.0, float(squares / independent)) if independent > 0 else 1.0


def variance_between(comparison: Comparison) -> float:
    """Variance of the groups' true differences, by the method of moments; 0 where they differ no more than
    noise would let them.

    With v the variance within per unit of denominator, w a group's denominator and h its own share, a
    difference has the variance (1 - h) (t + v / w) if the true differences have the variance t; so the sum of w
    times its square is expected to be the sum of (1 - h) (w t + v). Without queues that is the estimator of
    Buehlmann and Straub (1970).
    """
    with_peers = comparison.denominator > 0
    weight = comparison.denominator[with_peers]
    free = 1 - comparison.own_share[with_peers]
    seen = np.sum(weight * comparison.difference[with_peers] ** 2)
    by_chance = comparison.variance * np.sum(free)
    if not len(weight) or not np.isfinite(by_chance):
        return 0.0
    return max(0.0, float((seen - by_chance) / np.sum(free * weight)))


def shrinkage(comparison: Comparison) -> Reals:
    """What is left of each difference when it is shrunk toward none, shape (groups,), in [0, 1].

    t / (t + v / w), as in `variance_between`: the weight of the posterior mean in the normal-normal model and,
    as it equals w / (w + v / t), in the beta-binomial one with v / t = alpha + beta.
    """
    between = variance_between(comparison)
    if between == 0:
        return np.where(comparison.denominator > 0, 0.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            comparison.denominator > 0,
            between / (between + comparison.variance / comparison.denominator),
            np.nan,
        )


def rate_p_values(comparison: Comparison, cluster: float) -> Reals:
    """Two-sided p-values of differences of rates: the mid-p of a binomial with the expected rate.

    Trials count for 1 / `cluster` each; the difference is set against its own standard deviation, which is the
    root of 1 - own share times that of the observed rate.
    """
    from scipy.special import betainc

    n = comparison.denominator / cluster
    rate = np.clip(comparison.expected, 0, 1)
    with np.errstate(invalid="ignore"):
        k = n * np.clip(rate + comparison.difference / np.sqrt(1 - comparison.own_share), 0, 1)
        at_least = np.where(k > 0, betainc(np.where(k > 0, k, 1), n - k + 1, rate), 1.0)
        room = n - k > 0
        above = np.where(room, betainc(k + 1, np.where(room, n - k, 1), rate), 0.0)
    upper = (at_least + above) / 2
    return np.asarray(np.minimum(1.0, 2 * np.minimum(upper, 1 - upper)))


def mean_p_values(comparison: Comparison, errors: Reals) -> Reals:
    """Two-sided p-values of differences over their standard errors, by Student's distribution.

    The error is the larger of the group's own, `errors`, and the one that the pooled variance lets expect: with
    skewed numbers, a group that by chance has low ones only has little variance of its own as well.
    """
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = np.sqrt((1 - comparison.own_share) * comparison.variance / comparison.denominator)
        t = np.abs(comparison.difference) / np.maximum(errors, pooled)
    # Without any spread at all, a difference is certain, and none is none.
    t = np.where(comparison.difference == 0, 0.0, t)
    return np.asarray(2 * stdtr(comparison.calls - 1 + PRIOR_CALLS, -t))


def q_values(p: Reals) -> Reals:
    """The least false discovery rate at which each would be a discovery (Benjamini and Hochberg 1995).

    Examples
    --------
    >>> [round(float(q), 3) for q in q_values(np.array([0.01, 0.04, 0.03, 0.5]))]
    [0.04, 0.053, 0.053, 0.5]
    """
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return q


def percentiles(values: Reals) -> Reals:
    """Percent of the values that are lower, equal ones counting half; NaN where there is one value only.

    Examples
    --------
    >>> [float(p) for p in percentiles(np.array([3.0, 1.0, 1.0, 9.0]))]
    [62.5, 25.0, 25.0, 87.5]
    """
    if len(values) < 2:
        return np.full(len(values), np.nan)
    ordered = np.sort(values)
    below, up_to = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray(50 * (below + up_to) / len(values))


@dataclass(frozen=True, kw_only=True)
class Trends:
    """Straight lines through the groups' calls over time; arrays of shape (groups,)."""

    slope: Reals
    """Change of the measure per week."""
    half_width: Reals
    """Of the 95 % interval."""
    weeks: Whole
    """Different weeks with calls."""


def trends(residual: Reals, d: Reals, week: Reals, group: Whole, *, groups: int) -> Trends:
    """Weighted least squares of each group's residual / d on the week, with weights d, shape (calls,) each.

    `residual` is x less what the call's peers let expect, so that a change of queues is no trend. The variance
    about the line is averaged with that of all groups, which counts for `PRIOR_CALLS` degrees of freedom.
    """
    from scipy.special import stdtrit

    known = ~np.isnan(week)
    residual, d, week, group = residual[known], d[known], week[known], group[known]
    calls = np.bincount(group, minlength=groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        denominator = sums(d, group, groups)
        level = sums(residual, group, groups) / denominator
        since = week - (sums(d * week, group, groups) / denominator)[group]
        spread = sums(d * since**2, group, groups)
        slope = sums(since * residual, group, groups) / spread
        off = residual - d * (level[group] + slope[group] * since)
        squares = np.nan_to_num(sums(off**2 / d, group, groups))
        freedom = calls - 2
        several = np.isfinite(slope) & (freedom > 0)
        pooled = squares[several].sum() / max(1, freedom[several].sum())
        variance = (squares + PRIOR_CALLS * pooled) / (freedom + PRIOR_CALLS)
        half_width = stdtrit(np.where(several, freedom + PRIOR_CALLS, 1), 0.975) * np.sqrt(variance / spread)
    held = np.unique(np.stack([group, np.floor(week).astype(np.intp)]), axis=1)[0]
    return Trends(
        slope=np.where(several, slope, np.nan),
        half_width=np.where(several, half_width, np.nan),
        weeks=np.bincount(held, minlength=groups),
    )
