"""Statistics of groups of calls: values worked out by hand, and what must hold for any."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from conftest import NOON, make_recording, make_result, make_run
from hypothesis import given, settings
from hypothesis import strategies as st

import callmood
from callmood.cli.app import main
from callmood.cli.layouts import between, quantity
from callmood.errors import UsageError
from callmood.report import find_groups, weeks_of_agent
from callmood.results import connect
from callmood.results.store import Store
from callmood.statistics import (
    MEASURES,
    CallRows,
    GroupStatistic,
    Measure,
    group_kinds,
    group_statistics,
    read_calls,
)
from callmood.statistics.compare import (
    Comparison,
    against_peers,
    clustering,
    percentiles,
    q_values,
    rate_p_values,
    shrinkage,
    trends,
    variance_between,
    variance_within,
)
from callmood.statistics.intervals import bootstrap_t, standard_errors, wilson

RATE = MEASURES[0]
MEAN = next(m for m in MEASURES if m.name == "mood_change_mean")


def texts(values: Sequence[str | None]) -> np.ndarray:
    return np.array(values, dtype=object)


def make_rows(
    measure: Measure,
    x: Sequence[float],
    *,
    agent: Sequence[str | None],
    queue: Sequence[str | None] | None = None,
    team: Sequence[str | None] | None = None,
    week: Sequence[float] | None = None,
    d: Sequence[float] | None = None,
) -> CallRows:
    """Calls with one measure, in as many columns as are given."""
    n = len(x)
    return CallRows(
        call_id=texts([f"call-{i:03}" for i in range(n)]),
        keys={
            "agent": texts(agent),
            "queue": texts(queue or [None] * n),
            "team": texts(team or [None] * n),
        },
        hours=np.full(n, 0.1),
        week=np.array(week or [np.nan] * n),
        numerators={measure.name: np.array(x, dtype=float)},
        denominators={measure.name: np.array(d or [1.0] * n, dtype=float)},
    )


def by_name(found: list[GroupStatistic]) -> Mapping[str, GroupStatistic]:
    return {row.group_name: row for row in found}


# Intervals


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20 and 1 of 29.
    low, high = wilson(np.array([81 / 263, 15 / 148, 0.0, 1 / 29]), np.array([263.0, 148.0, 20.0, 29.0]))
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)


def test_standard_error_of_a_mean_and_of_a_ratio() -> None:
    # 1, 2, 3: variance of the mean 1/3. The pooled variance 4 lets expect 4/3; averaged with 2 and 1 degrees of
    # freedom: (2/3 + 4/3) / 3 = 2/3.
    one = np.ones(3)
    (error,) = standard_errors(np.array([1.0, 2.0, 3.0]), one, np.array([3]), np.array([4.0]))
    assert error**2 == pytest.approx(2 / 3)
    # 1 of 1 and 1 of 3: ratio 1/2, residuals 1/2 and -1/2, so 2/1 * 1/2 / 16 = 1/16; with a pooled 1/4: the same.
    (error,) = standard_errors(np.ones(2), np.array([1.0, 3.0]), np.array([2]), np.array([0.25]))
    assert error**2 == pytest.approx(1 / 16)


def test_the_bootstrap_agrees_with_one_that_is_written_out() -> None:
    random = np.random.default_rng(5)
    d = random.lognormal(size=30)
    x = d * random.exponential(size=30)
    below, above = bootstrap_t(x, d, np.array([30]), np.array([1.0]), seed=0)
    ratio = x.sum() / d.sum()

    def error(x: np.ndarray, d: np.ndarray) -> float:
        n, ratio = len(x), x.sum() / d.sum()
        return float(np.sqrt(n / (n - 1) * np.sum((x - ratio * d) ** 2)) / d.sum())

    t = []
    for _ in range(20_000):
        rows = random.integers(0, 30, 30)
        t.append((x[rows].sum() / d[rows].sum() - ratio) / error(x[rows], d[rows]))
    (whole,) = standard_errors(x, d, np.array([30]), np.array([1.0]))
    assert below[0] / whole == pytest.approx(np.quantile(t, 0.975), rel=0.12)
    assert above[0] / whole == pytest.approx(-np.quantile(t, 0.025), rel=0.12)


def test_equal_values_are_not_certain() -> None:
    # The pooled variance 1 lets expect 1/5, which counts for 1 of 5 degrees of freedom; Student's quantile is 2.5706.
    below, above = bootstrap_t(np.zeros(5), np.ones(5), np.array([5]), np.array([1.0]), seed=0)
    assert below[0] == above[0] == pytest.approx(2.570582 * np.sqrt(1 / 5 / 5))
    found = group_statistics(
        make_rows(MEAN, [0.2] * 6 + [0, 1, 0, 1, 0, 1], agent=["a"] * 6 + ["b"] * 6),
        "agent",
        measures=[MEAN],
    )
    first = found[0]
    assert first.low is not None
    assert first.high is not None
    assert first.low < 0.2 < first.high


def test_an_interval_does_not_depend_on_which_other_samples_there_are() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=30)
    alone = bootstrap_t(x[10:20], np.ones(10), np.array([10]), np.array([1.0]), seed=0)
    among = bootstrap_t(x, np.ones(30), np.array([10, 10, 10]), np.ones(3), seed=0)
    assert [ends[0] for ends in alone] == pytest.approx([ends[1] for ends in among])


# Comparison


def test_a_mix_of_queues_explains_what_it_explains() -> None:
    # easy: 1 of 10 calls escalates, hard: 6 of 10. a has 8 easy and 2 hard calls and 1 + 1 escalations, as expected;
    # b has 2 and 8, and 0 + 5, as expected too.
    found = by_name(
        group_statistics(
            make_rows(
                RATE,
                [1] + [0] * 7 + [1, 0] + [0, 0] + [1] * 5 + [0] * 3,
                agent=["a"] * 10 + ["b"] * 10,
                queue=["easy"] * 8 + ["hard"] * 2 + ["easy"] * 2 + ["hard"] * 8,
            ),
            "agent",
            measures=[RATE],
        )
    )
    assert (found["a"].value, found["b"].value) == (0.2, 0.5)
    for name in "ab":
        assert found[name].expected == pytest.approx(found[name].value)
        assert found[name].difference == pytest.approx(0)
        assert found[name].adjusted == pytest.approx(7 / 20)
        assert found[name].within_noise is True


def test_shrinkage_of_two_means_by_hand() -> None:
    # Means 1 and 3, peers' mean 2, differences -1 and +1. Within: squares 2 + 2 over 8 degrees of freedom: 1/2.
    # Each makes half of the expectation itself. Between: (5 + 5 - 1/2 (1/2 + 1/2)) / (5/2 + 5/2) = 1.9.
    # Weight: 1.9 / (1.9 + 1/2 / 5) = 0.95.
    x = np.array([0.0, 1, 1, 1, 2, 2, 3, 3, 3, 4])
    group = np.repeat([0, 1], 5)
    comparison = against_peers(x, np.ones(10), group, np.zeros(10, dtype=int), groups=2)
    assert comparison.difference.tolist() == [-1.0, 1.0]
    assert comparison.own_share.tolist() == [0.5, 0.5]
    assert comparison.variance == pytest.approx(0.5)
    assert variance_between(comparison) == pytest.approx(1.9)
    assert shrinkage(comparison) == pytest.approx([0.95, 0.95])


def test_groups_that_differ_no_more_than_noise_are_shrunk_to_nothing() -> None:
    x = np.array([0.0, 1, 0, 1, 1, 0, 1, 0])
    comparison = against_peers(x, np.ones(8), np.repeat([0, 1], 4), np.zeros(8, dtype=int), groups=2)
    assert shrinkage(comparison).tolist() == [0.0, 0.0]


def test_trials_that_come_in_clusters_count_for_fewer() -> None:
    group = np.zeros(4, dtype=int)
    # One trial per call: each for itself.
    assert clustering(np.array([1.0, 0, 1, 0]), np.ones(4), group, groups=1) == 1.0
    # Four trials per call, all alike: residuals +-2, so 16 against 16 * 1/4.
    assert clustering(np.array([4.0, 0, 4, 0]), np.full(4, 4.0), group, groups=1) == 4.0


def test_variance_within_groups() -> None:
    # 1, 3 | 5, 5: squares 2, two degrees of freedom.
    assert variance_within(np.array([1.0, 3, 5, 5]), np.ones(4), np.array([0, 0, 1, 1]), groups=2) == 1.0


def test_p_value_of_a_rate_is_the_mid_p_of_a_binomial() -> None:
    # 8 of 10 where half are expected: P(9 or more) = 11/1024, P(8) = 45/1024, so 2 (11 + 45/2) / 1024.
    comparison = Comparison(
        residual=np.zeros(0),
        compared=np.zeros(0, dtype=bool),
        calls=np.array([10, 10, 10]),
        denominator=np.full(3, 10.0),
        expected=np.full(3, 0.5),
        difference=np.array([0.3, -0.3, 0.5]),
        own_share=np.zeros(3),
        variance=0.25,
    )
    assert rate_p_values(comparison, 1.0) == pytest.approx([67 / 1024, 67 / 1024, 1 / 1024])


def test_false_discovery_rates_by_hand() -> None:
    # Four p-values: 0.04 * 4/3 is below 0.05 * 4/4... the q-values never fall as p grows.
    q = q_values(np.array([0.01, 0.04, 0.03, 0.5]))
    assert q == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_percentiles_count_equal_ones_half() -> None:
    assert percentiles(np.array([3.0, 1.0, 1.0, 9.0])).tolist() == [62.5, 25.0, 25.0, 87.5]
    assert np.isnan(percentiles(np.array([1.0]))).all()


def test_a_line_through_the_weeks() -> None:
    # 0, 1, 2, 5 in weeks 0 to 3: slope 1.6 (sum of products 8, of squares 5). Squares about the line: with mean 2
    # the line is -0.4, 1.2, 2.8, 4.4, off by 0.4, -0.2, -0.8, 0.6: 1.2 over 2 degrees of freedom.
    line = trends(
        np.array([0.0, 1, 2, 5]), np.ones(4), np.arange(4.0) + 0.5, np.zeros(4, dtype=int), groups=1
    )
    assert line.slope == pytest.approx([1.6])
    # Student's quantile for 2 + 1 degrees of freedom is 3.1824.
    assert line.half_width == pytest.approx([3.182446 * np.sqrt(0.6 / 5)])
    assert line.weeks.tolist() == [4]


# What is claimed


def test_below_the_minimum_nothing_is_claimed_and_the_reason_is_told() -> None:
    rows = make_rows(RATE, [1, 1, 1] + [0, 1] * 5, agent=["new"] * 3 + ["old"] * 10)
    found = by_name(group_statistics(rows, "agent", measures=[RATE]))
    new = found["new"]
    assert (new.calls, new.numerator, new.denominator) == (3, 3.0, 3.0)
    claims = (
        "value",
        "low",
        "high",
        "difference",
        "adjusted",
        "shrunk",
        "percentile",
        "within_noise",
        "trend",
    )
    assert [getattr(new, name) for name in claims] == [None] * len(claims)
    assert new.why == "3 calls with this measure, of at least 5"
    assert found["old"].value == 0.5


def test_three_bad_calls_do_not_top_the_ranking_even_where_they_are_claimed() -> None:
    random = np.random.default_rng(3)
    x = [1.0, 1, 1]
    agent = ["new"] * 3
    for number in range(10):
        x += (random.random(200) < 0.05 + 0.05 * number).astype(float).tolist()
        agent += [f"old {number}"] * 200
    found = group_statistics(make_rows(RATE, x, agent=agent), "agent", measures=[RATE], min_calls=3)
    assert max(found, key=lambda row: row.value or 0).group_name == "new"
    assert max(found, key=lambda row: row.shrunk or 0).group_name == "old 9"
    assert by_name(found)["old 9"].within_noise is False
    assert by_name(found)["old 5"].within_noise is True


def test_a_group_alone_is_compared_with_nobody() -> None:
    (only,) = group_statistics(
        make_rows(MEAN, [0.1] * 3 + [0.3] * 3, agent=["a"] * 6), "agent", measures=[MEAN]
    )
    assert only.value == pytest.approx(0.2)
    assert only.low is not None
    assert only.difference is only.shrunk is only.percentile is only.within_noise is None
    assert only.why is not None
    assert "no comparison: 0 calls of queues that others take too" in only.why


def test_calls_of_a_queue_that_nobody_else_takes_enter_no_comparison() -> None:
    # In the shared queue a has 1 of 5 and b 3 of 5: 2 of 5 are expected. The five calls of a's own queue do not count.
    found = by_name(
        group_statistics(
            make_rows(
                RATE,
                [1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
                agent=["a"] * 10 + ["b"] * 5,
                queue=["shared"] * 5 + ["own"] * 5 + ["shared"] * 5,
            ),
            "agent",
            measures=[RATE],
        )
    )
    assert found["a"].value == 0.6
    assert found["a"].expected == pytest.approx(0.4)
    assert found["a"].difference == pytest.approx(-0.2)


def test_agents_are_compared_within_the_team_that_most_of_their_calls_name() -> None:
    # a and b are of north, c of south (one call of c's names north): 0.2 and 0.4 against 0.3; c has no peer.
    found = by_name(
        group_statistics(
            make_rows(
                RATE,
                [1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1],
                agent=["a"] * 5 + ["b"] * 5 + ["c"] * 5,
                team=["north"] * 10 + ["north"] + ["south"] * 4,
            ),
            "agent",
            measures=[RATE],
        )
    )
    assert [found[name].team for name in "abc"] == ["north", "north", "south"]
    assert found["a"].team_value == pytest.approx(0.3)
    assert found["a"].difference == pytest.approx(-0.1)
    assert found["c"].team_value == 1.0
    assert found["c"].difference is None


def test_a_trend_needs_three_weeks() -> None:
    agent = ["a"] * 6
    two = group_statistics(
        make_rows(MEAN, [0, 1, 0, 1, 0, 1], agent=agent, week=[0, 0, 0, 1, 1, 1]), "agent", measures=[MEAN]
    )
    assert two[0].trend is None
    assert two[0].why is not None
    assert "no trend: calls in 2 weeks, of at least 3" in two[0].why
    three = group_statistics(
        make_rows(MEAN, [0, 0, 0.2, 0.2, 0.4, 0.4], agent=agent, week=[0, 0, 1, 1, 2, 2]),
        "agent",
        measures=[MEAN],
    )
    assert three[0].trend == pytest.approx(0.2)


def test_what_was_not_read_cannot_be_grouped_by() -> None:
    rows = make_rows(MEAN, [0.0], agent=["a"])
    with pytest.raises(ValueError, match="without 'shift'"):
        group_statistics(rows, "shift")
    with pytest.raises(ValueError, match="2 or more"):
        group_statistics(rows, "agent", min_calls=1)


calls_of_agents = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([None, "p", "q"]), st.floats(-1, 1), st.floats(0, 20)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(calls=calls_of_agents, rate=st.booleans(), seed=st.integers(0, 5))
def test_what_holds_for_any_calls(calls: list[tuple], rate: bool, seed: int) -> None:
    agent, queue, x, week = (list(column) for column in zip(*calls, strict=True))
    measure = RATE if rate else MEAN
    rows = make_rows(measure, [float(v > 0) for v in x] if rate else x, agent=agent, queue=queue, week=week)
    found = group_statistics(rows, "agent", measures=[measure], min_calls=2)
    order = np.random.default_rng(seed).permutation(len(x))
    shuffled = replace(
        rows,
        call_id=rows.call_id[order],
        keys={name: values[order] for name, values in rows.keys.items()},
        hours=rows.hours[order],
        week=rows.week[order],
        numerators={measure.name: rows.numerators[measure.name][order]},
        denominators={measure.name: rows.denominators[measure.name][order]},
    )
    assert group_statistics(shuffled, "agent", measures=[measure], min_calls=2) == found
    for row in found:
        if row.value is not None:
            assert row.low is not None
            assert row.high is not None
            assert row.low - 1e-9 <= row.value <= row.high + 1e-9
        else:
            assert row.why is not None
        if row.shrunk is not None:
            assert row.adjusted is not None
            assert row.team_value is not None
            ends = sorted([row.adjusted, row.team_value])
            assert ends[0] - 1e-9 <= row.shrunk <= ends[1] + 1e-9
        if row.difference is not None:
            assert row.difference_low is not None
            assert row.difference_high is not None
            assert row.difference_low - 1e-9 <= row.difference <= row.difference_high + 1e-9
            assert row.q_value is not None
            assert 0 <= row.q_value <= 1


# In the database

ODD_TEAM = "=cmd()|<b>'Zürich'"


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Twelve hand-drawn calls, six of alice and six of O'Brien <i>, a day and an hour apart."""
    path = tmp_path / "groups.duckdb"
    with Store(path) as store:
        for number in range(12):
            result = make_result(
                f"call-{number:02}",
                agent_id="alice" if number % 2 else "O'Brien <i>",
                queue="sales",
                started_at=datetime(2026, 3, 2 + number, 12 + number, 30, tzinfo=UTC),
                extra={"te\"am'; DROP TABLE calls; --": ODD_TEAM, "$.site": "x", "team": "north"},
            )
            store.write(result, make_run(), analyzed_at=NOON)
    return path


def test_the_measures_of_the_hand_drawn_call(store_path: Path) -> None:
    with callmood.connect(store_path) as connection:
        rows = read_calls(connection)
    # One escalation that did not recover; mood from +0.81 to -0.51 / 2; the agent has 8 of 22 s of speech.
    assert set(rows.numerators["escalation_rate"]) == {1.0}
    assert set(rows.numerators["recovery_rate"]) == {0.0}
    assert np.isnan(rows.numerators["recovery_s_mean"]).all()
    assert rows.numerators["mood_change_mean"] == pytest.approx(-0.51 / 2 - 0.81)
    assert rows.numerators["talk_share_mean"] == pytest.approx(8 / 22)
    assert rows.hours == pytest.approx(30 / 3600)
    # 2026-03-02, the first, is a Monday.
    assert sorted(np.floor(rows.week) - np.floor(rows.week.min())) == [0] * 7 + [1] * 5


def test_a_recovery_takes_as_long_as_the_escalation(tmp_path: Path) -> None:
    result = make_result("call-1", agent_id="alice")
    assert result.analysis is not None
    (event,) = result.analysis.escalations
    events = (
        replace(event, end_s=25.0, recovered=True),
        event,
        replace(event, end_s=29.0, recovered=True, role="agent"),
    )
    with Store(tmp_path / "x.duckdb") as store:
        store.write(
            replace(result, analysis=replace(result.analysis, escalations=events)),
            make_run(),
            analyzed_at=NOON,
        )
    with callmood.connect(tmp_path / "x.duckdb") as connection:
        rows = read_calls(connection)
    # From 21 to 25 s; the other customer's lasted, the agent's own does not count.
    assert (rows.numerators["recovery_s_mean"], rows.denominators["recovery_s_mean"]) == ([4.0], [1.0])
    assert (rows.numerators["recovery_rate"], rows.denominators["recovery_rate"]) == ([1.0], [2.0])


def test_calls_can_be_chosen_before_statistics_are_made(store_path: Path) -> None:
    with callmood.connect(store_path) as connection:
        assert len(read_calls(connection, agent_id="alice")) == 6
        assert len(read_calls(connection, queue="billing")) == 0
        since, until = datetime(2026, 3, 4, tzinfo=UTC), datetime(2026, 3, 6, tzinfo=UTC)
        assert sorted(read_calls(connection, since=since, until=until).call_id) == ["call-02", "call-03"]


def test_calls_of_an_unknown_group_are_in_no_group(store_path: Path) -> None:
    with Store(store_path) as store:
        store.write(make_result("nobody"), make_run(), analyzed_at=NOON)
    with callmood.connect(store_path) as connection:
        rows = read_calls(connection, kind="$.site")
        place = list(rows.call_id).index("nobody")
        assert {kind: keys[place] for kind, keys in rows.keys.items()} == dict.fromkeys(rows.keys)
        found = find_groups(connection, "agent", timezone="UTC").groups
    assert sorted((rows[0].group_name, rows[0].calls) for rows in found) == [("O'Brien <i>", 6), ("alice", 6)]


def test_hours_and_days_are_those_of_the_time_zone(store_path: Path) -> None:
    with callmood.connect(store_path) as connection:
        utc = read_calls(connection, timezone="UTC").keys
        there = read_calls(connection, timezone="Asia/Tokyo")
    tokyo = {
        call_id: (there.keys["hour"][place], there.keys["weekday"][place])
        for place, call_id in enumerate(there.call_id)
    }
    assert sorted(utc["hour"])[:2] == ["12:00", "13:00"]
    assert sorted(utc["weekday"])[0] == "1 Monday"
    assert set(utc["week"]) == {"2026-W10", "2026-W11"}
    # Nine hours later: the first call at 21:30, the twelfth (23:30 on a Friday) on Saturday.
    assert tokyo["call-00"] == ("21:00", "1 Monday")
    assert tokyo["call-11"] == ("08:00", "6 Saturday")


def test_any_metadata_column_groups_whatever_its_name(store_path: Path) -> None:
    with callmood.connect(store_path) as connection:
        kinds = group_kinds(connection)
        assert set(kinds) >= {"agent", "hour", "team", "$.site", "te\"am'; DROP TABLE calls; --"}
        for kind, name in (("te\"am'; DROP TABLE calls; --", ODD_TEAM), ("$.site", "x")):
            groups = find_groups(connection, kind, timezone="UTC").groups
            assert [rows[0].group_name for rows in groups] == [name]
        with pytest.raises(UsageError, match="by 'site'; there are agent, customer, queue, hour"):
            find_groups(connection, "site", timezone="UTC")


def kept(path: Path) -> list[tuple]:
    with callmood.connect(path) as connection:
        return connection.execute("SELECT * FROM group_statistics ORDER BY ALL").fetchall()


def test_statistics_kept_are_those_that_would_be_made(store_path: Path) -> None:
    with callmood.connect(store_path) as connection:
        before = {
            kind: find_groups(connection, kind, timezone="UTC")
            for kind in ("agent", "queue", "team", "hour", "weekday", "week")
        }
    assert kept(store_path) == []
    with Store(store_path) as store:
        store.make_statistics(timezone="UTC")
    assert len(kept(store_path)) == len(MEASURES) * sum(len(groups.groups) for groups in before.values())
    with callmood.connect(store_path) as connection:
        for kind, groups in before.items():
            assert find_groups(connection, kind, timezone="UTC") == groups
        rows = connection.execute(
            "SELECT agent_id, team, calls, calls_measured, numerator FROM agent_statistics "
            "WHERE measure = 'escalation_rate' ORDER BY agent_id"
        ).fetchall()
    assert rows == [("O'Brien <i>", "north", 6, 6, 6.0), ("alice", "north", 6, 6, 6.0)]


def test_a_call_written_since_makes_them_out_of_date_and_reports_know(store_path: Path) -> None:
    with Store(store_path) as store:
        store.make_statistics(timezone="UTC")
        store.update_metadata([make_recording("call-00", agent_id="carol")])
    with callmood.connect(store_path) as connection:
        assert connection.execute("SELECT current FROM statistics_made").fetchall() == [(False,)]
        names = [rows[0].group_name for rows in find_groups(connection, "agent", timezone="UTC").groups]
    assert sorted(names) == ["O'Brien <i>", "alice", "carol"]
    with Store(store_path) as store:
        store.make_statistics(timezone="UTC")
    assert {row[1] for row in kept(store_path) if row[0] == "agent"} == set(names)


def test_statistics_of_another_time_zone_are_not_taken(store_path: Path) -> None:
    with Store(store_path) as store:
        store.make_statistics(timezone="Asia/Tokyo")
    with callmood.connect(store_path) as connection:
        names = [rows[0].group_name for rows in find_groups(connection, "hour", timezone="UTC").groups]
    assert names[0] == "12:00"


def test_an_agents_weeks_are_of_that_agent_alone(store_path: Path) -> None:
    with callmood.connect(store_path) as connection:
        weeks = list(weeks_of_agent(connection, "alice", timezone="UTC").table().records())
    assert [(week["week"], week["calls"]) for week in weeks] == [("2026-W10", 3), ("2026-W11", 3)]


# On the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def test_report_by_a_column_is_safe_in_every_format(
    store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("report", "--by", "te\"am'; DROP TABLE calls; --", "--db", store_path)
    code, out, err = run(capsys, *given)
    assert code == 0
    assert ODD_TEAM in out
    assert "within noise" in err
    (row,) = csv.DictReader(io.StringIO(run(capsys, *given, "--csv")[1]))
    assert row["te\"am'; DROP TABLE calls; --"] == f"'{ODD_TEAM}"
    (record,) = json.loads(run(capsys, *given, "--json")[1])
    assert record["te\"am'; DROP TABLE calls; --"] == ODD_TEAM
    assert (record["calls"], record["calls_escalated"], record["escalation_rate"]) == (12, 12, 1.0)


def test_report_by_an_unknown_column_lists_the_known_ones(
    store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "report", "--by", "shift", "--db", store_path)
    assert code == 2
    assert "'shift'; there are agent, customer, queue, hour, weekday, week, $.site" in err


@pytest.mark.parametrize("other", [("--agent", "alice"), ("--agent=",), ("--escalations",)])
def test_report_by_is_a_report_of_its_own(
    store_path: Path, capsys: pytest.CaptureFixture[str], other: tuple[str, ...]
) -> None:
    assert run(capsys, "report", "--by", "queue", *other, "--db", store_path)[0] == 2


def test_one_agent_in_depth_says_what_is_within_noise(
    store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "report", "--agent", "alice", "--db", store_path)[1]
    # 6 of 6 where all are expected; with half the expectation its own, 12 trials: Wilson's low end is 12 / (12 + 3.84).
    assert (
        "Escalation rate: +0 points (-24 to +0) against what the team has on the same queues: within noise."
        in out
    )
    assert "Time to recovery: nothing is claimed (0 calls with this measure, of at least 5)." in out
    assert "2026-W10" in out
    (record,) = json.loads(run(capsys, "report", "--agent", "O'Brien <i>", "--json", "--db", store_path)[1])
    assert [row["measure"] for row in record["agent_statistics"]] == [m.name for m in MEASURES]
    assert [row["calls"] for row in record["weeks"]] == [4, 2]


def test_quantities_are_written_with_their_unit() -> None:
    assert quantity("share", 0.153) == "15%"
    assert quantity("share", -0.002, signed=True) == "+0 points"
    assert quantity("seconds", 41.7) == "42 s"
    assert quantity("per hour", 3.14) == "3.1"
    assert quantity("score", 0.0) == "+0.00"
    assert between("share", 0.09, 0.24) == "9 to 24"
    assert between("seconds", -3.0, 4.0, signed=True) == "-3 to +4"


def test_a_column_called_like_a_figure_keeps_both(tmp_path: Path) -> None:
    database = tmp_path / "x.duckdb"
    with Store(database) as store:
        store.write(make_result("a", extra={"calls": "many"}), make_run(), analyzed_at=NOON)
    with connect(database) as connection:
        (row,) = find_groups(connection, "calls", timezone="UTC").table().records()

    assert (row["calls_"], row["calls"]) == ("many", 1)


def test_every_measure_is_in_the_document() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "agents.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("| `")]

    assert {line.split("`")[1] for line in table} >= {measure.name for measure in MEASURES}
