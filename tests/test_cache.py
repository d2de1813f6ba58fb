from pathlib import Path

import pytest

from training.cache import built_whole


def test_what_is_built_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    with built_whole(tmp_path / "cache" / "bank") as bank:
        bank.mkdir()
        (bank / "frames").write_text("1 2 3")
        assert not (tmp_path / "cache" / "bank").exists()
    assert (tmp_path / "cache" / "bank" / "frames").read_text() == "1 2 3"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["bank"]


def test_a_building_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build() -> None:
        with built_whole(tmp_path / "bank") as bank:
            bank.mkdir()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        build()
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_build_the_same_folder_the_first_to_finish_wins(tmp_path: Path) -> None:
    with built_whole(tmp_path / "bank") as slow:
        slow.mkdir()
        (slow / "by").write_text("slow")
        with built_whole(tmp_path / "bank") as quick:
            quick.mkdir()
            (quick / "by").write_text("quick")
    assert (tmp_path / "bank" / "by").read_text() == "quick"


def test_of_two_that_build_the_same_file_neither_fails(tmp_path: Path) -> None:
    with built_whole(tmp_path / "teacher.npz") as one:
        one.write_text("1")
        with built_whole(tmp_path / "teacher.npz") as other:
            other.write_text("1")
    assert (tmp_path / "teacher.npz").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.npz"]
