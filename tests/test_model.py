"""The shipped emotion model: loads safely, and gives the same answer however it is batched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from callmood.emotion.model import EmotionModel
from callmood.emotion.network import STRIDE
from callmood.errors import ModelError
from callmood.model_files import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    describe_models,
    models_hash,
    verified,
)


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    return EmotionModel()


def frames(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 80)).astype(np.float32)


def test_every_shipped_file_is_recorded_and_unchanged() -> None:
    files = describe_models()

    assert {WEIGHTS, CONFIG} <= {file.name for file in files}
    assert all(file.ok for file in files)
    assert all(file.licence for file in files)


def test_changed_weights_are_refused(model_copy: Path) -> None:
    with (model_copy / WEIGHTS).open("ab") as stream:
        stream.write(b"x")

    with pytest.raises(ModelError, match=r"emotion\.weights\.h5.*SHA-256"):
        EmotionModel(model_copy)


def test_a_folder_without_models_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--models"):
        verified(CONFIG, tmp_path)


def test_the_hash_of_the_models_follows_their_content(model_copy: Path) -> None:
    before = models_hash(model_copy)
    manifest = json.loads((model_copy / MANIFEST).read_text())
    manifest["files"][WEIGHTS]["sha256"] = "0" * 64
    (model_copy / MANIFEST).write_text(json.dumps(manifest))

    assert models_hash(model_copy) != before


def test_probabilities_sum_to_one(model: EmotionModel) -> None:
    (row,) = model.probabilities([frames(200)], [np.array([[0, 200], [40, 120]])])

    assert row.shape == (2, 7)
    assert row.sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert (row >= 0).all()


def test_neighbours_in_a_batch_change_nothing(model: EmotionModel) -> None:
    # Lengths that are no multiple of the stride, and far apart, so that padding matters.
    stretches = [frames(n, seed=n) for n in (41, 203, 798)]
    spans = [np.array([[0, n]]) for n in (41, 203, 798)]

    together = model.probabilities(stretches, spans)
    alone = [model.probabilities([s], [p])[0] for s, p in zip(stretches, spans, strict=True)]

    assert np.concatenate(together) == pytest.approx(np.concatenate(alone), abs=1e-4)


def test_a_span_is_pooled_from_its_own_steps_only(model: EmotionModel) -> None:
    # What lies further away than the network can see does not matter.
    quiet, loud = frames(1600), frames(1600)
    loud[1000:] += 3.0
    span = [np.array([[0, 40 * STRIDE], [0, 1600]])]

    near, far = (model.probabilities([stretch], span)[0] for stretch in (quiet, loud))

    assert near[0] == pytest.approx(far[0], abs=1e-4)
    assert np.abs(near[1] - far[1]).max() > 1e-3


def test_no_speech_has_no_emotion() -> None:
    import callmood

    silence = callmood.predict(np.zeros(16_000, dtype=np.float32), 16_000)

    assert silence.emotion is None
    assert silence.confidence is None
    assert np.isnan(silence.probabilities).all()
    assert silence.duration_s == 1.0
