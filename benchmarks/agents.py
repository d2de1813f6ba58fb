"""Agent statistics against known truth: `python -m benchmarks.agents > benchmarks/agents.md`.

Simulates teams whose agents have known effects, and holds `callmood.statistics` against them: how often the 95 %
intervals cover the truth, by number of calls and for other ways to make them, how well the shrunk and adjusted
values rank, and how often noise is taken for a difference. Seeded; `--teams 20` for a quick look. The constants of
`callmood.statistics.intervals` were chosen with `--seed 1`, which the default does not use.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callmood.statistics import MIN_CALLS, CallRows, GroupStatistic, Measure, group_statistics
from callmood.statistics.groups import FALSE_DISCOVERIES
from callmood.statistics.intervals import DRAWS, Reals, _draws, wilson
from callmood.statistics.measures import MEASURES

AGENTS = 100
QUEUES = 4
FEWEST, MOST = 3, 300
"""Calls of an agent; the logarithm is uniform between."""
WEEKS = 20
CLASSES = ((3, 4), (5, 9), (10, 29), (30, 99), (100, 300))
INTERRUPTIONS = Measure(
    name="interruptions_per_hour",
    title="interruptions per hour",
    unit="per hour",
    kind="mean",
    source="call_summary",
    numerator="interruptions",
    denominator="hours",
    numerator_name="interruptions",
    denominator_name="hours_measured",
    lowest=0.0,
)
SIMULATED = (*(m for m in MEASURES if m.name != "negativity_mean"), INTERRUPTIONS)


@dataclass(frozen=True, kw_only=True)
class Team:
    """One simulated team and its truth."""

    rows: CallRows
    group: NDArray[np.intp]
    """Shape (calls,): the agent of each call."""
    queue: NDArray[np.intp]
    mix: Reals
    """Shape (agents, queues): the probability that an agent's call is of a queue; rows sum to 1."""
    numerator: Mapping[str, Reals]
    """By measure, shape (agents, queues): what a call's numerator is expected to be."""
    denominator: Mapping[str, Reals]
    slope: Reals
    """Shape (agents,): change of mood_change_mean per week."""


def simulate(random: np.random.Generator, *, spread: float = 1.0) -> Team:
    """A team of `AGENTS`, whose true differences are `spread` times the usual; 0: all are the same.

    Queues differ more than agents, and those who do better get more of the hard ones, so that raw values
    mislead. All numbers of one call hang together; escalations of one call recover alike.
    """
    calls = np.exp(random.uniform(np.log(FEWEST), np.log(MOST + 1), AGENTS)).astype(int)
    skill = spread * random.normal(size=AGENTS)
    hardness = np.array([-1.2, -0.4, 0.4, 1.2])
    leaning = np.exp(0.9 * np.outer(skill if spread else random.normal(size=AGENTS), hardness))
    mix = leaning * random.gamma(1.5, size=(AGENTS, QUEUES))
    mix /= mix.sum(axis=1, keepdims=True)
    group = np.repeat(np.arange(AGENTS), calls)
    total = len(group)
    queue = (random.random(total)[:, None] > np.cumsum(mix, axis=1)[group]).sum(axis=1).clip(max=QUEUES - 1)
    week = random.uniform(0, WEEKS, total)
    slope = 0.005 * spread * random.normal(size=AGENTS)

    def own(size: float) -> Reals:
        """An effect of agents that goes with their skill in part; better is lower."""
        return size * (-0.8 * skill + 0.6 * spread * random.normal(size=AGENTS))[:, None]

    def chance(base: float, agent: Reals, of_queue: float) -> Reals:
        return 1 / (1 + np.exp(-(base + agent + of_queue * hardness)))

    cell = (group, queue)
    escalates = chance(-1.7, own(0.45), 0.6)
    escalated = random.random(total) < escalates[cell]
    escalations = escalated * (1 + (random.random(total) < 0.25))
    recovers = chance(0.4, -own(0.4), -0.3)
    of_call = random.beta(3 * recovers[cell], 3 * (1 - recovers[cell]))
    recovered = random.binomial(escalations, of_call)
    seconds = 25 * np.exp(own(0.2) + 0.1 * hardness)
    recovery_s = np.array(
        seconds[cell] * recovered * random.gamma(1.5 * np.maximum(recovered, 1), 1 / (1.5 * np.maximum(recovered, 1)))
    )  # fmt: skip
    mood = -own(0.08) - 0.1 * hardness
    # Calls as a whole go well or badly, now and then very badly.
    mood_change = (
        mood[cell] + slope[group] * (week - WEEKS / 2) + 0.3 * (random.gamma(4, size=total) - 4) / -2
    )
    share = chance(0.1, own(0.25), 0.15)
    talk_share = random.beta(6 * share[cell], 6 * (1 - share[cell]))
    hours = random.lognormal(-2.7, 0.7, total)
    interrupts = 8 * np.exp(own(0.3) + 0.2 * hardness)
    interruptions = random.poisson(interrupts[cell] * hours * random.gamma(1.5, 1 / 1.5, total))

    one, ones = np.ones((AGENTS, QUEUES)), np.ones(total)
    events = 1.25 * escalates
    return Team(
        rows=CallRows(
            call_id=_names("call", np.arange(total)),
            keys={
                "agent": _names("agent", group),
                "queue": _names("queue", queue),
                "team": np.full(total, None, dtype=object),
            },
            hours=hours,
            week=week,
            numerators={
                "escalation_rate": escalated.astype(float),
                "recovery_rate": recovered.astype(float),
                "recovery_s_mean": np.where(recovered > 0, recovery_s, np.nan),
                "mood_change_mean": mood_change,
                "talk_share_mean": talk_share,
                "interruptions_per_hour": interruptions.astype(float),
            },
            denominators={
                "escalation_rate": ones,
                "recovery_rate": escalations.astype(float),
                "recovery_s_mean": recovered.astype(float),
                "mood_change_mean": ones,
                "talk_share_mean": ones,
                "interruptions_per_hour": hours,
            },
        ),
        group=group,
        queue=queue,
        mix=mix,
        numerator={
            "escalation_rate": escalates,
            "recovery_rate": events * recovers,
            "recovery_s_mean": events * recovers * seconds,
            "mood_change_mean": mood,
            "talk_share_mean": share,
            "interruptions_per_hour": interrupts * np.exp(-2.7 + 0.7**2 / 2),
        },
        denominator={
            "escalation_rate": one,
            "recovery_rate": events,
            "recovery_s_mean": events * recovers,
            "mood_change_mean": one,
            "talk_share_mean": one,
            "interruptions_per_hour": np.full((AGENTS, QUEUES), np.exp(-2.7 + 0.7**2 / 2)),
        },
        slope=slope,
    )


def _names(prefix: str, numbers: NDArray[np.intp]) -> NDArray[np.object_]:
    return np.array([f"{prefix} {number:06}" for number in numbers.tolist()], dtype=object)


def true_values(team: Team, measure: str) -> Reals:
    """What each agent's ratio tends to with ever more calls of the agent's own mix of queues."""
    x, d = team.numerator[measure], team.denominator[measure]
    return np.asarray((team.mix * x).sum(axis=1) / (team.mix * d).sum(axis=1))


def true_differences(team: Team, measure: str) -> Reals:
    """What observed less expected tends to, with the numbers of calls of every agent and queue as they are."""
    calls = np.zeros((AGENTS, QUEUES))
    x, d = team.rows.numerators[measure], team.rows.denominators[measure]
    known = ~np.isnan(x) & (d > 0)
    np.add.at(calls, (team.group[known], team.queue[known]), d[known])
    ratio = team.numerator[measure] / team.denominator[measure]
    shared = (calls > 0).sum(axis=0) > 1
    pooled = (calls * ratio).sum(axis=0) / np.maximum(calls.sum(axis=0), 1e-12)
    weight = calls * shared
    return np.asarray((weight * (ratio - pooled)).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-12))


def true_standing(team: Team, measure: str) -> Reals:
    """Each agent's ratio on the queues of the whole team: what a fair ranking would go by."""
    of_team = np.bincount(team.queue, minlength=QUEUES) / len(team.queue)
    x, d = team.numerator[measure], team.denominator[measure]
    return np.asarray((of_team * x).sum(axis=1) / (of_team * d).sum(axis=1))


class Counts:
    """Hits and tries by any key."""

    def __init__(self) -> None:
        self.hits: dict[object, int] = defaultdict(int)
        self.tries: dict[object, int] = defaultdict(int)

    def add(self, key: object, hit: bool) -> None:
        self.hits[key] += bool(hit)
        self.tries[key] += 1

    def percent(self, key: object) -> str:
        return f"{100 * self.hits[key] / self.tries[key]:.1f}" if self.tries[key] else "-"


def size_class(calls: int) -> str:
    """The class of a number of calls; smaller ones than the least have none."""
    for least, most in CLASSES:
        if least <= calls <= most:
            return f"{least}-{most}"
    return "fewer"


def cover(
    team: Team, found: list[GroupStatistic], values: Counts, differences: Counts, lines: Counts
) -> None:
    """Count which intervals hold the truth, by measure and by calls with the measure."""
    of = {m.name: (true_values(team, m.name), true_differences(team, m.name)) for m in SIMULATED}
    for row in found:
        agent = int(row.group_name.split()[1])
        true_value, true_difference = of[row.measure]
        for key in ((row.measure, size_class(row.calls_measured)), (row.measure, "claimed")):
            if key[1] == "claimed" and row.calls_measured < MIN_CALLS:
                continue
            if row.low is not None and row.high is not None:
                values.add(key, row.low <= true_value[agent] <= row.high)
            if row.difference_low is not None and row.difference_high is not None:
                differences.add(key, row.difference_low <= true_difference[agent] <= row.difference_high)
            if row.measure == "mood_change_mean" and row.trend_low is not None and row.trend_high is not None:
                lines.add(key, row.trend_low <= team.slope[agent] <= row.trend_high)


def other_intervals(x: Reals, d: Reals) -> Iterator[tuple[str, float, float]]:
    """Intervals of the ratio of one sample, as other methods make them."""
    from scipy.special import ndtr, ndtri, stdtrit

    n, total = len(x), d.sum()
    ratio = x.sum() / total
    residual = x - ratio * d
    error = np.sqrt(n / (n - 1) * np.sum(residual**2)) / total
    draws = np.concatenate(list(_draws(n, 0)))
    d_sum, r_sum = draws @ d, draws @ residual
    drawn = ratio + r_sum / d_sum
    yield "percentile", *np.quantile(drawn, (0.025, 0.975))
    below = np.clip((np.sum(drawn < ratio) + np.sum(drawn == ratio) / 2) / DRAWS, 1 / DRAWS, 1 - 1 / DRAWS)
    bias = ndtri(below)
    left_out = np.array([(x.sum() - x[i]) / max(total - d[i], 1e-12) for i in range(n)])
    off = left_out.mean() - left_out
    acceleration = np.sum(off**3) / (6 * np.sum(off**2) ** 1.5) if np.any(off) else 0.0
    ends = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-1.96, 1.96)]
    yield "BCa", *np.quantile(drawn, ndtr(ends))
    reach = stdtrit(n - 1, 0.975) * error
    yield "Student", ratio - reach, ratio + reach
    if error > 0:
        change = r_sum / d_sum
        squares = draws @ residual**2 - 2 * change * (draws @ (residual * d)) + change**2 * (draws @ d**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = change / (np.sqrt(n / (n - 1) * np.maximum(squares, 0)) / d_sum)
        t = np.sort(np.nan_to_num(t, nan=0.0, posinf=np.inf, neginf=-np.inf))
        yield "bootstrap-t", ratio - t[974] * error, ratio - t[24] * error
    else:
        yield "bootstrap-t", ratio, ratio


def cover_otherwise(team: Team, counts: Counts) -> None:
    """Count what other methods cover, by measure, method and number of calls."""
    for measure in SIMULATED:
        x, d = team.rows.numerators[measure.name], team.rows.denominators[measure.name]
        truth = true_values(team, measure.name)
        for agent in range(AGENTS):
            held = (team.group == agent) & ~np.isnan(x) & (d > 0)
            calls = int(held.sum())
            if calls < MIN_CALLS:
                continue
            intervals = [*other_intervals(x[held], d[held])]
            if measure.kind == "rate":
                low, high = wilson(np.array([x[held].sum() / d[held].sum()]), np.array([d[held].sum()]))
                intervals.append(("Wilson, trials as if independent", float(low[0]), float(high[0])))
            for method, low_end, high_end in intervals:
                hit = low_end - 1e-12 <= truth[agent] <= high_end + 1e-12
                counts.add((measure.name, method, size_class(calls)), hit)
                counts.add((measure.name, method, "claimed"), hit)


@dataclass
class Ranking:
    """How one way to rank the agents of a team does, summed over teams."""

    correlation: float = 0.0
    squared_error: float = 0.0
    few_on_top: int = 0
    """Teams in which the agent said to be highest has fewer than 10 calls."""
    true_rank_of_top: float = 0.0
    """Share of the agents that are in truth lower than the one said to be highest."""
    teams: int = 0


def rank(team: Team, found: list[GroupStatistic], rankings: dict[tuple[str, str], Ranking]) -> None:
    """Add how raw, adjusted and shrunk values of this team agree with the truth."""
    calls = np.bincount(team.group, minlength=AGENTS)
    ways: dict[str, Callable[[GroupStatistic], float | None]] = {
        "raw": lambda row: row.value,
        "adjusted for queue": lambda row: row.adjusted,
        "adjusted and shrunk": lambda row: row.shrunk,
    }
    for measure in SIMULATED:
        truth = true_standing(team, measure.name)
        rows = [row for row in found if row.measure == measure.name]
        rows = [row for row in rows if all(way(row) is not None for way in ways.values())]
        agents = np.array([int(row.group_name.split()[1]) for row in rows])
        for name, way in ways.items():
            said = np.array([way(row) for row in rows], dtype=float)
            ranking = rankings.setdefault((measure.name, name), Ranking())
            ranking.correlation += _rank_correlation(said, truth[agents])
            ranking.squared_error += float(np.mean((said - truth[agents]) ** 2))
            top = agents[said.argmax()]
            ranking.few_on_top += int(calls[top] < 10)
            ranking.true_rank_of_top += float(np.mean(truth[agents] < truth[top]))
            ranking.teams += 1


def _rank_correlation(a: Reals, b: Reals) -> float:
    from scipy.stats import rankdata

    if np.ptp(a) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def report(
    options: argparse.Namespace,
    coverage: Mapping[str, Counts],
    others: Counts,
    flags: Counts,
    rankings: Mapping[tuple[str, str], Ranking],
) -> Iterator[str]:
    """The lines of the Markdown document."""
    classes = [f"{least}-{most}" for least, most in CLASSES]
    yield _HEAD.format(
        command=f"python -m benchmarks.agents --teams {options.teams} --others {options.others} --seed {options.seed}",
        teams=options.teams,
        agents=AGENTS,
        fewest=FEWEST,
        most=MOST,
        claimed=MIN_CALLS,
        discoveries=FALSE_DISCOVERIES,
        cpu=round(resource.getrusage(resource.RUSAGE_SELF).ru_utime),
    )
    for title, counts in coverage.items():
        yield f"\n## {title}\n"
        measures = [m.name for m in SIMULATED if (m.name, "claimed") in counts.tries]
        yield from _table(
            ["measure", *classes, f"all of {MIN_CALLS} or more", "intervals"],
            [
                [
                    name,
                    *(counts.percent((name, size)) for size in classes),
                    counts.percent((name, "claimed")),
                    str(counts.tries[name, "claimed"]),
                ]
                for name in measures
            ],
        )
    yield f"\n## Other ways to make the interval of the value (the first {options.others} teams)\n"
    methods = list(dict.fromkeys((key[0], key[1]) for key in others.tries))  # type: ignore[index]
    yield from _table(
        ["measure", "method", *classes[1:], "all"],
        [
            [name, method, *(others.percent((name, method, size)) for size in [*classes[1:], "claimed"])]
            for name, method in methods
        ],
    )
    yield _RANKING
    yield from _table(
        ["measure", "ranked by", "rank correlation", "squared error", "few on top", "truly lower"],
        [
            [
                measure,
                way,
                f"{ranking.correlation / ranking.teams:.3f}",
                f"{ranking.squared_error / ranking.teams:.3g}",
                f"{100 * ranking.few_on_top / ranking.teams:.1f} %",
                f"{100 * ranking.true_rank_of_top / ranking.teams:.0f} %",
            ]
            for (measure, way), ranking in rankings.items()
        ],
    )
    yield _NOISE
    yield from _table(
        ["measure", "teams of equals with a false alarm", "differences found", "in the wrong direction"],
        [
            [
                m.name,
                f"{flags.percent((m.name, 'equal'))} %",
                f"{flags.percent((m.name, 'found'))} %",
                f"{flags.percent((m.name, 'wrong'))} %",
            ]
            for m in SIMULATED
        ],
    )


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


_HEAD = """\
# Agent statistics against known truth

Made by `{command}` (seeded; {cpu} s of one core).
[agents.py](agents.py) simulates {teams} teams of {agents} agents with {fewest} to {most} calls each (their logarithm uniform), four queues that differ more than the agents do, and mixes of
queues that go with the agents' skill. The numbers of one call hang together; seconds, interruptions and moods are
skewed. The data are made up: what is shown is that the arithmetic holds, not that any measure is right about people.

An interval of 95 % should hold the truth 95 % of the time. Columns are classes of agents by the number of their calls
with the measure; below {claimed} such calls nothing is claimed by default, as an interval that covers is too wide there to say anything.
"""

_RANKING = """
## Ranking

All agents of 3 or more calls, all values claimed, the worst case for a ranking. The truth is each agent's value on the
mix of queues of the whole team. *Few on top*: teams in which the agent said to be highest has fewer than 10 calls.
*Truly lower*: share of agents that are in truth lower than the one said to be highest, mean over teams.
"""

_NOISE = """
## What is said to be more than noise

*Teams of equals*: of the same number of teams whose agents do not differ, the share in which any agent was said to
differ by more than noise; 5 % are allowed. Then, in the teams whose agents differ: of the agents compared, the share
said to differ by more than noise, and of those the share whose true difference has the other sign.
"""


def main() -> None:
    """Simulate, and print the tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agents")
    parser.add_argument("--teams", type=int, default=120)
    parser.add_argument(
        "--others", type=int, default=20, help="teams on which other methods are tried as well"
    )
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    values, differences, lines, others, flags = (Counts() for _ in range(5))
    rankings: dict[tuple[str, str], Ranking] = {}
    for number in range(options.teams):
        team = simulate(np.random.default_rng([options.seed, number]))
        # Fewer than are claimed by default, to see what happens there.
        found = group_statistics(team.rows, "agent", measures=SIMULATED, min_calls=FEWEST)
        cover(team, found, values, differences, lines)
        rank(team, found, rankings)
        if number < options.others:
            cover_otherwise(team, others)
        equals = simulate(np.random.default_rng([options.seed, number, 1]), spread=0.0)
        flag(team, equals, flags)
    coverage = {
        "Intervals of the value": values,
        "Intervals of the difference from the team, given the queues": differences,
        "Intervals of the trend per week": lines,
    }
    sys.stdout.write("\n".join(report(options, coverage, others, flags, rankings)) + "\n")


def flag(team: Team, equals: Team, flags: Counts) -> None:
    """Count what is said to be more than noise, in a team whose agents differ and in one where they do not."""
    alarms = dict.fromkeys((m.name for m in SIMULATED), False)
    for row in group_statistics(equals.rows, "agent", measures=SIMULATED):
        alarms[row.measure] |= row.within_noise is False
    for measure, alarm in alarms.items():
        flags.add((measure, "equal"), alarm)
    truth = {m.name: true_differences(team, m.name) for m in SIMULATED}
    for row in group_statistics(team.rows, "agent", measures=SIMULATED):
        if row.difference is not None:
            flags.add((row.measure, "found"), row.within_noise is False)
            if row.within_noise is False:
                agent = int(row.group_name.split()[1])
                flags.add((row.measure, "wrong"), truth[row.measure][agent] * row.difference < 0)


if __name__ == "__main__":
    main()
