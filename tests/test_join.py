"""Several trained networks as one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from callmood.emotion.model import EmotionModel
from callmood.emotion.network import NetworkConfig, build_network
from callmood.errors import UsageError
from callmood.features import FrontEnd
from callmood.model_files import WEIGHTS
from training import protocols
from training.crossval import Run
from training.export import write_models
from training.join import join, main
from training.splits import RECIPE, SPLIT

NETWORK = NetworkConfig(hears="both", width=8, blocks=1)


def trained(folder: Path, *, seed: int, network: NetworkConfig = NETWORK, **split: Any) -> Path:
    """A run's folder, whose network has random weights."""
    import keras

    keras.utils.set_random_seed(seed)
    record = {
        "hold_out": "speakers:0/2",
        "held_out": ["a"],
        "corpora_heard": ["crema-d"],
        "speakers_heard": ["s"],
    }
    recipe = {"network": asdict(network), "front_end": asdict(FrontEnd()), "seed": seed, "epochs": 1}
    models = folder / "models"
    models.mkdir(parents=True)
    (folder / RECIPE).write_text(json.dumps(recipe))
    (folder / SPLIT).write_text(json.dumps({**record, **split}))
    built = build_network(network)
    absolute = built.get_layer("absolute_norm")
    absolute.set_weights([values + seed for values in absolute.get_weights()])
    built.save_weights(models / WEIGHTS)
    write_models(models, weights=models / WEIGHTS, recipe=recipe, corpora={"crema-d"}, temperature=1.0)
    return folder


def test_the_joint_answer_is_the_mean_of_log_probabilities(tmp_path: Path) -> None:
    runs = [trained(tmp_path / f"run{seed}", seed=seed) for seed in (1, 2)]
    stretch = np.random.default_rng(0).normal(size=(120, 80)).astype(np.float32)
    spans = np.array([[0, 120], [40, 80]])

    join(runs, tmp_path / "both")

    one, two = (EmotionModel(run / "models").probabilities([stretch], [spans])[0] for run in runs)
    assert np.abs(one - two).max() > 0.01
    odds = np.sqrt(one * two)
    joint = EmotionModel(tmp_path / "both" / "models")
    np.testing.assert_allclose(
        joint.probabilities([stretch], [spans])[0], odds / odds.sum(axis=1, keepdims=True), atol=1e-5
    )
    np.testing.assert_array_equal(joint.typical_speech(), EmotionModel(runs[0] / "models").typical_speech())


def test_a_joined_run_tells_what_it_is_made_of_and_what_it_held_out(tmp_path: Path) -> None:
    runs = [trained(tmp_path / f"run{seed}", seed=seed) for seed in (1, 2)]

    main([*map(str, runs), "--out", str(tmp_path / "both")])

    recipe = json.loads((tmp_path / "both" / RECIPE).read_text())
    assert recipe["members"] == [{"seed": 1, "epochs": 1}, {"seed": 2, "epochs": 1}]
    assert NetworkConfig(**recipe["network"]) == replace(NETWORK, members=2)
    assert (tmp_path / "both" / SPLIT).read_text() == json.dumps(
        json.loads((runs[0] / SPLIT).read_text()), indent=1
    ) + "\n"
    with pytest.raises(UsageError, match="held out 1 clips, of which 0 are here"):
        Run.read(tmp_path / "both", [])


def test_records_from_before_a_setting_was_known_are_of_its_default(tmp_path: Path) -> None:
    runs = [trained(tmp_path / f"run{seed}", seed=seed) for seed in (1, 2)]
    recipe = json.loads((runs[1] / RECIPE).read_text())
    del recipe["network"]["members"]
    (runs[1] / RECIPE).write_text(json.dumps(recipe))

    join(runs, tmp_path / "both")

    assert (tmp_path / "both" / "models" / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"held_out": ["b"]}, "differ in their split"),
        ({"speakers_heard": ["s", "t"]}, "differ in their split"),
        ({"network": replace(NETWORK, blocks=2)}, "differ in their network"),
    ],
)
def test_runs_that_heard_other_clips_or_are_of_another_shape_are_refused(
    tmp_path: Path, other: dict[str, Any], reason: str
) -> None:
    runs = [trained(tmp_path / "one", seed=1), trained(tmp_path / "two", seed=2, **other)]

    with pytest.raises(UsageError, match=reason):
        join(runs, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_folder_is_not_written_twice_and_a_joined_run_not_joined(tmp_path: Path) -> None:
    runs = [trained(tmp_path / f"run{seed}", seed=seed) for seed in (1, 2)]
    join(runs, tmp_path / "both")

    with pytest.raises(UsageError, match="is there already"):
        join(runs, tmp_path / "both")
    with pytest.raises(UsageError, match="is joined already"):
        join([tmp_path / "both", tmp_path / "both"], tmp_path / "more")


def test_networks_that_ship_as_one_are_trained_where_they_are_missing_and_joined_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def train_main(arguments: list[str]) -> None:
        asked.append(arguments)
        trained(Path(arguments[arguments.index("--out") + 1]), seed=len(asked))

    monkeypatch.setattr(protocols.train, "main", train_main)
    trained(tmp_path / "all-0", seed=9)

    for _ in range(2):
        protocols.trained(tmp_path / "all", protocols.SHIPPED, ["--jobs", "1"])

    assert [" ".join(words) for words in asked] == [
        f"--seed 2 --seed 1 --set draw.masks=0 --out {tmp_path / 'all-1'} --jobs 1"
    ]
    recipe = json.loads((tmp_path / "all" / RECIPE).read_text())
    assert [one["seed"] for one in recipe["members"]] == [9, 1]


def test_only_the_recipe_that_ships_can_be_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        protocols.main(["random", "--ship", str(tmp_path), "--json", str(tmp_path / "x.json")])
    assert "--ship: goes with the protocol speakers" in capsys.readouterr().err


def test_one_run_is_not_joined(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two runs or more"):
        join([trained(tmp_path / "one", seed=1)], tmp_path / "both")


def test_a_network_from_before_networks_were_joined_is_not_taken_for_two(tmp_path: Path) -> None:
    for name in ("all-0", "all-1", "all"):
        trained(tmp_path / name, seed=1)
    with pytest.raises(UsageError, match="is there already"):
        protocols.trained(tmp_path / "all", ("", ""), ())
