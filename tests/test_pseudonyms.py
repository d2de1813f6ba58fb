"""Ids as keyed hashes: in the database, in the log, in what is said, and when the run comes again."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import callmood
from callmood.errors import UsageError
from callmood.pseudonyms import Pseudonyms
from callmood.results import connect
from callmood.settings import Settings
from callmood.types import CallMetadata, CallResult, Leg, Recording

KEY = "0123456789abcdef-key"
NAMES = ("susan-miller", "C-jane-doe", "the-given-id", "jane@example.org", "private-folder")

Analyze = Callable[..., callmood.RunSummary]


@pytest.fixture
def named(small_calls: Path, tmp_path: Path) -> Path:
    """Metadata of the four small calls, which lie in a folder and under names that say too much."""
    folder = small_calls / "private-folder"
    folder.mkdir()
    (small_calls / "0.wav").rename(folder / "susan-miller_C-jane-doe.wav")
    (small_calls / "3.wav").write_text("no audio")
    (small_calls / "3.wav").rename(folder / "susan-miller_the-given-id.wav")
    metadata = tmp_path / "calls.csv"
    metadata.write_text(
        "path,call_id,agent_id,customer_id,queue,team,mail\n"
        f"{folder}/susan-miller_C-jane-doe.wav,the-given-id,susan-miller,C-jane-doe,sales,north,jane@example.org\n"
        f"{folder}/susan-miller_the-given-id.wav,the-given-id,susan-miller,C-jane-doe,sales,north,jane@example.org\n"
        f"{folder}/gone-susan-miller.wav,other,susan-miller,,sales,south,\n"
    )
    return metadata


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


@pytest.fixture
def private(analyze_small: Analyze, named: Path, key_file: Path, tmp_path: Path) -> Analyze:
    """A run with pseudonyms that leaves a log, a heartbeat and metrics."""
    (tmp_path / "left").mkdir()

    def run(**options: object) -> callmood.RunSummary:
        return analyze_small(
            **(
                {
                    "metadata": str(named),
                    "pseudonymize": True,
                    "pseudonym_key_file": str(key_file),
                    "plain_columns": "team",
                    "db": str(tmp_path / "left" / "x.duckdb"),
                    "log_file": str(tmp_path / "left" / "x.log"),
                    "heartbeat_file": str(tmp_path / "left" / "x.json"),
                    "metrics_file": str(tmp_path / "left" / "x.prom"),
                }
                | options
            )
        )

    return run


def test_no_file_that_a_run_leaves_and_nothing_that_it_says_holds_a_name_or_the_key(
    private: Analyze, tmp_path: Path
) -> None:
    from callmood.cli import summary as told

    summary = private()

    assert (summary.analyzed, len(summary.failures)) == (4, 1)
    said = [*told.problems(summary), *told.outcome(summary), json.dumps(told.as_record(summary))]
    left = {path.name: path.read_bytes() for path in (tmp_path / "left").iterdir()}
    assert {"x.duckdb", "x.log", "x.json", "x.prom", "x.snapshot.duckdb"} <= set(left)
    for name in (*NAMES, KEY):
        assert [sentence for sentence in said if name in sentence] == []
        assert [file for file, content in left.items() if name.encode() in content] == []
    # What went wrong is told all the same.
    assert any(sentence.startswith("No recording was found for a row") for sentence in summary.warnings)
    (failure,) = summary.failures
    assert failure.error is not None
    assert failure.error.startswith(f"{failure.recording.legs[0].alias}")


def test_the_same_key_gives_the_same_pseudonym_so_that_statistics_still_join(
    private: Analyze, tmp_path: Path
) -> None:
    private()
    agent = hmac.new(KEY.encode(), b"agent\0susan-miller", hashlib.sha256).hexdigest()[:20]
    customer = hmac.new(KEY.encode(), b"customer\0C-jane-doe", hashlib.sha256).hexdigest()[:20]

    with connect(tmp_path / "left" / "x.duckdb") as connection:
        found = connection.execute(
            "SELECT agent_id, customer_id, queue, metadata->>'team', length(metadata->>'mail'), count(*) "
            "FROM calls WHERE agent_id IS NOT NULL GROUP BY ALL"
        ).fetchall()
    assert found == [(agent, customer, "sales", "north", 20, 2)]


def test_a_second_run_knows_the_calls_again(private: Analyze) -> None:
    private()
    again = private()

    assert (again.analyzed, again.already_known) == (0, 4)


def test_retry_finds_the_recordings_that_the_aliases_stand_for(
    private: Analyze, small_calls: Path, key_file: Path, tmp_path: Path
) -> None:
    private()
    options = {"db": str(tmp_path / "left" / "x.duckdb"), "jobs": 1}
    summary = callmood.retry(unreadable=True, pseudonymize=True, pseudonym_key_file=str(key_file), **options)

    assert (summary.found, summary.analyzed) == (1, 1)
    assert summary.warnings == ()


def test_a_database_does_not_mix_ids_in_clear_pseudonyms_and_other_keys(
    private: Analyze, tmp_path: Path
) -> None:
    private()
    (tmp_path / "other").write_text("another key of some length")

    with pytest.raises(UsageError, match="its ids are pseudonyms; give --pseudonymize and the key"):
        private(pseudonymize=False)
    with pytest.raises(UsageError, match="its ids are pseudonyms by another key"):
        private(pseudonym_key_file=str(tmp_path / "other"))
    private(pseudonymize=False, db=str(tmp_path / "clear.duckdb"))
    with pytest.raises(UsageError, match="its ids are as they were given; name a new database"):
        private(db=str(tmp_path / "clear.duckdb"))


def test_a_customer_is_purged_by_the_id_in_clear(private: Analyze, key_file: Path, tmp_path: Path) -> None:
    private()
    database = str(tmp_path / "left" / "x.duckdb")
    callmood.purge(customer="C-jane-doe", db=database, pseudonymize=True, pseudonym_key_file=str(key_file))

    with connect(database) as connection:
        criterion, calls = connection.execute("SELECT criterion, calls FROM purges").fetchone()
    pseudonym = Pseudonyms(KEY.encode()).of("customer", "C-jane-doe")
    assert (json.loads(criterion), calls) == ({"customer": {"pseudonym": pseudonym}}, 2)


@pytest.mark.parametrize(
    ("settings", "environment", "said"),
    [
        ({}, {}, "--pseudonymize needs a key; name its file with --pseudonym-key-file or set CALLMOOD_PSEU"),
        (
            {"pseudonym_key_file": "/nowhere/key"},
            {},
            "/nowhere/key: the key of --pseudonymize cannot be read",
        ),
        ({}, {"CALLMOOD_PSEUDONYM_KEY": "short"}, "has 5 bytes; give it 16 or more"),
    ],
)
def test_without_a_good_key_nothing_is_done(
    settings: dict[str, str], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        Pseudonyms.of_settings(Settings(pseudonymize=True, **settings), environment=environment)
    assert said in str(refused.value)


def test_the_key_may_come_from_the_environment_or_a_file(key_file: Path) -> None:
    by_file = Pseudonyms.of_settings(
        Settings(pseudonymize=True, pseudonym_key_file=str(key_file)), environment={}
    )
    by_variable = Pseudonyms.of_settings(
        Settings(pseudonymize=True), environment={"CALLMOOD_PSEUDONYM_KEY": KEY}
    )

    assert by_file is not None
    assert by_variable is not None
    assert by_file.of("agent", "x") == by_variable.of("agent", "x")
    assert Pseudonyms.of_settings(Settings(), environment={}) is None


def test_kinds_do_not_mix() -> None:
    pseudonyms = Pseudonyms(KEY.encode())

    assert len({pseudonyms.of("agent", "7"), pseudonyms.of("customer", "7"), pseudonyms.of("call", "7")}) == 3


def test_an_alias_leads_back_to_the_file_with_the_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "susan's call.wav"
    path.parent.mkdir()
    path.touch()
    pseudonyms = Pseudonyms(KEY.encode())
    alias = pseudonyms.path(path)

    assert alias.endswith(".wav")
    assert "susan" not in alias
    assert pseudonyms.find(alias) == path
    assert Pseudonyms(b"another key of some length").find(alias) is None


def test_an_extension_that_is_none_of_a_recording_is_hidden_too() -> None:
    assert "doe" not in Pseudonyms(KEY.encode()).path(Path("/calls/jane.doe"))


def test_names_in_a_sentence_are_replaced_wherever_they_stand() -> None:
    pseudonyms = Pseudonyms(KEY.encode())
    recording = Recording(
        call_id="x", legs=(Leg(path=Path("/calls/jane doe.wav")),), content_hash="h", metadata=CallMetadata()
    )
    sentence = "no turns at /turns/jane doe.rttm for /calls/jane doe.wav; janet doer stays."

    error = pseudonyms.result(CallResult(recording=recording, status="failed", error=sentence)).error

    alias = pseudonyms.path(Path("/calls/jane doe.wav"))
    stem = alias.rpartition("/")[2].removesuffix(".wav")
    assert error == f"no turns at /turns/{stem}.rttm for {alias}; janet doer stays."
