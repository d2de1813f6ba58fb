"""The report as an HTML page: what stands on it, without a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import NOON, make_result, make_run

import callmood
from callmood.errors import UsageError
from callmood.report.in_depth import in_depth
from callmood.report.page import AGENTS, Column, render_page
from callmood.report.plot import LEFT, RIGHT, WIDTH, plot, ticks_s
from callmood.results.store import Store


def rendered(database: Path, *, top: int = 50) -> str:
    with callmood.connect(database) as connection:
        return render_page(
            connection,
            database=database.name,
            made_at=datetime(2026, 3, 3, 8, 0, tzinfo=UTC),
            timezone="UTC",
            top=top,
        )


def text_of(html: str) -> str:
    """The page's text, roughly: without tags, style and script."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_the_page_shows_summary_agents_escalations_and_failures(database: Path) -> None:
    text = text_of(rendered(database))

    assert "Mood and escalation in 3 calls" in text
    # Two calls of 30 s were scored and both escalated, neither recovered; one could not be read.
    assert "Calls 3 2 analyzed" in text
    assert "Calls escalated 100% 2 of 2 scored" in text
    assert "Recovered 0% 0 of 2 escalations" in text
    assert "Failed 1 calls without a result" in text
    assert "call-2 /calls/call-2.wav: no audio." in text
    # Fewer than 5 calls: counts alone.
    assert "alice 2 0.01 – 1 of 1 – 0 of 1 – – – – – –" in text
    assert "call-1 alice sales – S2 customer 0:21 0:27 0:09 0.75 no" in text
    assert "Flagged, since the negativity of S2 customer rises by 0.75" in text
    assert "0:19–0:30 escalation, S2 customer" in text


def test_an_agent_with_few_calls_tops_no_ranking_and_claims_have_intervals(tmp_path: Path) -> None:
    path = tmp_path / "agents.duckdb"
    with Store(path) as store:
        for number in range(6):
            store.write(make_result(f"m-{number}", agent_id="many"), make_run(), analyzed_at=NOON)
        store.write(make_result("f-0", agent_id="few"), make_run(), analyzed_at=NOON)

    text = text_of(rendered(path))

    # 6 of 6: Wilson's interval ends at 1 and begins at 6 / (6 + 1.96 squared) = 61 %.
    assert "many 6 0.05 100% 6 of 6 61% to 100%" in text
    assert "few 1 0.01 – 1 of 1" in text
    assert text.index("many 6 0.05") < text.index("few 1 0.01")


def test_whose_emotions_were_inferred_is_said(database: Path) -> None:
    assert "Everyone's emotions were inferred, agents among them." in text_of(rendered(database))
    run = replace(make_run("run-2"), emotion_for="customer")
    with Store(database) as store:
        store.begin_run(run)
        store.write(make_result("call-1", agent_id="bob"), run, analyzed_at=NOON)
    text = text_of(rendered(database))
    assert "Only customers' emotions were inferred in some of these calls." in text
    assert "Everyone's emotions were inferred in some of these calls, agents among them." in text
    with Store(database) as store:
        store.write(make_result("call-3", agent_id="bob"), run, analyzed_at=NOON)
    text = text_of(rendered(database))
    assert "Only customers' emotions were inferred." in text
    assert "agents among them" not in text


def test_only_the_calls_with_the_highest_scores_are_shown_in_depth(database: Path) -> None:
    html = rendered(database, top=1)

    assert html.count("<article") == 1
    assert "The 1 of 2 scored calls with the highest score" in text_of(html)
    # Escalations of other calls are listed, without a link.
    assert html.count('href="#call-1"') == 1
    assert html.count('href="#call-2"') == 0


def test_an_empty_database_makes_a_page_too(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    Store(path).__exit__(None, None, None)
    text = text_of(rendered(path))

    assert "Mood and escalation in 0 calls" in text
    assert "Calls escalated – 0 of 0 scored" in text


def test_the_page_loads_and_links_nothing_outside_itself(database: Path) -> None:
    html = rendered(database)

    assert (
        re.findall(r"(?:https?:)?//[a-z]", re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL))
        == []
    )
    assert not re.search(r"\b(?:src|srcset|style|on[a-z]+)=", html)
    assert re.findall(r'href="(?!#)', html) == []
    assert "@import" not in html
    assert "url(" not in html
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_is_put_in_place_in_one_step_or_not_at_all(database: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("before")
    callmood.write_page(page, db=database)
    assert page.read_text(encoding="utf-8").endswith("</html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.duckdb", "report.html"]

    with pytest.raises(UsageError, match=r"nowhere/report.html: cannot be written \(No such file"):
        callmood.write_page(tmp_path / "nowhere" / "report.html", db=database)


def test_an_interval_is_shown_where_the_view_has_one() -> None:
    (rate,) = [column for column in AGENTS if column.name == "escalation_rate"]

    assert rate.interval({"escalation_rate": 0.5}) is None
    assert (
        rate.interval({"escalation_rate": 0.5, "escalation_rate_low": None, "escalation_rate_high": 1.0})
        is None
    )
    assert rate.interval({"escalation_rate_low": 0.25, "escalation_rate_high": 0.75}) == (0.25, 0.75)


def test_unknown_numbers_are_a_dash_and_negative_ones_have_a_minus() -> None:
    (mood,) = [column for column in AGENTS if column.name == "mood_change_mean"]

    assert (mood.show(None), mood.show(-0.256), mood.show(0.0)) == ("–", "−0.26", "+0.00")
    assert Column(name="x", heading="X", show=str).beside({}) == ""


def test_a_plot_puts_times_and_heights_where_they_belong(database: Path) -> None:
    with callmood.connect(database) as connection:
        (call,) = in_depth(connection, ["call-1"], parts=240)
    drawing = plot(call)
    assert drawing is not None
    agent, customer = drawing.tracks

    assert (agent.name, agent.style, customer.name, customer.style) == (
        *("S1 agent", "agent"),
        *("S2 customer", "customer"),
    )
    # 30 s over 634 units from 112 on: a turn from 7 to 13 s begins at 259.9 and is 126.8 wide.
    assert (LEFT, WIDTH - LEFT - RIGHT) == (112, 634)
    assert [(bar.x, bar.width) for bar in customer.bars] == [(259.9, 126.8), (534.7, 169.1)]
    assert customer.bars[1].label == "0:20 to 0:28 S2 customer: angry 100%, negativity 1.00"
    assert agent.bars[1].label == "0:14 to 0:16 S1 agent"
    # Windows at 8, 10 | 21 and 27 s: a stretch for each turn. 0 lies at 140, 1 at 22, and 0.25 at 110.5.
    assert customer.line == "M281.1 140.0L323.3 140.0M555.8 110.5L682.6 51.5"
    assert customer.thread == "M281.1 140.0L323.3 140.0L555.8 110.5L682.6 51.5"
    # A turn with one window is a short stroke.
    assert agent.line == "M131.1 140.0h4"
    (mark,) = drawing.marks
    assert (mark.onset_x, mark.end_x, mark.peak_x, mark.peak_y) == (555.8, 746.0, 682.6, 51.5)
    assert [label for _, label in drawing.ticks] == ["0:00", "0:05", "0:10", "0:15", "0:20", "0:25", "0:30"]


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [(0.4, [0]), (7.9, [0, 1, 2, 3, 4, 5, 6, 7]), (3700.0, [0, 600, 1200, 1800, 2400, 3000, 3600])],
)
def test_ticks_are_round_and_few(duration_s: float, expected: list[int]) -> None:
    assert ticks_s(duration_s) == expected


def test_a_call_without_turns_has_no_plot(database: Path) -> None:
    with callmood.connect(database) as connection:
        (call,) = in_depth(connection, ["call-2"], parts=240)

    assert plot(call) is None


def test_points_keep_the_peak_of_each_part(database: Path) -> None:
    # In three parts, 21 and 27 s fall into one, of which 27 s is the higher.
    with callmood.connect(database) as connection:
        (call,) = in_depth(connection, ["call-1"], parts=3)

    assert [(point["speaker"], point["t_s"]) for point in call.points] == [
        ("S1", 1.0),
        ("S2", 8.0),
        ("S2", 10.0),
        ("S2", 27.0),
    ]


def test_speakers_without_a_role_are_told_apart_by_style(database: Path) -> None:
    with Store(database) as store:
        result = make_result("call-4")
        analysis = result.analysis
        assert analysis is not None
        turns = tuple(replace(turn, role=None) for turn in analysis.turns)
        store.write(replace(result, analysis=replace(analysis, turns=turns)), make_run(), analyzed_at=NOON)
    with callmood.connect(database) as connection:
        (call,) = in_depth(connection, ["call-4"], parts=240)
    drawing = plot(call)
    assert drawing is not None

    assert [(track.name, track.style) for track in drawing.tracks] == [("S1", "other1"), ("S2", "other2")]
