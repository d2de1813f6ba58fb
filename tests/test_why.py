"""Why a call was flagged, what to listen to in it, and its picture, on the hand-drawn call of `conftest.py`."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import NOON, certain, make_recording, make_result, make_run

import callmood
from callmood.errors import UsageError
from callmood.report import moments
from callmood.report.in_depth import in_depth
from callmood.report.why import why
from callmood.results.store import Store
from callmood.trajectory import affect_of
from callmood.types import Analysis, CallResult

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes the hand-drawn call as `call-1`, with changes of its analysis, to a database of its own."""

    def write(**changes: Any) -> Path:
        result = make_result("call-1")
        assert result.analysis is not None
        return store(replace(result, analysis=replace(result.analysis, **changes)))

    def store(result: CallResult) -> Path:
        path = tmp_path / "calls.duckdb"
        with Store(path) as store:
            store.begin_run(make_run())
            store.write(result, make_run(), analyzed_at=NOON)
        return path

    write.store = store  # type: ignore[attr-defined]
    return write


def drawn() -> Analysis:
    analysis = make_result().analysis
    assert analysis is not None
    return analysis


def sentences(database: Path) -> tuple[str, str]:
    with callmood.connect(database) as connection:
        (call,) = in_depth(connection, ["call-1"], parts=1)
    return why(call)


def test_a_flagged_call_tells_who_when_how_much_and_how_it_sounded(written: Written) -> None:
    assert sentences(written()) == (
        "Flagged, since the negativity of S2 customer rises by 0.75 above the speaker's own level, from 0:21 to "
        "its peak at 0:27, and has not come down when the speaker is last heard.",
        "The call's score is 0.75; the turn of the peak (0:20 to 0:28) sounds angry (100%); the mood of the "
        "customer goes from +0.81 to -0.25.",
    )


def test_of_several_escalations_the_highest_is_told_and_when_it_was_over(written: Written) -> None:
    (event,) = drawn().escalations
    higher = replace(event, onset_s=7.5, peak_s=9.0, end_s=12.0, height=0.8, recovered=True)
    first, second = sentences(written(escalations=(event, higher)))

    assert "rises by 0.80" in first
    assert (
        "from 0:08 to its peak at 0:09, and is back by 0:12. This is the highest of 2 escalations." in first
    )
    assert "the turn of the peak (0:07 to 0:13) sounds happy (100%)" in second


def test_escalations_of_agents_flag_no_call(written: Written) -> None:
    (event,) = drawn().escalations
    first, second = sentences(written(escalations=(replace(event, speaker="S1", role="agent"),)))

    assert first.startswith("Not flagged: nobody's negativity stayed above")
    assert second == (
        "The worst moment is 0:27, where S2 reaches a negativity of 0.75; the mood of the customer goes from "
        "+0.81 to -0.25."
    )


def test_a_call_without_emotions_says_that_none_were_inferred(written: Written) -> None:
    windows = drawn().windows
    none = replace(
        windows,
        turn_index=windows.turn_index[:0],
        start_s=windows.start_s[:0],
        end_s=windows.end_s[:0],
        affect=affect_of(certain()),
        negativity_smooth=windows.negativity_smooth[:0],
    )
    first, _ = sentences(written(windows=none, escalations=(), turn_affect=affect_of(certain(*[None] * 4))))

    assert first == "Not flagged, since nobody's emotion was inferred in it."


def test_a_failed_call_says_what_is_wrong(written: Written) -> None:
    broken = CallResult(recording=make_recording("call-1"), status="unreadable", error="/c.wav: no audio.")
    database = written.store(broken)  # type: ignore[attr-defined]

    assert sentences(database) == ("Not flagged, since it could not be read.", "/c.wav: no audio.")
    with pytest.raises(UsageError, match="'call-1' has no turns to plot"):
        callmood.plot_call("call-1", database.with_name("x.svg"), db=database)


def listed(database: Path) -> list[tuple[Any, ...]]:
    with callmood.connect(database) as connection:
        return [
            tuple(record[name] for name in ("start_s", "end_s", "speaker", "role", "why", "strength"))
            for record in moments(connection, ["call-1"]).records()
        ]


def test_an_escalation_is_heard_from_two_seconds_before_to_three_after_its_peak(written: Written) -> None:
    # The worst moment, at 27 s, lies in it and is not listed again; 27 + 3 is the end of the call.
    assert listed(written()) == [(19.0, 30.0, "S2", "customer", "escalation", 0.75)]


def test_the_worst_moment_is_listed_where_no_escalation_holds_it(written: Written) -> None:
    (event,) = drawn().escalations
    early = replace(event, onset_s=1.0, peak_s=9.0, height=0.5)

    assert listed(written(escalations=(early,))) == [
        (0.0, 12.0, "S2", "customer", "escalation", 0.5),
        (25.0, 30.0, "S2", "customer", "worst moment", 0.75),
    ]


@pytest.mark.parametrize("name", ["plot.png", "plot.SVG"])
def test_a_picture_is_written_whole_and_the_same_each_time(written: Written, name: str) -> None:
    database = written()
    target = database.with_name(name)
    callmood.plot_call("call-1", target, db=database)
    first = target.read_bytes()
    callmood.plot_call("call-1", target, db=database)

    assert first.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    assert target.read_bytes() == first
    assert sorted(path.name for path in target.parent.iterdir()) == ["calls.duckdb", name]


def test_a_picture_shows_names_as_they_are(tmp_path: Path) -> None:
    name = "<b>$x^2$ & \u202e\\frac{"
    with Store(tmp_path / "calls.duckdb") as store:
        store.write(make_result(name), make_run(), analyzed_at=NOON)
    callmood.plot_call(name, tmp_path / "plot.svg", db=tmp_path / "calls.duckdb")
    texts = [
        element.text
        for element in ET.parse(tmp_path / "plot.svg").iter()
        if element.tag.endswith("}text") and element.text
    ]

    assert "Call <b>$x^2$ & \\u202e\\frac{" in texts
    assert "S2 customer" in texts
    assert "escalation of S2 customer, 0:21" in texts


def test_pictures_of_other_kinds_are_refused(written: Written) -> None:
    with pytest.raises(UsageError, match=r"plot.gif: plots are written as .png or .svg"):
        callmood.plot_call("call-1", "plot.gif", db=written())
