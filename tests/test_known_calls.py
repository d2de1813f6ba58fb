"""What is new, and which id it bears, when earlier runs left calls behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import NOON, make_recording

from callmood.batch import is_known, set_aside, superseded, with_known_metadata
from callmood.discover import Discovery, discover, hash_file
from callmood.results.store import Store
from callmood.types import CallMetadata, KnownCall, Recording


def known(recording: Recording) -> KnownCall:
    return KnownCall(
        call_id=recording.call_id,
        content_hash=recording.content_hash,
        legs=recording.legs,
        metadata=recording.metadata,
        status="ok",
        settings_hash="s",
        model_hash="m",
    )


def wav(path: Path, content: bytes) -> Path:
    """A file that is taken for a recording, with content of its own."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"RIFF\x00\x00\x00\x00WAVE" + content)
    return path


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def ids(discovery: Discovery) -> dict[str, str]:
    return {recording.path.name: recording.call_id for recording in discovery.recordings}


def rediscover(calls: Path, earlier: Discovery, *, metadata: Path | None = None) -> Discovery:
    return discover([calls], metadata=metadata, known=[known(r) for r in earlier.recordings])


def metadata_file(folder: Path, *rows: str) -> Path:
    path = folder / "metadata.csv"
    path.write_text("\n".join(("path,call_id,role", *rows)) + "\n")
    return path


def test_a_moved_file_keeps_the_id_that_metadata_gave_it(calls: Path, tmp_path: Path) -> None:
    wav(calls / "a.wav", b"a")
    first = discover([calls], metadata=metadata_file(tmp_path, "calls/a.wav,X,"))
    (calls / "a.wav").rename(calls / "moved.wav")

    assert ids(rediscover(calls, first)) == {"moved.wav": "X"}


def test_who_came_first_keeps_the_id(calls: Path, tmp_path: Path) -> None:
    wav(calls / "b.wav", b"b")
    first = discover([calls], metadata=metadata_file(tmp_path, "calls/b.wav,X,"))
    late = wav(calls / "a.wav", b"a")
    rows = metadata_file(tmp_path, "calls/a.wav,X,", "calls/b.wav,X,")

    second = rediscover(calls, first, metadata=rows)

    assert ids(second) == {"a.wav": f"X~{hash_file(late)[:8]}", "b.wav": "X"}
    assert ids(rediscover(calls, second, metadata=rows)) == ids(second)


def test_new_content_at_the_same_path_keeps_the_id(calls: Path, tmp_path: Path) -> None:
    wav(calls / "a.wav", b"old")
    rows = metadata_file(tmp_path, "calls/a.wav,X,")
    first = discover([calls], metadata=rows)
    wav(calls / "a.wav", b"new")

    assert ids(rediscover(calls, first, metadata=rows)) == {"a.wav": "X"}


def test_the_second_leg_joins_the_first_under_its_id(calls: Path, tmp_path: Path) -> None:
    wav(calls / "left.wav", b"left")
    rows = metadata_file(tmp_path, "calls/left.wav,X,agent", "calls/right.wav,X,customer")
    first = discover([calls], metadata=rows)
    wav(calls / "right.wav", b"right")

    (pair,) = rediscover(calls, first, metadata=rows).recordings

    assert pair.call_id == "X"
    assert len(pair.legs) == 2
    assert not is_known(pair, known(first.recordings[0]))


def test_a_file_that_turns_out_to_be_a_leg_leaves_no_row_behind(calls: Path, tmp_path: Path) -> None:
    for name in ("left.wav", "right.wav"):
        wav(calls / name, name.encode())
    alone = discover([calls])
    rows = metadata_file(tmp_path, "calls/left.wav,X,agent", "calls/right.wav,X,customer")

    (pair,) = rediscover(calls, alone, metadata=rows).recordings
    gone = superseded([pair], [known(r) for r in alone.recordings], current={pair.call_id})

    assert sorted(gone["X"]) == sorted(ids(alone).values())


def test_what_another_recording_of_the_run_is_known_by_is_not_superseded() -> None:
    call = make_recording("a")

    assert superseded([replace(call, call_id="b")], [known(call)], current={"a", "b"}) == {"b": []}


def test_the_same_content_under_another_given_id_is_another_call(calls: Path, tmp_path: Path) -> None:
    # Two silent files, say: the first was analyzed as X and archived since.
    wav(calls / "x.wav", b"silence")
    first = discover([calls], metadata=metadata_file(tmp_path, "calls/x.wav,X,"))
    (calls / "x.wav").rename(calls / "y.wav")

    (late,) = rediscover(calls, first, metadata=metadata_file(tmp_path, "calls/y.wav,Y,")).recordings

    assert superseded([late], [known(r) for r in first.recordings], current={"Y"}) == {"Y": []}


def test_a_reused_file_name_with_another_given_id_is_another_call(calls: Path, tmp_path: Path) -> None:
    wav(calls / "line1.wav", b"monday")
    first = discover([calls], metadata=metadata_file(tmp_path, "calls/line1.wav,K1,"))
    wav(calls / "line1.wav", b"tuesday")

    (late,) = rediscover(calls, first, metadata=metadata_file(tmp_path, "calls/line1.wav,K2,")).recordings

    assert superseded([late], [known(r) for r in first.recordings], current={"K2"}) == {"K2": []}


def test_an_id_given_later_takes_the_place_of_the_content_hash(calls: Path, tmp_path: Path) -> None:
    wav(calls / "a.wav", b"a")
    first = discover([calls])

    (late,) = rediscover(calls, first, metadata=metadata_file(tmp_path, "calls/a.wav,X,")).recordings

    assert superseded([late], [known(r) for r in first.recordings], current={"X"}) == {
        "X": [first.recordings[0].call_id]
    }


@pytest.fixture
def pair(calls: Path, tmp_path: Path) -> Discovery:
    for name in ("left.wav", "right.wav"):
        wav(calls / name, name.encode())
    rows = metadata_file(tmp_path, "calls/left.wav,X,agent", "calls/right.wav,X,customer")
    return discover([calls], metadata=rows)


def test_legs_stay_a_call_in_a_run_that_is_not_told_of_it(calls: Path, pair: Discovery) -> None:
    again = rediscover(calls, pair)

    found, left_alone, _ = set_aside(again.recordings, [known(r) for r in pair.recordings])

    assert (found, left_alone) == ([], 2)


@pytest.mark.parametrize("name", ["left.wav", "right.wav"])
def test_a_run_over_one_leg_leaves_the_pair_alone(
    calls: Path, tmp_path: Path, pair: Discovery, name: str
) -> None:
    earlier = [known(r) for r in pair.recordings]
    rows = tmp_path / "metadata.csv"

    alone = discover([calls / name], metadata=rows, known=earlier)

    assert set_aside(alone.recordings, earlier)[:2] == ([], 1)


def test_a_file_that_cannot_be_read_any_more_keeps_what_is_known_of_it(calls: Path) -> None:
    wav(calls / "target", b"a")
    (calls / "a.wav").symlink_to(calls / "target")
    first = discover([calls / "a.wav"])
    (calls / "target").unlink()

    again = rediscover(calls, first)
    found, left_alone, warnings = set_aside(again.recordings, [known(r) for r in first.recordings])

    assert (found, left_alone) == ([], 1)
    assert "a.wav" in warnings[0]


def test_a_role_told_later_makes_a_leg_new() -> None:
    earlier = known(make_recording("a"))
    (leg,) = earlier.legs
    told = replace(make_recording("a"), legs=(replace(leg, role="customer"),))

    assert not is_known(with_known_metadata(told, earlier), earlier)
    assert is_known(with_known_metadata(make_recording("a"), known(told)), known(told))


def test_the_agents_channel_is_not_carried_over_to_other_content() -> None:
    earlier = known(make_recording("a", agent_channel=0))
    other = replace(make_recording("a"), content_hash="other")

    assert with_known_metadata(other, earlier).metadata.agent_channel is None


def test_a_run_that_is_told_nothing_keeps_what_an_earlier_one_was_told() -> None:
    earlier = known(
        make_recording("a", agent_id="alice", queue="sales", started_at=NOON, extra={"x": 1, "y": 1})
    )

    again = with_known_metadata(make_recording("a", queue="care", extra={"y": 2}), earlier)

    assert again.metadata == CallMetadata(
        agent_id="alice", queue="care", started_at=NOON, extra={"x": 1, "y": 2}
    )


@pytest.mark.parametrize(("channel", "same"), [(0, True), (1, False)])
def test_an_agent_on_another_channel_makes_a_call_new(channel: int, same: bool) -> None:
    earlier = known(make_recording("a", agent_channel=0))

    assert is_known(make_recording("a", agent_channel=channel), earlier) is same


def test_a_call_without_a_record_is_new() -> None:
    assert not is_known(make_recording("a"), None)


def test_hashes_are_remembered_where_the_store_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"a")
    with Store(tmp_path / "calls.duckdb") as store:
        digest = store.content_hash(recording)

    def read_again(path: Path) -> str:
        raise AssertionError(path)

    monkeypatch.setattr("callmood.discover.identity.hash_file", read_again)
    with Store(tmp_path / "calls.duckdb") as store:
        assert store.content_hash(recording) == digest
