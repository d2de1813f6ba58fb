"""Every query of docs/cookbook.md, on two small calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import NOON, make_result, make_run

import callmood
from callmood.report import run_sql
from callmood.results.schema import Connection
from callmood.results.store import Store
from callmood.types import CallResult, Nonspeech

COOKBOOK = (Path(__file__).resolve().parents[1] / "docs" / "cookbook.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^## (\d+)\. .*?```sql\n(.*?)```", COOKBOOK, flags=re.M | re.S)


def with_silence(result: CallResult) -> CallResult:
    """The call of `conftest.py` with what lies between its turns: 1 s of silence twice, music, and 2 s of silence."""
    assert result.analysis is not None
    kinds = ((6.0, 7.0, "silence"), (13.0, 14.0, "silence"), (16.0, 20.0, "music"), (28.0, 30.0, "silence"))
    between = tuple(
        Nonspeech(start_s=a, end_s=b, kind=kind, level_dbfs=-60.0)  # type: ignore[arg-type]
        for a, b, kind in kinds
    )
    return replace(result, analysis=replace(result.analysis, nonspeech=between))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "calls.duckdb"
    long = with_silence(make_result("call-2", agent_id="bob", queue="billing", started_at=NOON))
    assert long.analysis is not None
    silence = Nonspeech(start_s=28.0, end_s=45.0, kind="silence", level_dbfs=-80.0)
    stretched = replace(long.analysis, duration_s=45.0, nonspeech=(*long.analysis.nonspeech[:3], silence))
    told: dict[str, Any] = {"agent_id": "alice", "queue": "sales", "started_at": NOON, "extra": {"team": "B"}}
    with Store(path) as store:
        store.write(with_silence(make_result("call-1", **told)), make_run(), analyzed_at=NOON)
        store.write(replace(long, analysis=stretched), make_run(), analyzed_at=NOON)
    with callmood.connect(path) as connection:
        yield connection


def answer(connection: Connection, number: int) -> list[dict[str, Any]]:
    return list(run_sql(connection, dict(QUERIES)[str(number)]).records())


def test_there_are_ten_questions() -> None:
    assert [int(number) for number, _ in QUERIES] == list(range(1, 11))


@pytest.mark.parametrize("number", range(1, 11))
def test_every_query_is_answered(connection: Connection, number: int) -> None:
    rows = answer(connection, number)

    # The customers of conftest.py have too few windows in the last third for a change of mood.
    assert bool(rows) == (number != 1)


def test_values_that_can_be_worked_out_by_hand(connection: Connection) -> None:
    # The customer is happy (negativity 0) and, two turns later, angry (1); between lies the agent's turn of 2 s.
    assert answer(connection, 5)[0]["step"] == 1.0
    assert (answer(connection, 5)[0]["before_by"], answer(connection, 5)[0]["before_s"]) == ("agent", 2.0)
    # The agent answers once, 1 s after the customer.
    assert [(row["answers"], row["median_s"]) for row in answer(connection, 7)] == [(1, 1.0), (1, 1.0)]
    assert answer(connection, 8) == [
        {"call_id": "call-2", "start_s": 28.0, "silence_s": 17.0, "spoke_last": "customer"}
    ]
    billing = answer(connection, 9)[0]
    assert (billing["queue"], billing["calls"]) == ("billing", 1)
    assert (billing["music"], billing["dead_air"]) == (pytest.approx(4 / 45), pytest.approx(17 / 45))
    assert {row["team"] for row in answer(connection, 10)} == {"B", None}
