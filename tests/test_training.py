"""Corpora, folds, augmentation, batches and metrics of the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from callmood.errors import UsageError
from training.augment import add_noise, lose_packets, reverberate
from training.conditions import make_condition
from training.corpora import Clip, read_manifest, speaker_folds
from training.crossval import best_temperature, with_temperature
from training.data import Batches, Draw, speech_span
from training.features import Bank
from training.metrics import expected_calibration_error, figures, point_figures

RATE_HZ = 8000


def clip(name: str, speaker: str, emotion: str = "happy", corpus: str = "c") -> Clip:
    return Clip(file=name, path=Path(name), corpus=corpus, speaker=speaker, emotion=emotion)


def test_manifest_maps_labels_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "file,corpus,speaker,emotion\na.wav,r,r/1,calm\nb.wav,r,r/1,bored\n1076_MTI_SAD_XX.opus,c,c/1,sad\n"
    )

    clips, left_out = read_manifest(manifest, root=Path("/data"))

    assert [(c.file, c.emotion, c.path) for c in clips] == [("a.wav", "neutral", Path("/data/a.wav"))]
    assert left_out == {"label bored": 1, "silent": 1}


def test_folds_never_split_a_speaker_and_are_the_same_every_time() -> None:
    clips = [clip(f"{s}-{i}", f"s{s}", corpus="xy"[s % 2]) for s in range(20) for i in range(3)]

    folds = speaker_folds(clips, folds=5, seed=0)

    assert folds == speaker_folds(reversed(clips), folds=5, seed=0)
    assert sorted(folds.values()) == sorted(list(range(5)) * 4)


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_noise_is_added_at_the_ratio_asked_for(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.2, RATE_HZ).astype(np.float32)
    noisy = add_noise(speech, rng.normal(0, 3.0, 500).astype(np.float32), snr_db=snr_db, rng=rng)

    assert 10 * np.log10(np.mean(speech**2) / np.mean((noisy - speech) ** 2)) == pytest.approx(
        snr_db, abs=0.01
    )


def test_a_room_of_one_echo_is_aligned_and_keeps_the_level() -> None:
    click = np.zeros(100, dtype=np.float32)
    click[10] = 1.0
    room = np.array([0.0, 0.8, 0.0, 0.6], dtype=np.float32)

    wet = reverberate(click, room)

    # The direct sound is the largest tap; 0.8 and 0.6 have power 1 together, so the level is as before.
    assert wet[10] == pytest.approx(0.8, abs=1e-6)
    assert wet[12] == pytest.approx(0.6, abs=1e-6)


def test_lost_packets_are_20_ms_long() -> None:
    lost = lose_packets(
        np.ones(1600, dtype=np.float32), rate=0.5, rate_hz=RATE_HZ, rng=np.random.default_rng(1)
    )

    packets = lost.reshape(10, 160)
    assert ((packets == 0).all(axis=1) | (packets == 1).all(axis=1)).all()
    assert 0 < (packets == 0).all(axis=1).sum() < 10


@pytest.mark.parametrize(
    ("name", "reason"),
    [("noise:10", "--noise"), ("noise:loud", "noise:DB"), ("reverb", "--rir"), ("bath", "choose")],
)
def test_a_condition_that_cannot_be_made_is_an_error(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        make_condition(name, noise=tmp_path, rir=tmp_path, rate_hz=RATE_HZ)


def test_telephone_removes_what_is_outside_its_band() -> None:
    t = np.arange(RATE_HZ) / RATE_HZ
    tones = {hz: np.sin(2 * np.pi * hz * t).astype(np.float32) for hz in (60, 1000)}
    telephone = make_condition("telephone", noise=None, rir=None, rate_hz=RATE_HZ)

    assert np.std(telephone(tones[60], "x")[2000:]) < 0.01
    assert np.std(telephone(tones[1000], "x")[2000:]) == pytest.approx(np.std(tones[1000]), rel=0.05)


def test_calibration_error_by_hand() -> None:
    # Confidence 0.8, half right, for four clips; confidence 1.0, right, for one: 0.8 * |0.8 - 0.5|.
    probabilities = np.array([[0.8, 0.2]] * 4 + [[0.0, 1.0]])

    assert expected_calibration_error(probabilities, np.array([0, 0, 1, 1, 1])) == pytest.approx(0.8 * 0.3)


def test_uar_is_over_the_classes_present_and_all_outputs_compete() -> None:
    # Two of three neutral clips and the only happy one are right; the wrong one was taken for surprised.
    probabilities = np.eye(7)[[0, 0, 6, 1]]

    found = point_figures(probabilities, np.array([0, 0, 0, 1]))

    assert found["accuracy"] == 0.75
    assert found["uar"] == pytest.approx((2 / 3 + 1) / 2)


def test_the_interval_is_over_speakers() -> None:
    # One speaker is always right, one always wrong: their bootstrap covers all from 0 to 1.
    probabilities = np.eye(7)[[0] * 50 + [1] * 50]
    speakers = ["right"] * 50 + ["wrong"] * 50

    found = figures(probabilities, np.zeros(100, dtype=int), speakers)

    assert found["accuracy"] == 0.5
    assert found["interval_95"]["accuracy"] == [0.0, 1.0]


def test_temperature_is_softmax_of_scaled_logits() -> None:
    logits = np.array([[2.0, 0.0, -1.0]])
    softmax = np.exp(logits) / np.exp(logits).sum()
    halved = np.exp(logits / 2) / np.exp(logits / 2).sum()

    assert with_temperature(softmax, 2.0) == pytest.approx(halved, abs=1e-6)


def test_the_temperature_of_overconfident_answers_is_above_one() -> None:
    probabilities = np.tile([0.98, 0.02], (100, 1))
    labels = np.array([0] * 75 + [1] * 25)

    temperature = best_temperature(probabilities, labels)

    assert with_temperature(probabilities, temperature)[0, 0] == pytest.approx(0.75, abs=0.01)


@pytest.fixture
def bank() -> Bank:
    """Two clips of 200 frames: speech in the middle half, silence around it."""
    rng = np.random.default_rng(0)
    frames = rng.normal(0, 1, (2, 200, 40)).astype(np.float16)
    frames[:, :50, 0] = frames[:, 150:, 0] = -500
    return Bank(clips=(clip("a", "s1"), clip("b", "s2", "sad")), frames=(tuple(frames), tuple(frames + 1)))


def test_speech_is_found_between_the_silences(bank: Bank) -> None:
    assert speech_span(bank.frames[0][0]) == (50, 150)


def test_batches_are_repeatable_and_hold_only_their_members(bank: Bank) -> None:
    batches = Batches(
        bank=bank,
        members=np.array([1]),
        targets=np.eye(7, dtype=np.float32)[[2]],
        embeddings=np.zeros((1, 3), dtype=np.float32),
        batch_size=8,
        draw=Draw(),
        seed=1,
    )
    (frames, spans), targets, _ = batches.batch(0, 5)
    (again, _), _, _ = batches.batch(0, 5)
    (other, _), _, _ = batches.batch(1, 5)

    assert (frames == again).all()
    assert other.shape != frames.shape or (other != frames).any()
    assert (targets == np.eye(7)[2]).all()
    assert frames.shape[0] == 8
    assert frames.shape[1] == spans.shape[2] * 4
    assert (frames[spans[:, 0].repeat(4, axis=1) == 0] == 0).all()
