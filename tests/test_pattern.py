"""File-name patterns and the naming of Amazon's post-call analytics."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callmood.discover import discover
from callmood.discover.notices import Notices
from callmood.discover.pattern import compile_pattern, known_naming
from callmood.errors import UsageError
from callmood.types import CallMetadata, KnownCall


def match(pattern: str, path: str) -> dict[str, object] | None:
    return compile_pattern(pattern).match(Path(path), Notices())


def test_fields_and_a_formatted_date_are_read_from_the_name() -> None:
    assert match("{agent_id}_{call_id}_{started_at:%Y%m%dT%H%M%S}", "a/007_c-1_20240501T101530.wav") == {
        "agent_id": "007",
        "call_id": "c-1",
        "started_at": datetime(2024, 5, 1, 10, 15, 30),
    }


def test_a_value_ends_at_the_first_separator_and_before_a_date_goes_on_until_it_fits() -> None:
    assert match("{agent_id}_{call_id}", "bob_s_12.wav") == {"agent_id": "bob", "call_id": "s_12"}
    values = match("{agent_id}_{started_at:%Y%m%d}", "bob_s_20240501.wav")
    assert values == {"agent_id": "bob_s", "started_at": datetime(2024, 5, 1)}


def test_a_role_ends_a_name_that_holds_the_separator() -> None:
    assert match("{call_id}_{role}", "Auto_Repairs_40_Caller.wav") == {
        "call_id": "Auto_Repairs_40",
        "role": "Caller",
    }
    assert match("{role}-{call_id}", "client-a-7.wav") == {"role": "client", "call_id": "a-7"}
    assert match("{call_id}.{channel}", "a.b.right.wav") == {"call_id": "a.b", "channel": "right"}
    assert match("{call_id}_{role}", "4711_supervisor.wav") is None


def test_files_whose_names_tell_their_role_are_the_legs_of_a_call(tmp_path: Path) -> None:
    for name in ("7_caller", "7_agent", "8_agent", "whole"):
        (tmp_path / f"{name}.wav").write_bytes(name.encode())

    found = discover([tmp_path], pattern="{call_id}_{role}")

    assert {
        recording.call_id: [(leg.path.name, leg.role) for leg in recording.legs]
        for recording in found.recordings
        if recording.metadata.agent_channel is not None or recording.call_id == "8"
    } == {
        "7": [("7_agent.wav", "agent"), ("7_caller.wav", "customer")],
        "8": [("8_agent.wav", "agent")],
    }
    assert len(found.recordings) == 3


def test_names_that_look_like_legs_are_told_of(tmp_path: Path) -> None:
    for name in ("7_caller", "7_agent", "8_agent", "9_caller", "9_client"):
        (tmp_path / f"{name}.wav").write_bytes(name.encode())

    (warning,) = discover([tmp_path]).warnings
    assert "look like the legs of one call" in warning
    assert warning.endswith("7_agent.wav.")
    joined = discover([tmp_path], pattern="{call_id}_{role}").warnings
    assert not any("look like" in each for each in joined)


def test_underscore_ignores_and_unknown_names_are_kept() -> None:
    assert match("{_}-{site}-{_}-{call_id}", "x-Leeds-y-9.mp3") == {"site": "Leeds", "call_id": "9"}


def test_literal_text_is_not_a_regular_expression() -> None:
    assert match("call.({call_id})+", "call.(7)+.wav") == {"call_id": "7"}
    assert match("call.({call_id})", "callx(7).wav") is None
    assert match("{{{call_id}}}", "{7}.wav") == {"call_id": "7"}


def test_a_slash_compares_the_trailing_parts_of_the_path() -> None:
    pattern = "{agent_id}/{started_at:%Y/%m/%d}/{call_id}"
    assert match(pattern, "/data/bob/2024/05/01/77.wav") == {
        "agent_id": "bob",
        "call_id": "77",
        "started_at": datetime(2024, 5, 1),
    }
    assert match("{agent_id}/{call_id}", "77.wav") is None


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("{call_id", "brace"),
        ("{}", "field's name"),
        ("{call id}", "field's name"),
        ("{call_id!r}", "field's name"),
        ("{agent_id}{call_id}", "nothing between"),
        ("{call_id}_{call_id}", "twice"),
        ("{call_id:%Y}", "only started_at"),
        ("{started_at:%Y%m%Q}", "%Q"),
        ("{started_at:%H%M%S}", "without a year"),
        ("recording", "no field"),
        ("", "no field"),
    ],
)
def test_a_bad_pattern_is_refused(pattern: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        compile_pattern(pattern)


def test_hostile_names_are_compared_quickly() -> None:
    pattern = compile_pattern("{a}_{b}_{c}_{d}_{e}_{f}_{g}-{started_at:%Y%m%d}")
    started = time.perf_counter()
    for name in ("_" * 255, "x_" * 127, "x_" * 6 + "-1" * 120):
        assert pattern.match(Path(name), Notices()) is None
    assert time.perf_counter() - started < 0.5


def test_an_impossible_date_stays_empty_with_a_warning() -> None:
    notices = Notices()
    values = compile_pattern("{call_id}_{started_at:%Y%m%d}").match(Path("7_20240231.wav"), notices)
    assert values == {"call_id": "7", "started_at": None}
    assert len(notices.sentences()) == 1
    assert "20240231" in notices.sentences()[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Auto1_GUID_001_AGENT_BobS_CUST_88_DT_2022-06-01T17-51-51.wav",
            {
                "call_id": "001",
                "agent_id": "BobS",
                "customer_id": "88",
                "started_at": datetime(2022, 6, 1, 17, 51, 51),
            },
        ),
        ("Auto0_GUID_000_AGENT_ChrisL_Mono.wav", {"call_id": "000", "agent_id": "ChrisL"}),
        ("x_AGENT_Ann.wav", {"agent_id": "Ann"}),
        ("GUID_7.mp3", {"call_id": "7"}),
        ("rec-2024-01-02T03-04-05.opus", {"started_at": datetime(2024, 1, 2, 3, 4, 5)}),
        ("Auto_Repairs_40_UTC_agent.wav", {}),
        ("MYAGENT_Ann.wav", {}),
    ],
)
def test_amazons_naming_is_known(name: str, expected: dict[str, object]) -> None:
    assert known_naming(Path(name), Notices()) == expected


def test_metadata_goes_before_the_pattern_and_the_pattern_before_amazons_naming(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "q1_GUID_9_AGENT_named_CUST_c_2024-05-01T10-00-00.wav").write_bytes(b"audio")
    (tmp_path / "meta.csv").write_text("call_id,agent_id,customer_id\n9,,given\n")
    (recording,) = discover(
        [calls], metadata=tmp_path / "meta.csv", pattern="{queue}_GUID_{_}_AGENT_{agent_id}_{_}_{note}"
    ).recordings
    assert recording.call_id == "9"
    assert recording.metadata == CallMetadata(
        agent_id="named",
        customer_id="given",
        queue="q1",
        started_at=datetime(2024, 5, 1, 10, tzinfo=UTC),
        extra={"note": "c_2024-05-01T10-00-00"},
    )


def test_names_that_do_not_match_are_counted_in_one_warning(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c_1.wav"):
        (tmp_path / name).write_text(name)
    found = discover([tmp_path], pattern="{agent_id}_{call_id}")
    assert [r.call_id for r in found.recordings][2] == "1"
    (warning,) = found.warnings
    assert "a.wav and 1 more" in warning


def test_legs_that_are_known_as_one_call_are_not_told_of_again(tmp_path: Path) -> None:
    for name in ("7_caller", "7_agent"):
        (tmp_path / f"{name}.wav").write_bytes(name.encode())
    (call,) = discover([tmp_path], pattern="{call_id}_{role}").recordings
    known = KnownCall(
        call_id=call.call_id,
        content_hash=call.content_hash,
        legs=call.legs,
        metadata=call.metadata,
        status="ok",
        settings_hash="",
        model_hash="",
    )

    assert discover([tmp_path], known=[known]).warnings == ()
