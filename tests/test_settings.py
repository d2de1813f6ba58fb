"""Settings: which source wins, what is refused, and what decides results."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from callmood.errors import UsageError
from callmood.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that no callmood.toml is found by chance."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_hold_where_nothing_is_given() -> None:
    effective = load_settings(environment={})
    assert effective.settings == Settings()
    assert set(effective.sources.values()) == {"default"}


def test_command_line_beats_environment_beats_file_beats_default(folder: Path) -> None:
    (folder / "callmood.toml").write_text('db = "file.duckdb"\njobs = 2\ntimezone = "Europe/Berlin"\n')
    effective = load_settings(
        {"db": "given.duckdb", "jobs": None},
        environment={"CALLMOOD_DB": "environment.duckdb", "CALLMOOD_JOBS": "3"},
    )
    assert (effective.settings.db, effective.settings.jobs) == ("given.duckdb", 3)
    assert effective.settings.timezone == "Europe/Berlin"
    assert effective.sources["db"] == "command line"
    assert effective.sources["jobs"] == "CALLMOOD_JOBS"
    assert effective.sources["timezone"] == "callmood.toml"
    assert effective.sources["device"] == "default"


def test_an_empty_environment_variable_counts_as_unset() -> None:
    assert load_settings(environment={"CALLMOOD_DB": ""}).settings.db == Settings().db


def test_the_configuration_file_can_be_named(folder: Path) -> None:
    path = folder / "other.toml"
    path.write_text('emotion_for = "customer"\nspeakers = 3\n')
    settings = load_settings(environment={"CALLMOOD_CONFIG": str(path)}).settings
    assert settings.emotion_for == "customer"
    assert settings.speaker_count == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobbs = 2", "unknown setting 'jobbs'"),
        ('jobs = "many"', "jobs is 'many'; it must be a whole number"),
        ("jobs = {a = 1}", "jobs is {'a': 1}; it must be a whole number"),
        ("db = [1]", "db must be a single value"),
        ("db = ", "cannot be read as TOML"),
    ],
)
def test_a_bad_configuration_file_is_refused_by_name(folder: Path, text: str, said: str) -> None:
    (folder / "callmood.toml").write_text(text)
    with pytest.raises(UsageError) as refused:
        load_settings(environment={})
    assert "callmood.toml" in str(refused.value)
    assert said in str(refused.value)


def test_a_configuration_file_that_is_named_must_exist() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml: no such file; it is named by CALLMOOD_CONFIG"):
        load_settings(environment={"CALLMOOD_CONFIG": "nowhere.toml"})


def test_a_variable_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="CALLMOOD_JOBS: jobs is 'many'"):
        load_settings(environment={"CALLMOOD_JOBS": "many"})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("diarizer", "magic", "auto, channels, builtin, pyannote"),
        ("emotion_for", "nobody", "everyone, customer, agent"),
        ("device", "tpu", "auto, cpu, gpu"),
        ("speakers", "0", "auto or a number from 1 to 20"),
        ("speakers", "two", "auto or a number from 1 to 20"),
        ("jobs", -1, "0 (one per core) or more"),
        ("timezone", "Mars/Olympus", "name one like Europe/Berlin"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(name: str, value: object, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_settings({name: value}, environment={})
    assert name in str(refused.value)
    assert said in str(refused.value)


def test_speakers_auto_means_to_find_the_number() -> None:
    assert Settings(speakers="auto").speaker_count is None
    assert Settings().speaker_count == 2


def test_the_results_hash_follows_the_settings_that_decide_results_and_no_others() -> None:
    changed = {
        "db": "other.duckdb",
        "metadata": "m.csv",
        "pattern": "{call_id}",
        "timezone": "Europe/Berlin",
        "diarizer": "builtin",
        "speakers": "3",
        "pyannote_pipeline": "folder",
        "rttm": "folder",
        "causal": True,
        "emotion_for": "customer",
        "min_role_confidence": 0.5,
        "guess_roles": True,
        "pseudonymize": True,
        "pseudonym_key_file": "key",
        "plain_columns": "team",
        "escalation_threshold": 1.0,
        "jobs": 4,
        "backend": "dask",
        "scheduler": "tcp://127.0.0.1:8786",
        "out": "folder",
        "device": "cpu",
        "models": "folder",
        "max_seconds_per_call": 60,
        "max_memory_per_worker": 2000,
        "wait": 60,
        "max_runtime": 60,
        "snapshot_every": 60,
        "log_file": "x.log",
        "heartbeat_file": "x.json",
        "metrics_file": "x.prom",
        "lock": "x.lock",
    }
    assert set(changed) == {field.name for field in fields(Settings)}
    together = ("backend", "scheduler")
    before = Settings().results_hash()
    decisive = {
        name
        for name in changed
        if replace(
            Settings(), **{each: changed[each] for each in (together if name in together else (name,))}
        ).results_hash()
        != before
    }
    assert decisive == {
        *("diarizer", "speakers", "pyannote_pipeline", "rttm", "causal", "emotion_for"),
        *("escalation_threshold", "min_role_confidence", "guess_roles"),
    }


def test_every_setting_says_what_it_is() -> None:
    assert all(field.metadata["help"].endswith(".") for field in fields(Settings))


@pytest.mark.parametrize(("said", "meant"), [("true", True), ("1", True), ("False", False), ("0", False)])
def test_a_switch_is_read_from_the_environment(said, meant) -> None:
    assert load_settings(environment={"CALLMOOD_CAUSAL": said}).settings.causal is meant


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    with pytest.raises(UsageError, match="true or false"):
        load_settings(environment={"CALLMOOD_CAUSAL": "maybe"})
