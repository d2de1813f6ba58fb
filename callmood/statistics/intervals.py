"""Intervals of ratios of sums over calls: from a bootstrap over calls, and Wilson's for rates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Whole = NDArray[np.intp]

DRAWS = 999
Z_95 = 1.959963984540054
"""Standard normal quantile of 0.975."""
PRIOR_CALLS = 1.0
"""How many degrees of freedom the pooled variance counts for beside a group's own."""
LONGEST_TAIL = 2.0
"""A bootstrap's quantile is taken for no more than this many times Student's: with a handful of calls some draws
hold one call over and over, and have no variance to speak of."""
MOST_DRAWN = 2000
"""Calls above which Student's quantiles are taken instead of drawn ones: the two then differ by less than chance
moves those of `DRAWS` draws."""
_BLOCK = 2_000_000
"""Numbers that are held at once."""


def sums(values: Reals, of: Whole, number: int) -> Reals:
    """Sum of the values of each of `number` groups, shape (number,)."""
    return np.asarray(np.bincount(of, weights=values, minlength=number), dtype=np.float64)


def wilson(value: Reals, trials: Reals) -> tuple[Reals, Reals]:
    """Low and high ends of Wilson's (1927) score interval of rates, 95 %.

    Parameters
    ----------
    value
        Shape (n,), in [0, 1].
    trials
        Shape (n,), above 0; need not be whole (trials that come in clusters count for fewer).

    Examples
    --------
    >>> low, high = wilson(np.array([0.5]), np.array([10.0]))
    >>> round(float(low[0]), 4), round(float(high[0]), 4)
    (0.2366, 0.7634)
    """
    spread = Z_95**2 / trials
    centre = (value + spread / 2) / (1 + spread)
    half = np.sqrt(spread * value * (1 - value) + spread**2 / 4) / (1 + spread)
    # Rounding must not leave the value out, or leave [0, 1].
    return np.clip(np.minimum(centre - half, value), 0, 1), np.clip(np.maximum(centre + half, value), 0, 1)


def bootstrap_t(
    numerators: Reals, denominators: Reals, lengths: Whole, pooled: Reals, *, seed: int
) -> tuple[Reals, Reals]:
    """How far the 95 % intervals of ratios reach below and above the ratios, from a bootstrap over calls.

    The bootstrap-t (Efron and Tibshirani 1993, chapter 12): draws of whole calls with replacement give the
    distribution of (R* - R) / se*, R the ratio of sums and se its linearized standard error; its quantiles
    times se are the interval's ends. Draws are multinomial, seeded, and the same for all samples of one
    length, so that no sample's depend on which others there are. Quantiles are held to `LONGEST_TAIL` times
    Student's, and are Student's above `MOST_DRAWN` calls and where all calls are alike. The se that they multiply is the one of
    `standard_errors`, so that a few equal values do not claim to be certain.

    Parameters
    ----------
    numerators, denominators
        Shape (calls,), one sample after the other.
    lengths
        Shape (samples,), calls of each sample, 2 or more.
    pooled
        Shape (samples,), variance per unit of denominator that the sample's peers have.

    Returns
    -------
    below, above
        Shape (samples,), both 0 or more: R - below and R + above are the interval's ends.
    """
    from scipy.special import stdtrit

    freedom = lengths - 1 + PRIOR_CALLS
    student = stdtrit(freedom, 0.975)
    low_t, high_t = -student, student.copy()
    starts = np.cumsum(lengths) - lengths
    for length in np.unique(lengths[lengths <= MOST_DRAWN]):
        (samples,) = np.nonzero(lengths == length)
        for some in np.array_split(samples, 1 + len(samples) * int(length) * 8 // _BLOCK):
            rows = starts[some, None] + np.arange(length)
            drawn = _studentized(numerators[rows], denominators[rows], seed=seed)
            drawn.partition((_TAIL, DRAWS - 1 - _TAIL), axis=1)
            varied = _varied(numerators[rows], denominators[rows])
            low_t[some[varied]] = drawn[varied, _TAIL]
            high_t[some[varied]] = drawn[varied, DRAWS - 1 - _TAIL]
    longest = LONGEST_TAIL * student
    errors = standard_errors(numerators, denominators, lengths, pooled)
    return np.clip(high_t, 0, longest) * errors, np.clip(-low_t, 0, longest) * errors


_TAIL = round(0.025 * (DRAWS + 1)) - 1
"""Place of the 2.5 % quantile among the sorted draws, from 0."""


def standard_errors(numerators: Reals, denominators: Reals, lengths: Whole, pooled: Reals) -> Reals:
    """Standard errors of ratios of sums, shape (samples,); parameters as for `bootstrap_t`.

    The linearized variance of a ratio R = sum x / sum d is n / (n - 1) * sum (x - R d)^2 / (sum d)^2 (Cochran
    1977, chapter 6). It is averaged with the one that `pooled` lets expect, the latter counting for
    `PRIOR_CALLS` degrees of freedom beside the n - 1 of the sample (Smyth 2004).
    """
    samples = np.repeat(np.arange(len(lengths)), lengths)
    totals = sums(denominators, samples, len(lengths))
    ratios = sums(numerators, samples, len(lengths)) / totals
    squares = sums((numerators - ratios[samples] * denominators) ** 2, samples, len(lengths))
    # n / (n - 1) times the n - 1 degrees of freedom.
    own, expected = lengths * squares / totals**2, pooled / totals
    return np.sqrt((own + PRIOR_CALLS * expected) / (lengths - 1 + PRIOR_CALLS))


def _studentized(x: Reals, d: Reals, *, seed: int) -> Reals:
    """(R* - R) / se* of every draw, shape (samples, DRAWS), for samples of one length, shape (samples, n)."""
    n = x.shape[1]
    total = d.sum(axis=1)
    residual = x - (x.sum(axis=1) / total)[:, None] * d
    columns = np.stack([d, residual, residual * residual, residual * d, d * d])
    drawn = np.concatenate([columns @ draws.T for draws in _draws(n, seed)], axis=2)
    d_sum, r_sum, rr_sum, rd_sum, dd_sum = drawn
    change = r_sum / d_sum
    variance = np.maximum(rr_sum - 2 * change * rd_sum + change**2 * dd_sum, 0) * n / (n - 1) / d_sum**2
    own = np.sum(residual**2, axis=1, keepdims=True) * n / (n - 1) / total[:, None] ** 2
    # A draw without variance lies infinitely far off, unless it is where the sample is.
    flat = variance <= 1e-12 * own
    far = np.where((own > 0) & (change != 0), np.copysign(np.inf, change), 0.0)
    return np.where(flat, far, change / np.sqrt(np.where(flat, 1.0, variance)))


def _varied(x: Reals, d: Reals) -> NDArray[np.bool_]:
    """Which samples, one a row, have any spread about their ratio that is more than rounding."""
    ratio = x.sum(axis=1) / d.sum(axis=1)
    squares = np.sum((x - ratio[:, None] * d) ** 2, axis=1)
    return np.asarray(squares > 1e-20 * np.sum(x**2, axis=1))


def _draws(n: int, seed: int) -> Iterator[Reals]:
    """How often each of n calls is drawn, in blocks of shape (draws, n) that make `DRAWS` draws together."""
    random = np.random.Generator(np.random.SFC64([seed, n]))
    block = max(1, _BLOCK // (4 * n))
    for first in range(0, DRAWS, block):
        draws = min(block, DRAWS - first)
        picked = random.integers(0, n, size=(draws, n), dtype=np.int32)
        picked += (np.arange(draws, dtype=np.int32) * n)[:, None]
        yield np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
