"""A database held against labels: values worked out by hand, and what a refit changes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NOON, make_recording, make_run

import callmood
from callmood import metrics
from callmood.cli.app import main
from callmood.emotions import EMOTIONS
from callmood.errors import ModelError, UsageError
from callmood.model_files import CONFIG, VOICE_WEIGHTS, WEIGHTS, describe_models, models_hash
from callmood.pipeline import Engines, analyze_audio, load_engines
from callmood.results.store import Store
from callmood.settings import Settings
from callmood.trajectory import (
    EscalationRule,
    affect_of,
    escalation_scores,
    find_escalations,
    smooth,
    speech_per_window,
)
from callmood.types import Analysis, Audio, CallResult, Floats, Turn, Windows
from callmood.validation.labels import Label, read_labels
from callmood.validation.result import Validation
from callmood.validation.scored import ScoredCall, answers_for, read_calls

HEADER = "call_id,start_s,end_s,emotion,speaker,role,escalated"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are not what most of these tests are about."""
    monkeypatch.setattr(metrics, "BOOTSTRAPS", 40)


@pytest.fixture
def validated(tmp_path: Path, database: Path) -> Callable[..., Validation]:
    """Holds the hand-drawn calls, or those of `db`, against the lines of a label file."""

    def validated(*lines: str, db: Path = database, **options: Any) -> Validation:
        return callmood.validate(write_labels(tmp_path, *lines), db=db, **options)

    return validated


def write_labels(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def values(figures: Any) -> dict[str, float | None]:
    return {name: figure.value for name, figure in figures.items()}


def mixed(angry: float) -> list[float]:
    """Probabilities of anger, and of neutral for the rest."""
    return [1.0 - angry if name == "neutral" else angry if name == "angry" else 0.0 for name in EMOTIONS]


def one_speaker(
    call_id: str,
    probabilities: Sequence[Sequence[float]],
    *,
    role: str | None = "customer",
) -> CallResult:
    """A call of one turn, half a second for each window; its escalations are found as the pipeline does.

    The windows lie side by side, so that each label can be put under one of them.
    """
    n = len(probabilities)
    turns = (Turn(speaker="S1", channel=0, start_s=0.0, end_s=0.5 * n, role=role),)  # type: ignore[arg-type]
    affect = affect_of(np.array(probabilities, dtype=np.float32))
    window_turn = np.zeros(n, dtype=np.int32)
    steps_s = speech_per_window(window_turn, turns)
    starts_s = 0.5 * np.arange(n)
    windows = Windows(
        turn_index=window_turn,
        start_s=starts_s,
        end_s=starts_s + 0.5,
        affect=affect,
        negativity_smooth=smooth(affect.negativity, steps_s),
    )
    return CallResult(
        recording=make_recording(call_id),
        status="ok",
        analysis=Analysis(
            duration_s=0.5 * n,
            channels=1,
            rate_hz=8000,
            codec="PCM_16",
            lost_s=0.0,
            diarizer="builtin 1",
            turns=turns,
            turn_affect=affect_of(affect.probabilities.mean(axis=0, keepdims=True)),
            windows=windows,
            escalations=find_escalations(windows, turns, EscalationRule()),
            escalation_scores=escalation_scores(windows, turns, EscalationRule()),
        ),
    )


def rising(call_id: str, level: float, **options: Any) -> CallResult:
    """A minute: 100 windows of calm, then 20 at a level of anger. The mean strain is level / 6, so the evidence is
    20 * 0.5 s * (level - 0.25 - 0.7 * level / 6)."""
    return one_speaker(call_id, [mixed(0.0)] * 100 + [mixed(level)] * 20, **options)


def store(path: Path, *results: CallResult, model_hash: str = "model-1") -> Path:
    run = replace(make_run(), model_hash=model_hash)
    with Store(path) as written:
        written.begin_run(run)
        for result in results:
            written.write(result, run, analyzed_at=NOON)
    return path


def scored(path: Path, *call_ids: str) -> dict[str, ScoredCall]:
    with callmood.connect(path) as connection:
        return read_calls(connection, call_ids)


# What the database answers for a stretch


@pytest.mark.parametrize(
    ("start_s", "end_s", "who", "answer"),
    [
        # Windows 20-22 (neutral) for 1 s and 26-28 (angry) for 2 s.
        (21, 28, {}, {"neutral": 1 / 3, "angry": 2 / 3}),
        # No window, but the turn from 20 to 28 s.
        (23, 25, {}, {"angry": 1.0}),
        # Agent's window 0-2 for 1 s, the customer's 7-9 for 2 s and 9-11 for 1 s.
        (1, 10, {}, {"neutral": 1 / 4, "happy": 3 / 4}),
        (1, 10, {"speaker": "S1"}, {"neutral": 1.0}),
        (1, 10, {"role": "customer"}, {"happy": 1.0}),
        # A turn that was not scored; nobody; somebody who does not speak then.
        (14, 16, {}, None),
        (17, 19, {}, None),
        (7, 9, {"speaker": "S1"}, None),
        # Touching a window is no overlap.
        (2, 7, {"role": "customer"}, None),
    ],
)
def test_an_answer_is_the_mean_of_the_windows_weighted_by_overlap(
    database: Path, start_s: float, end_s: float, who: dict[str, str], answer: dict[str, float] | None
) -> None:
    label = Label(call_id="call-1", start_s=start_s, end_s=end_s, emotion=0, **who)

    found = answers_for([label], scored(database, "call-1"))

    if answer is None:
        assert len(found.labels) == 0
    else:
        assert found.probabilities()[0] == pytest.approx(
            [answer.get(name, 0.0) for name in EMOTIONS], abs=1e-6
        )


def test_figures_by_hand(validated: Callable[..., Validation]) -> None:
    # Answers: neutral, happy, neutral, angry, each certain. The last stretch holds no scored speech.
    found = validated(
        "call-1,0,2,neutral,,,",
        "call-1,7,9,happy,,,",
        "call-3,20,22,sad,,,",
        "call-3,26,28,angry,,,",
        "call-3,14,16,angry,,,",
    ).emotions

    assert found is not None
    assert (found.labels, found.calls, found.covered) == (5, 2, 4)
    assert values(found.figures) == pytest.approx(
        {
            "accuracy": 3 / 4,
            "uar": 3 / 4,
            # F1 of neutral 2/3 (one of two answers right), happy 1, sad 0, angry 1.
            "macro_f1": 2 / 3,
            # Chance is (1*2 + 1*1 + 1*0 + 1*1) / 16.
            "kappa": (3 / 4 - 1 / 4) / (1 - 1 / 4),
            # Neutral: above two of the others, equal to one: 5/6. Sad: equal to all: 1/2. The others: 1.
            "auc": (5 / 6 + 1 + 1 / 2 + 1) / 4,
            "auc_angry": 1.0,
            "ece": 1 / 4,
        }
    )
    assert values(found.recall) == {"neutral": 1.0, "happy": 1.0, "sad": 0.0, "angry": 1.0}
    confusion = np.array(found.confusion)
    assert confusion.sum() == 4
    assert confusion[EMOTIONS.index("sad"), EMOTIONS.index("neutral")] == 1


def test_intervals_are_over_calls(validated: Callable[..., Validation]) -> None:
    # One call is always right, the other always wrong: drawing calls gives 0, 1/2 or 1.
    lines = [f"call-1,{s},{s + 0.5},neutral,,," for s in (0, 0.5, 1, 1.5)]
    lines += [f"call-3,{s},{s + 0.5},sad,,," for s in (0, 0.5, 1, 1.5)]

    found = validated(*lines).emotions

    assert found is not None
    accuracy = found.figures["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high) == (0.5, 0.0, 1.0)


def test_what_is_not_defined_is_none(validated: Callable[..., Validation]) -> None:
    found = validated("call-1,0,2,neutral,,,", "call-3,0,2,neutral,,,").emotions

    assert found is not None
    for name in ("auc", "auc_angry", "kappa"):
        assert asdict(found.figures[name]) == {"value": None, "low": None, "high": None}
    assert found.figures["accuracy"].value == 1.0


def test_labels_that_cannot_be_used_are_counted(validated: Callable[..., Validation]) -> None:
    found = validated(
        "call-1,0,2,Neutral,,,",
        "call-1,7,9,bored,,,",
        "call-1,7,9,,,,",
        "nowhere,0,2,angry,,,",
        "nowhere,,,,,,true",
        "call-2,0,2,angry,,,",
    )

    assert (found.skipped, found.unknown) == (2, 2)
    assert found.emotions is not None
    # call-2 is in the database, but could not be read.
    assert (found.emotions.labels, found.emotions.covered) == (2, 1)
    assert found.escalation is None


def test_labels_of_no_known_call_are_refused(validated: Callable[..., Validation]) -> None:
    with pytest.raises(UsageError, match="no call that the database holds"):
        validated("nowhere,0,2,angry,,,")


# The label file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("call_id,start_s,emotion\na,1,sad\n", "has no column end_s"),
        ("", "has no column call_id"),
        (f"{HEADER}\na,one,2,sad,,,\n", "line 2: start_s and end_s are 'one' and '2'"),
        (f"{HEADER}\na,,2,sad,,,\n", "line 2: start_s and end_s are '' and '2'"),
        (f"{HEADER}\n\na,2,2,sad,,,\n", "line 3: the stretch from 2 to 2 s is none"),
        (f"{HEADER}\na,nan,2,sad,,,\n", "line 2: the stretch from nan"),
        (f"{HEADER}\na,1,inf,sad,,,\n", "line 2: the stretch from 1 to inf"),
        (f"{HEADER}\n,1,2,sad,,,\n", "line 2: has no call_id"),
        (f"{HEADER}\na,1,2,sad,,boss,\n", "role is 'boss'; it must be agent or customer"),
        (f"{HEADER}\na,,,,,,maybe\n", "escalated is 'maybe'; it must be true or false"),
        (f"{HEADER}\na,,,,,,true\na,1,2,sad,,,no\n", "line 3: an earlier line says otherwise"),
        (f"{HEADER}\na,,,,,,\n", "line 2: says nothing of the call"),
        (f"{HEADER}\na,1,2,bored,,,\n", "labels no stretch with one of neutral"),
        (f'{HEADER}\n"a,1,2\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_label_file_is_refused_by_name_and_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_labels(path)
    assert "labels.csv" in str(refused.value)
    assert said in str(refused.value)


def test_a_label_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv: cannot be read as labels .*--labels"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="cannot be read as labels"):
        read_labels(tmp_path / "labels.csv")


def test_columns_may_come_in_any_order_and_case_after_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\ufeffEmotion;END_S;start_s;call_id;note\nANGRY;2.5;1;a;x\n", encoding="utf-8")

    assert read_labels(path).stretches == (
        Label(call_id="a", start_s=1.0, end_s=2.5, emotion=EMOTIONS.index("angry")),
    )


# Escalations


def test_there_is_an_escalation_exactly_where_the_threshold_is_no_higher_than_the_evidence(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    tracks = [np.repeat(rng.random(12), 5) for _ in range(20)]
    calls = [one_speaker(f"c{i:02}", [mixed(p) for p in track]) for i, track in enumerate(tracks)]
    path = store(tmp_path / "a.duckdb", *calls)
    outcomes = set()
    for result in calls:
        analysis = result.analysis
        assert analysis is not None
        call = scored(path, result.recording.call_id)[result.recording.call_id]
        evidence = call.evidence()
        assert [one.evidence for one in analysis.escalation_scores] == pytest.approx([evidence])
        for threshold in (*rng.uniform(0.05, 4.0, 20), evidence - 1e-6, evidence + 1e-6):
            rule = EscalationRule(threshold_s=float(threshold))
            found = find_escalations(analysis.windows, analysis.turns, rule)
            assert bool(found) == (threshold <= evidence)
            outcomes.add(bool(found))
    assert outcomes == {True, False}


class Wavering:
    """Stands for a model: anger goes up and down from window to window."""

    def __init__(self) -> None:
        from callmood.features import FrontEnd

        self.front_end = FrontEnd()

    def probabilities(self, stretches: Sequence[Floats], spans: Sequence[Any]) -> list[Floats]:
        rng = np.random.default_rng(len(stretches))
        return [
            np.array(
                [mixed(0.9 if i > 20 else p) for i, p in enumerate(rng.uniform(0.01, 0.3, len(rows)))],
                np.float32,
            )
            for rows in spans
        ]


class Alternating:
    """Stands for a diarizer: two channels take turns, the last one long."""

    name = "alternating 1"
    by_channel = True

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        bounds = [0.0, 7.3, 11.0, 19.9, 24.2, audio.duration_s]
        return tuple(
            Turn(speaker=f"S{i % 2 + 1}", channel=i % 2, start_s=start_s, end_s=end_s)
            for i, (start_s, end_s) in enumerate(pairwise(bounds))
        )


def test_what_the_pipeline_found_is_found_again_from_the_database(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    samples = rng.normal(0, 0.1, (2, 8000 * 60)).astype(np.float32)
    audio = Audio(samples=samples, rate_hz=8000, source_rate_hz=8000, source_channels=2, codec="PCM_16")
    recording = make_recording("call", agent_channel=1)
    engines = Engines(diarizer=Alternating(), model=Wavering(), emotion_for="everyone")
    analysis = analyze_audio(audio, recording, engines)
    assert analysis.escalations
    db = store(tmp_path / "a.duckdb", CallResult(recording=recording, status="ok", analysis=analysis))

    call = scored(db, "call")["call"]

    assert call.is_reproduced()
    for threshold_s in (call.evidence() - 1e-6, call.evidence() + 1e-6):
        rule = EscalationRule(threshold_s=threshold_s)
        again = analyze_audio(audio, recording, replace(engines, escalation=rule)).escalations
        customers = [event for event in again if event.role == "customer"]
        assert bool(customers) == (threshold_s < call.evidence())


def test_evidence_by_hand_leaves_agents_and_short_speech_out(tmp_path: Path, database: Path) -> None:
    path = store(
        tmp_path / "a.duckdb",
        rising("customer", 0.6),
        rising("agent", 0.6, role="agent"),
        one_speaker("short", [mixed(0.0)] * 9 + [mixed(1.0)] * 9),
    )

    calls = scored(path, "customer", "agent", "short")

    assert calls["customer"].evidence() == pytest.approx(20 * 0.5 * (0.6 - 0.25 - 0.7 * 0.1))
    assert (calls["agent"].scored, calls["short"].scored) == (False, True)
    assert (calls["agent"].evidence(), calls["short"].evidence()) == (0.0, 0.0)
    # Happy for 6 s, then 4 s each neutral and angry, so that the mean is -1 / 7: 4 s * (1 - 0.25 + 0.7 / 7), in 14 s,
    # which count as 25 s.
    assert scored(database, "call-1")["call-1"].evidence() == pytest.approx(3.4 * (60 / 25) ** 0.5)


def test_evidence_with_a_temperature_is_that_of_a_new_analysis(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = rng.dirichlet(np.ones(7), 80).astype(np.float32)
    rows[50:, EMOTIONS.index("angry")] += 4.0
    rows /= rows.sum(axis=1, keepdims=True)
    calls = scored(
        store(
            tmp_path / "a.duckdb",
            one_speaker("before", rows.tolist()),
            one_speaker("again", metrics.with_temperature(rows, 1.7).tolist()),
        ),
        "before",
        "again",
    )

    assert calls["again"].evidence() > 1.0
    assert calls["before"].evidence() != pytest.approx(calls["again"].evidence(), abs=0.05)
    assert calls["before"].evidence(1.7) == pytest.approx(calls["again"].evidence(), abs=1e-4)


def test_escalations_against_labels_by_hand(tmp_path: Path, validated: Callable[..., Validation]) -> None:
    # Evidence 1, 5, 7; from 4 on there is an escalation in the database. "agent" is not scored.
    db = store(
        tmp_path / "a.duckdb",
        rising("low", 0.4),
        rising("mid", 0.8),
        rising("high", 1.0),
        rising("agent", 0.6, role="agent"),
    )

    found = validated("low,,,,,,yes", "mid,,,,,,false", "high,,,,,,TRUE", "agent,,,,,,true", db=db)

    assert found.emotions is None
    assert found.not_reproduced == 0
    assert found.escalation is not None
    assert (found.escalation.calls, found.escalation.covered, found.escalation.escalated) == (4, 3, 2)
    assert values(found.escalation.figures) == {
        "auc": 0.5,
        "sensitivity": 0.5,
        "specificity": 0.0,
        "balanced_accuracy": 0.25,
    }


# Refit


def overconfident(number: int) -> tuple[CallResult, list[str]]:
    """A call of four windows that are 98 % sure of anger, and labels that agree with three of them."""
    call_id = f"sure-{number:02}"
    labels = [
        f"{call_id},{0.5 * i},{0.5 * i + 0.5},{'neutral' if i == 3 else 'angry'},,,{'' if i else 'false'}"
        for i in range(4)
    ]
    return one_speaker(call_id, [mixed(0.98)] * 4), labels


def test_the_temperature_is_fitted_on_some_calls_and_told_on_the_others(
    tmp_path: Path, validated: Callable[..., Validation]
) -> None:
    calls, labels = zip(*(overconfident(number) for number in range(10)), strict=True)
    db = store(tmp_path / "a.duckdb", *calls)

    found = validated(*(line for lines in labels for line in lines), db=db, refit=0.3, seed=4)

    refit = found.refit
    assert refit is not None
    assert (refit.calls, refit.calls_left_out, refit.labels) == (3, 7, 12)
    # Odds 49 : 1 must become 3 : 1 (and the five others, of probability 0, get a little).
    assert refit.temperature == pytest.approx(np.log(49) / np.log(3), rel=0.05)
    assert not refit.at_limit
    assert found.emotions is not None
    assert refit.emotions is not None
    assert found.emotions.labels == refit.emotions.labels == 28
    assert found.emotions.figures["ece"].value == pytest.approx(0.98 - 0.75, abs=1e-6)
    assert refit.emotions.figures["ece"].value == pytest.approx(0.0, abs=0.01)
    # All calls are of one kind.
    assert refit.threshold is None


def test_the_temperature_of_a_stretch_of_several_windows_is_applied_before_they_are_averaged(
    tmp_path: Path, validated: Callable[..., Validation]
) -> None:
    # Means over a certain and an undecided window; the product will average after the temperature, too.
    db = store(tmp_path / "a.duckdb", *(one_speaker(f"c{i}", [mixed(0.999), mixed(0.5)]) for i in range(8)))
    lines = [f"c{i},0,1,{'neutral' if i % 4 == 0 else 'angry'},,," for i in range(8)]
    label = Label(call_id="c0", start_s=0.0, end_s=1.0, emotion=0)

    refit = validated(*lines, db=db, refit=0.5).refit

    assert refit is not None
    assert refit.temperature is not None
    (answer,) = answers_for([label], scored(db, "c0")).probabilities(refit.temperature)
    sure = 0.999 ** (1 / refit.temperature)
    unsure = 0.001 ** (1 / refit.temperature)
    assert answer[EMOTIONS.index("angry")] == pytest.approx((sure / (sure + unsure) + 0.5) / 2, abs=0.01)


def test_the_threshold_lies_between_the_calls_that_escalated_and_the_others(
    tmp_path: Path, validated: Callable[..., Validation]
) -> None:
    # Evidence 4.567 and 6.333, both above the present 4; 5.45 lies in the middle.
    db = store(
        tmp_path / "a.duckdb",
        *(rising(f"{kind}{i}", level) for kind, level in KINDS.items() for i in range(8)),
    )
    lines = [f"{kind}{i},,,,,,{kind == 'bad'}" for kind in KINDS for i in range(8)]

    found = validated(*lines, db=db, refit=0.5)

    assert found.refit is not None
    assert found.refit.temperature is None
    assert found.refit.threshold_before == 4.0
    assert found.refit.threshold == pytest.approx(5.45, abs=1e-5)
    assert found.escalation is not None
    assert found.refit.escalation is not None
    assert values(found.escalation.figures)["balanced_accuracy"] == 0.5
    assert values(found.escalation.figures)["specificity"] == 0.0
    assert set(values(found.refit.escalation.figures).values()) == {1.0}
    assert found.escalation.calls == 8


KINDS = {"fine": 0.8, "bad": 1.0}


def test_the_split_is_the_same_for_the_same_seed(
    tmp_path: Path, validated: Callable[..., Validation]
) -> None:
    rng = np.random.default_rng(2)
    calls = [one_speaker(f"c{i:02}", [mixed(p) for p in rng.random(4)]) for i in range(12)]
    lines = [f"c{i:02},0,2,{'angry' if i % 3 else 'neutral'},,," for i in range(12)]
    db = store(tmp_path / "a.duckdb", *calls)

    first, again, other = (validated(*lines, db=db, refit=0.5, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_no_threshold_is_fitted_where_the_database_holds_other_escalations(
    tmp_path: Path, validated: Callable[..., Validation]
) -> None:
    results = [rising(f"{kind}{i}", level) for kind, level in KINDS.items() for i in range(4)]
    assert results[0].analysis is not None
    results[0] = replace(results[0], analysis=replace(results[0].analysis, escalations=()))
    db = store(tmp_path / "a.duckdb", *results)

    found = validated(
        *(f"{kind}{i},,,,,,{kind == 'bad'}" for kind in KINDS for i in range(4)), db=db, refit=0.5
    )

    assert found.not_reproduced == 1
    assert found.refit is not None
    assert found.refit.threshold is None


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_must_leave_calls_on_both_sides(validated: Callable[..., Validation], share: float) -> None:
    with pytest.raises(UsageError, match="above 0 and below 1"):
        validated("call-1,0,2,neutral,,,", refit=share)


def test_a_refit_of_one_call_or_of_calls_of_several_models_is_refused(
    tmp_path: Path, validated: Callable[..., Validation]
) -> None:
    with pytest.raises(UsageError, match="two calls at least"):
        validated("call-1,0,2,neutral,,,", refit=0.5)
    db = store(tmp_path / "a.duckdb", overconfident(0)[0])
    store_more(db, overconfident(1)[0], model_hash="model-2")
    lines = overconfident(0)[1] + overconfident(1)[1]
    with pytest.raises(UsageError, match="different models"):
        validated(*lines, db=db, refit=0.5)
    assert validated(*lines, db=db).emotions is not None


def store_more(path: Path, result: CallResult, *, model_hash: str) -> None:
    run = replace(make_run("run-2"), model_hash=model_hash)
    with Store(path) as written:
        written.begin_run(run)
        written.write(result, run, analyzed_at=NOON)


# The models that a refit writes


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A small model with random weights and a temperature of 2, and a file that stands for the speaker model."""
    from callmood.emotion.network import NetworkConfig, build_network
    from callmood.features import FrontEnd
    from training.export import record, write_models

    folder = tmp_path / "models"
    folder.mkdir()
    network = NetworkConfig(n_mfcc=FrontEnd().n_mfcc, width=8, blocks=1)
    build_network(network).save_weights(folder / WEIGHTS)
    recipe = {"front_end": asdict(FrontEnd()), "network": asdict(network)}
    write_models(folder, weights=folder / WEIGHTS, recipe=recipe, corpora={"crema-d"}, temperature=2.0)
    (folder / VOICE_WEIGHTS).parent.mkdir()
    (folder / VOICE_WEIGHTS).write_bytes(b"speaker")
    record(folder, {VOICE_WEIGHTS: "a licence"})
    return folder


def sure_database(path: Path, models: Path) -> tuple[Path, list[str]]:
    calls, labels = zip(*(overconfident(number) for number in range(4)), strict=True)
    db = store(path / "sure.duckdb", *calls, model_hash=models_hash(models))
    return db, [line for lines in labels for line in lines]


def test_the_written_models_answer_with_the_fitted_temperature(
    tmp_path: Path, models: Path, validated: Callable[..., Validation]
) -> None:
    from callmood.emotion.model import EmotionModel

    db, lines = sure_database(tmp_path, models)
    out = tmp_path / "new" / "models"

    refit = validated(*lines, db=db, refit=0.5, models=models, write_models=out).refit

    assert refit is not None
    assert refit.models == out
    assert refit.temperature is not None
    config = json.loads((out / CONFIG).read_text())
    assert config["temperature"] == pytest.approx(2.0 * refit.temperature)
    assert config["refit"]["calls"] == 2
    assert {file.name: (file.state, file.licence) for file in describe_models(out)} == {
        file.name: ("ok", file.licence) for file in describe_models(models)
    }
    assert models_hash(out) != models_hash(models)
    before, after = EmotionModel(models), EmotionModel(out)
    frames = np.random.default_rng(0).normal(size=(60, before.network.input_shape[0][-1])).astype(np.float32)
    (old,) = before.probabilities([frames], [np.array([[0, 60]])])
    (new,) = after.probabilities([frames], [np.array([[0, 60]])])
    assert new == pytest.approx(metrics.with_temperature(old, refit.temperature), abs=1e-4)


def test_models_are_not_written_over_others_nor_for_other_models(
    tmp_path: Path, models: Path, validated: Callable[..., Validation], database: Path
) -> None:
    db, lines = sure_database(tmp_path, models)
    before = sorted((path, path.read_bytes()) for path in models.rglob("*") if path.is_file())
    with pytest.raises(ModelError, match="exists and is not empty"):
        validated(*lines, db=db, refit=0.5, models=models, write_models=models)
    assert sorted((path, path.read_bytes()) for path in models.rglob("*") if path.is_file()) == before
    with pytest.raises(UsageError, match="--refit"):
        validated(*lines, db=db, models=models, write_models=tmp_path / "new")
    with pytest.raises(ModelError, match="not the models that the labelled calls were analyzed with"):
        validated(
            "call-1,0,2,neutral,,,",
            "call-3,0,2,sad,,,",
            refit=0.5,
            models=models,
            write_models=tmp_path / "new",
        )
    assert not (tmp_path / "new").exists()


def test_a_temperature_at_the_limit_is_told_and_not_written(
    tmp_path: Path, models: Path, validated: Callable[..., Validation]
) -> None:
    # Always right: the surer, the better.
    calls = [one_speaker(f"c{i}", [mixed(0.9)] * 4) for i in range(4)]
    db = store(tmp_path / "a.duckdb", *calls, model_hash=models_hash(models))
    lines = [f"c{i},0,2,angry,,," for i in range(4)]

    refit = validated(*lines, db=db, refit=0.5).refit

    assert refit is not None
    assert refit.at_limit
    with pytest.raises(UsageError, match="no models are written"):
        validated(*lines, db=db, refit=0.5, models=models, write_models=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_may_take_the_models(
    tmp_path: Path, models: Path, validated: Callable[..., Validation]
) -> None:
    db, lines = sure_database(tmp_path, models)
    (tmp_path / "empty").mkdir()

    validated(*lines, db=db, refit=0.5, models=models, write_models=tmp_path / "empty")

    assert all(file.ok for file in describe_models(tmp_path / "empty"))


# The setting


def test_the_threshold_is_a_setting_that_decides_results(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EscalationRule().threshold_s == Settings().escalation_threshold == 4.0
    assert Settings(escalation_threshold=1.0).results_hash() != Settings().results_hash()
    monkeypatch.setattr("callmood.pipeline.make_diarizer", lambda *_, **__: None)
    monkeypatch.setattr("callmood.emotion.model.EmotionModel", lambda _: None)
    engines: Engines = load_engines.__wrapped__(Settings(escalation_threshold=1.25))
    assert engines.escalation == EscalationRule(threshold_s=1.25)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "much", True])
def test_a_threshold_that_is_no_number_above_zero_is_refused(value: Any) -> None:
    from callmood.settings import load_settings

    with pytest.raises(UsageError, match=r"escalation_threshold is .*it must be a number"):
        load_settings({"escalation_threshold": value}, environment={})
    assert load_settings({}, environment={"CALLMOOD_ESCALATION_THRESHOLD": "2"}).settings == Settings(
        escalation_threshold=2.0
    )


def test_a_threshold_of_the_run_is_what_its_escalations_are_checked_with(tmp_path: Path) -> None:
    # Evidence 5: with a threshold of 6 the call has none, and that is as it should be.
    result = rising("call", 0.8)
    assert result.analysis is not None
    result = replace(result, analysis=replace(result.analysis, escalations=()))
    run = replace(make_run(), settings={"escalation_threshold": 6.0})
    with Store(tmp_path / "a.duckdb") as written:
        written.begin_run(run)
        written.write(result, run, analyzed_at=NOON)

    call = scored(tmp_path / "a.duckdb", "call")["call"]

    assert call.threshold_s == 6.0
    assert call.is_reproduced()
    assert not replace(call, threshold_s=4.0).is_reproduced()


# The command


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `validate` in a folder of its own; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["validate", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_the_command_prints_a_table_csv_or_json(run: Run, tmp_path: Path, database: Path) -> None:
    labels = write_labels(
        tmp_path, "call-1,0,2,neutral,,,true", "call-3,7,9,sad,,,false", "call-3,7,9,bored,,,"
    )
    given = ("--labels", labels, "--db", database)

    code, table, told = run(*given)
    assert code == 0
    assert any(line.split()[:3] == ["emotion", "accuracy", "0.500"] for line in table.splitlines())
    assert "after refit" not in table
    assert told.startswith("skipped 1 labels")

    rows = {
        (row["about"], row["figure"]): row for row in csv.DictReader(io.StringIO(run(*given, "--csv")[1]))
    }
    assert rows["emotion", "accuracy"]["value"] == "0.5"
    assert rows["emotion", "labels"]["value"] == "2"
    # Two calls that are alike cannot be told apart.
    assert rows["escalation", "AUC"]["value"] == "0.5"

    record = json.loads(run(*given, "--json")[1])
    assert record["order"] == list(EMOTIONS)
    assert record["emotions"]["figures"]["accuracy"]["value"] == 0.5
    assert np.array(record["emotions"]["confusion"]).shape == (7, 7)
    assert record["refit"] is None


def test_the_command_says_how_to_use_what_was_fitted(run: Run, tmp_path: Path) -> None:
    db = store(
        tmp_path / "a.duckdb",
        *(rising(f"{kind}{i}", level) for kind, level in KINDS.items() for i in range(6)),
    )
    labels = write_labels(tmp_path, *(f"{kind}{i},,,,,,{kind == 'bad'}" for kind in KINDS for i in range(6)))

    code, table, told = run("--labels", labels, "--db", db, "--refit", "0.5")

    assert code == 0
    assert "after refit" in table
    assert "fitted on 6 calls (0 labelled stretches); all figures are those of the other 6 calls" in told
    assert "escalation threshold: 5.45 (it was 4)" in told
    assert "callmood analyze PATHS --force --escalation-threshold 5.45" in told


def test_wrong_usage_is_one_sentence_and_exit_2(run: Run, database: Path) -> None:
    code, out, err = run("--labels", "none.csv", "--db", database)
    assert (code, out) == (2, "")
    assert err.startswith("callmood: none.csv: cannot be read as labels")
    assert err.count("\n") == 1
    assert run()[0] == 2
