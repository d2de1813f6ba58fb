"""Scoring labelled clips: conditions on any folder of noise, figures of parts and narrower questions, pictures."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from audio import tone, voice, write_wav

from callmood.emotion.network import NetworkConfig, build_network
from callmood.emotions import EMOTIONS, PROBABILITY_COLUMNS
from callmood.errors import UsageError
from callmood.features import FrontEnd
from callmood.metrics import calibration_bins, figures, point_figures, restricted
from callmood.model_files import WEIGHTS
from training.conditions import make_condition, read_noises, read_rooms
from training.corpora import Traits
from training.evaluate import corpus_figures, main
from training.export import write_models

RATE_HZ = 8000


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models whose emotion network has never learned anything."""
    import keras

    folder = tmp_path_factory.mktemp("random")
    keras.utils.set_random_seed(3)
    config = NetworkConfig(width=8, blocks=1)
    build_network(config).save_weights(folder / WEIGHTS)
    recipe = {"front_end": asdict(FrontEnd()), "network": asdict(config)}
    write_models(folder, weights=folder / WEIGHTS, recipe=recipe, corpora={"crema-d"}, temperature=1.0)
    return folder


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    """Two speakers of RAVDESS, five emotions each, as published; one clip has two channels."""
    folder = tmp_path / "ravdess"
    for actor in (1, 2):
        (folder / f"Actor_0{actor}").mkdir(parents=True)
        for code in (1, 3, 4, 5, 8):
            sound = voice(seconds=1.0, seed=10 * actor + code)
            channels = (sound, sound) if code == 8 else (sound,)
            write_wav(folder / f"Actor_0{actor}" / f"03-01-0{code}-01-01-01-0{actor}.wav", *channels)
    return folder


def rows(confident: list[tuple[str, str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of clips given as (label, answer, confidence); sad has half of what is left."""
    probabilities = np.zeros((len(confident), len(EMOTIONS)), dtype=np.float32)
    for row, (_, answer, confidence) in enumerate(confident):
        probabilities[row, EMOTIONS.index("sad")] = (1 - confidence) / 2
        probabilities[row, EMOTIONS.index("disgust")] += (1 - confidence) / 2
        probabilities[row, EMOTIONS.index(answer)] += confidence
    return probabilities, np.array([EMOTIONS.index(label) for label, _, _ in confident])


def test_point_figures_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.ones(7), 400).astype(np.float32)
    labels = rng.choice([0, 2, 3, 5], 400)
    predicted = probabilities.argmax(axis=1)
    over = {"labels": [0, 2, 3, 5], "average": "macro", "zero_division": 0}

    found = point_figures(probabilities, labels)

    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["uar"] == pytest.approx(recall_score(labels, predicted, **over))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, **over))


def test_bins_of_confidence_by_hand() -> None:
    # 15 bins: 0.5 and 0.52 share one (7/15 to 8/15), 1.0 is in the last.
    probabilities = np.array([[0.5, 0.5], [0.48, 0.52], [1.0, 0.0]], dtype=np.float32)

    confidence, accuracy, clips = calibration_bins(probabilities, np.array([1, 1, 0]))

    assert confidence == pytest.approx([0.51, 1.0])
    assert accuracy == pytest.approx([0.5, 1.0])
    assert clips.tolist() == [2, 1]


def test_restricted_probabilities_answer_with_one_of_the_classes() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]], dtype=np.float32)

    found = restricted(probabilities, [1, 2])

    assert found[0] == pytest.approx([0, 0.6, 0.4, 0, 0, 0, 0])
    assert found[1] == pytest.approx([0, 0.5, 0.5, 0, 0, 0, 0])


def test_narrower_questions_by_hand() -> None:
    probabilities, labels = rows(
        [
            ("angry", "angry", 1.0),
            ("angry", "disgust", 0.6),  # then sad is next: wrong among the four and among its own
            ("sad", "surprised", 0.8),  # then sad and disgust are equal, and sad comes first
            ("happy", "happy", 0.9),
            ("fearful", "happy", 0.7),
        ]
    )
    speakers = ["a", "a", "b", "b", "b"]

    found = corpus_figures(probabilities, labels, speakers, {})

    assert found["clips"] == 5
    assert found["accuracy"] == pytest.approx(2 / 5)
    assert found["own_classes"]["accuracy"] == pytest.approx(3 / 5)
    assert found["own_classes"]["uar"] == pytest.approx((0.5 + 1 + 1 + 0) / 4)
    assert found["four_classes"]["clips"] == 4
    assert found["four_classes"]["accuracy"] == pytest.approx(3 / 4)
    assert found["four_classes"]["uar"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert set(found["four_classes"]["interval_95"]) == {"accuracy", "uar", "macro_f1", "ece"}
    assert found["by"] == {"sex": {}, "age": {}}


def test_figures_by_sex_and_age_are_those_of_the_speakers_in_the_group() -> None:
    probabilities, labels = rows(
        [("angry", "angry", 1.0), ("sad", "angry", 1.0), ("sad", "sad", 1.0), ("happy", "sad", 0.9)] * 2
    )
    speakers = ["a", "a", "b", "c"] * 2
    traits = {"a": Traits("female", "under 30"), "b": Traits("male", "under 30")}

    by = corpus_figures(probabilities, labels, speakers, traits)["by"]

    assert {group: found["accuracy"] for group, found in by["sex"].items()} == {"female": 0.5, "male": 1.0}
    assert {group: found["clips"] for group, found in by["age"].items()} == {"under 30": 6}
    assert by["age"]["under 30"]["speakers"] == 2
    members = [0, 1, 2, 4, 5, 6]
    assert by["age"]["under 30"] == figures(
        probabilities[members], labels[members], [speakers[i] for i in members]
    )


def test_a_corpus_without_the_four_classes_has_no_such_figures() -> None:
    probabilities, labels = rows([("fearful", "fearful", 1.0), ("disgust", "fearful", 1.0)])

    assert corpus_figures(probabilities, labels, ["a", "b"], {})["four_classes"] is None


def sound(path: Path, amplitude: float) -> None:
    """A file whose loudest sample tells which one it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    import soundfile

    soundfile.write(path, tone(seconds=0.5, amplitude=amplitude), RATE_HZ)


def levels(recordings: list[np.ndarray]) -> list[float]:
    return [round(float(np.abs(samples).max()), 1) for samples in recordings]


def test_any_folder_of_recordings_is_noise(tmp_path: Path) -> None:
    sound(tmp_path / "street" / "a.wav", 0.1)
    sound(tmp_path / "street" / "deep" / "b.flac", 0.2)
    sound(tmp_path / "zoo.ogg", 0.3)
    write_wav(tmp_path / "silence.wav", np.zeros(800, dtype=np.float32))
    (tmp_path / "readme.txt").write_text("no audio")

    assert levels(read_noises(tmp_path, rate_hz=RATE_HZ)) == [0.1, 0.2, 0.3]


def test_noise_that_training_may_have_heard_is_never_used(tmp_path: Path) -> None:
    sound(tmp_path / "esc10" / "001_-_Dog_bark" / "1-100032-A.wav", 0.1)
    sound(tmp_path / "esc10" / "001_-_Dog_bark" / "5-203128-A.wav", 0.2)
    sound(tmp_path / "noise1.wav", 0.3)
    sound(tmp_path / "rir" / "rir1.wav", 0.4)
    sound(tmp_path / "rir" / "rir4.wav", 0.5)
    sound(tmp_path / "ESC-50" / "audio" / "5-9032-A-0.wav", 0.6)
    sound(tmp_path / "ESC-50" / "audio" / "4-9032-A-0.wav", 0.7)

    assert levels(read_noises(tmp_path, rate_hz=RATE_HZ)) == [0.7, 0.6, 0.2]
    assert levels(read_noises(tmp_path / "ESC-50", rate_hz=RATE_HZ)) == [0.7, 0.6]
    assert levels(read_noises(tmp_path / "esc10", rate_hz=RATE_HZ)) == [0.2]
    assert levels(read_rooms(tmp_path, rate_hz=RATE_HZ)) == [0.5]
    assert levels(read_rooms(tmp_path / "rir", rate_hz=RATE_HZ)) == [0.5]


def test_any_folder_of_impulse_responses_is_rooms(tmp_path: Path) -> None:
    sound(tmp_path / "halls" / "big.wav", 0.1)
    sound(tmp_path / "rir1.wav", 0.2)

    assert levels(read_rooms(tmp_path, rate_hz=RATE_HZ)) == [0.1, 0.2]


def test_noise_of_an_own_folder_is_added_at_the_ratio_asked_for(tmp_path: Path) -> None:
    sound(tmp_path / "hum.wav", 0.4)
    condition = make_condition("noise:5", noise=tmp_path, rir=None, rate_hz=RATE_HZ)
    speech = voice(seconds=1.0, seed=1)

    noisy = condition(speech, "clip")

    assert 10 * np.log10(np.mean(speech**2) / np.mean((noisy - speech) ** 2)) == pytest.approx(5.0, abs=0.01)


def test_recordings_that_are_missing_are_an_error(tmp_path: Path) -> None:
    sound(tmp_path / "ours" / "rir" / "rir1.wav", 0.1)
    sound(tmp_path / "ours" / "noise1.wav", 0.1)
    sound(tmp_path / "esc10" / "1-100032-A.wav", 0.1)
    (tmp_path / "empty").mkdir()

    for read, option in ((read_noises, "--noise"), (read_rooms, "--rir")):
        for folder, reason in (
            (None, "needs"),
            (tmp_path / "nowhere", "no such folder"),
            (tmp_path / "empty", "that can be heard"),
        ):
            with pytest.raises(UsageError, match=rf"{reason}.*{option}"):
                read(folder, rate_hz=RATE_HZ)
    for folder in ("ours", "esc10"):
        with pytest.raises(
            UsageError, match=r"that training never hears \(ESC clips named 5-\.\.\.\).*--noise"
        ):
            read_noises(tmp_path / folder, rate_hz=RATE_HZ)


def test_the_command_scores_a_corpus_as_published(
    tmp_path: Path, ravdess: Path, random_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions, pictures = tmp_path / "p.csv", tmp_path / "new" / "pictures"

    places = {
        "--ravdess": ravdess,
        "--model": random_model,
        "--json": tmp_path / "f.json",
        "--predictions": predictions,
        "--pictures": pictures,
    }
    code = main([text for option, place in places.items() for text in (option, str(place))])

    assert code == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "f.json").read_text())
    with predictions.open(newline="") as lines:
        told = list(csv.DictReader(lines))
    assert len(told) == 10
    right = [row["emotion"] == row["predicted"] for row in told]
    own = ["neutral", "happy", "sad", "angry", "surprised"]
    among_own = [max(own, key=lambda name: float(row[f"p_{name}"])) == row["emotion"] for row in told]
    found = result["corpora"]["ravdess"]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["own_classes"]["accuracy"] == pytest.approx(np.mean(among_own))
    assert found["four_classes"]["clips"] == 8
    male = [ok for row, ok in zip(told, right, strict=True) if row["file"].startswith("ravdess/01/")]
    assert found["by"]["sex"]["male"]["accuracy"] == pytest.approx(np.mean(male))
    assert set(found["by"]["sex"]) == {"female", "male"}
    assert sum(float(told[0][column]) for column in PROBABILITY_COLUMNS) == pytest.approx(1.0, abs=1e-5)
    assert {path.name for path in pictures.iterdir()} == {"confusion-ravdess.png", "reliability-ravdess.png"}


def test_the_pictures_show_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    from training.pictures import confusion_picture, file_name, reliability_picture

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *given, **more: (drawn.append(figure), save(figure, *given, **more))
    )
    probabilities, labels = rows([("angry", "angry", 1.0), ("angry", "sad", 1.0), ("sad", "sad", 0.8)])
    found = figures(probabilities, labels, ["a", "b", "c"])

    confusion_picture(tmp_path / file_name("confusion", "my corpus/1"), found["confusion"], title="mine")
    reliability_picture(tmp_path / "reliability.png", probabilities, labels, title="mine")

    heat, line = drawn[0].axes[0], drawn[1].axes[0]
    cells = np.array([int(text.get_text()) for text in heat.texts]).reshape(2, 7)
    assert [label.get_text() for label in heat.get_yticklabels()] == ["sad", "angry"]
    assert cells.tolist() == [[0, 0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0]]
    assert np.asarray(heat.collections[0].get_array()).ravel() == pytest.approx(
        [0, 0, 1, 0, 0, 0, 0, 0, 0, 0.5, 0.5, 0, 0, 0]
    )
    assert line.lines[1].get_xydata() == pytest.approx(np.array([[0.9, 1.0], [1.0, 0.5]]))
    for name in ("confusion-my_corpus_1.png", "reliability.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--condition", "noise:10"], "--noise"),
        (["--condition", "reverb", "--rir", "nowhere"], "nowhere: no such folder"),
        (["--condition", "bath"], "choose clean"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_exit_code_1(
    ravdess: Path,
    random_model: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    code = main(["--ravdess", str(ravdess), "--model", str(random_model), *arguments])

    said = capsys.readouterr()
    assert code == 1
    assert said.out == ""
    assert said.err.startswith("evaluate: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1


def test_a_clip_of_a_manifest_that_is_not_there_is_named(
    tmp_path: Path, random_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "mine.csv"
    manifest.write_text("file,corpus,speaker,emotion\ngone.wav,mine,mine/1,sad\n")

    assert main(["--manifest", str(manifest), "--model", str(random_model)]) == 1
    assert "gone.wav: cannot be read" in capsys.readouterr().err
