"""The sets of models: which word or folder names which, what is listed of them, and what is told amiss."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import callmood.model_files
from callmood.cli.app import main
from callmood.errors import ModelError
from callmood.model_files import (
    CAMPPLUS,
    CONFIG,
    NEEDED,
    VOICE_WEIGHTS,
    describe_set,
    models_folder,
    verified,
)
from callmood.report.doctor import examine
from callmood.settings import Settings
from training.export import record

Run = Callable[..., tuple[int, str, str]]


def make_set(folder: Path, licence: str) -> Path:
    """A set with all that is needed; what the files hold does not matter here."""
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of {licence}")
    record(folder, dict.fromkeys(NEEDED, licence))
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with both sets."""
    package = tmp_path / "callmood"
    make_set(package / "models", "research only")
    make_set(package / "models" / "commercial", "any use")
    monkeypatch.setattr(callmood.model_files, "__file__", str(package / "model_files.py"))
    return package / "models"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `models` in a folder of its own; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["models", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_the_word_names_the_shipped_set_and_a_path_a_folder(shipped: Path) -> None:
    assert models_folder() == shipped
    assert models_folder("commercial") == shipped / "commercial"
    assert models_folder("./commercial") == Path("commercial")
    assert models_folder(Path("commercial")) == Path("commercial")
    assert models_folder("elsewhere") == Path("elsewhere")


def test_files_of_the_commercial_set_are_its_own(shipped: Path) -> None:
    assert verified(CONFIG, "commercial") == shipped / "commercial" / CONFIG
    assert {file.licence for file in describe_set("commercial")} == {"any use"}


def test_a_set_that_is_not_installed_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(tmp_path / "callmood" / "models", "research only")
    monkeypatch.setattr(callmood.model_files, "__file__", str(tmp_path / "callmood" / "model_files.py"))
    with pytest.raises(
        ModelError, match=r"does not have the commercial models; reinstall.*--models \./commercial"
    ):
        verified(CONFIG, "commercial")


def test_the_help_of_the_setting_names_the_word() -> None:
    help_text = Settings.__dataclass_fields__["models"].metadata["help"]
    assert "commercial" in help_text
    assert "./commercial" in help_text


def test_all_shipped_files_are_listed_with_size_licence_and_state(shipped: Path, run: Run) -> None:
    code, out, err = run("--json")
    files = json.loads(out)
    assert (code, err) == (0, "")
    assert [(file["set"], file["file"]) for file in files] == [
        (name, file) for name in ("default", "commercial") for file in sorted(NEEDED)
    ]
    speaker = next(file for file in files if (file["set"], file["file"]) == ("commercial", VOICE_WEIGHTS))
    content = f"{VOICE_WEIGHTS} of any use"
    assert speaker == {
        "set": "commercial",
        "file": VOICE_WEIGHTS,
        "bytes": len(content),
        "licence": "any use",
        "state": "ok",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
    }


def test_the_list_in_a_terminal_and_as_csv(shipped: Path, run: Run) -> None:
    lines = run()[1].splitlines()
    assert lines[0].split() == ["set", "file", "bytes", "SHA-256", "licence"]
    assert lines[1].split() == ["default", "emotion.json", "29", "matches", "research", "only"]
    assert len(lines) == 11
    assert [row["licence"] for row in csv.DictReader(io.StringIO(run("--csv")[1]))] == (
        ["research only"] * 5 + ["any use"] * 5
    )


@pytest.mark.parametrize("named", ["option", "environment"])
def test_one_set_may_be_named(
    shipped: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    own = make_set(tmp_path / "own", "ours")
    if named == "environment":
        monkeypatch.setenv("CALLMOOD_MODELS", str(own))
    files = json.loads(run("--json", *(["--models", own] if named == "option" else []))[1])
    assert {(file["set"], file["licence"]) for file in files} == {(str(own), "ours")}
    assert {file["set"] for file in json.loads(run("--json", "--models", "commercial")[1])} == {"commercial"}


def test_a_changed_or_missing_file_is_one_sentence_each_and_exit_1(shipped: Path, run: Run) -> None:
    (shipped / CONFIG).write_text("other")
    (shipped / "commercial" / VOICE_WEIGHTS).unlink()
    code, out, err = run("--csv")
    states = {
        (row["set"], row["file"]): (row["state"], row["bytes"]) for row in csv.DictReader(io.StringIO(out))
    }
    assert code == 1
    assert states["default", CONFIG] == ("changed", "5")
    assert states["commercial", VOICE_WEIGHTS] == ("missing", "")
    assert sum(state == "ok" for state, _ in states.values()) == 8
    changed, missing = err.splitlines()
    assert changed.startswith(f"callmood: {shipped / CONFIG}: not the file that was recorded")
    assert missing.startswith(f"callmood: {shipped / 'commercial' / VOICE_WEIGHTS}: missing; reinstall")


def test_a_needed_file_that_the_manifest_leaves_out_is_told(shipped: Path, run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / CONFIG).write_text("{}")
    record(own, {CONFIG: "ours"})
    code, out, err = run("--json", "--models", own)
    assert code == 1
    assert {file["file"]: file["state"] for file in json.loads(out)} == {
        name: "ok" if name in (CONFIG, CAMPPLUS) else "not recorded" for name in NEEDED
    }
    assert err.count("manifest.json does not record it") == 3


def test_a_shipped_set_that_is_gone_leaves_the_other_listed(shipped: Path, run: Run) -> None:
    for name in (*NEEDED, "manifest.json"):
        (shipped / "commercial" / name).unlink()
    (shipped / "commercial" / "speaker").rmdir()
    (shipped / "commercial").rmdir()
    code, out, err = run("--json")
    assert code == 1
    assert {file["set"] for file in json.loads(out)} == {"default"}
    assert err.count("\n") == 1
    assert "does not have the commercial models" in err


def test_doctor_tells_the_licence_of_the_set_in_use(shipped: Path) -> None:
    def licences(models: str | None) -> set[str]:
        return {
            check.found.rpartition("licence: ")[2]
            for check in examine(Settings(models=models))
            if check.name.startswith("model ")
        }

    assert licences(None) == {"research only"}
    assert licences("commercial") == {"any use"}
