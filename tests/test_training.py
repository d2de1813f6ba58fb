"""Corpora, folds, augmentation, batches and metrics of the training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from callmood.errors import UsageError
from callmood.features import FrontEnd, network_input
from callmood.metrics import (
    best_temperature,
    expected_calibration_error,
    figures,
    point_figures,
    with_temperature,
)
from training.ablation import BESIDE, VARIATIONS
from training.augment import add_noise, lose_packets, reverberate
from training.beside import WideFrontEnd, front_end_of
from training.conditions import make_condition
from training.corpora import Clip, crowd_votes, read_manifest, speaker_folds
from training.crossval import Run, Scored, calibrate, check_apart, cross_temperatures
from training.data import LABELLED, MAX_FRAMES, Batches, Draw, speech_span
from training.features import Bank, audio_bank, feature_bank
from training.splits import SPLIT, HoldOut, split_record
from training.teacher import Tracks
from training.train import Recipe, claim_folder, fit, make_targets
from training.train import main as train_main
from training.transitions import best_boundary
from training.warp import warp_matrices

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
    return Bank(
        clips=(clip("a", "s1"), clip("b", "s2", "sad")),
        front_end=FrontEnd(),
        frames=(tuple(frames), tuple(frames + 1)),
    )


def ramps(clips: int) -> Tracks:
    """The time itself, in seconds, in steps of 0.1 s of 2.5 s: the mean over a span is its middle."""
    ramp = np.arange(0.05, 2.5, 0.1, dtype=np.float32)[:, None]
    return Tracks.of_steps([ramp] * clips, step_s=0.1)


def batches_of(bank: Bank, members: list[int], draw: Draw) -> Batches:
    return Batches(
        bank=bank,
        members=np.array(members),
        targets=np.eye(7, dtype=np.float32)[[1, 2]][members],
        embeddings=ramps(len(members)),
        batch_size=8,
        batches_per_epoch=6,
        draw=draw,
        seed=1,
    )


PLAIN = Draw(clean=1, alone=1, crop=0, joined=0, stretch=0, warp=0, equalizer=0, mixup=0, masks=0)
"""Nothing is changed: the clip as it is."""


def test_speech_is_found_between_the_silences(bank: Bank) -> None:
    assert speech_span(bank.frames[0][0], n_mels=40) == (50, 150)


def test_batches_are_repeatable_and_hold_only_their_members(bank: Bank) -> None:
    batches = batches_of(bank, [1], Draw(details=2))
    (frames, spans), targets, _ = batches.batch(0, 5)
    (other, _), _, _ = batches.batch(1, 5)
    (again, _), _, _ = batches.batch(0, 5)

    assert (frames == again).all()
    assert other.shape != frames.shape or (other != frames).any()
    assert targets.shape == (8, LABELLED + 2, 7)
    assert (targets[:, :LABELLED] == np.eye(7)[2]).all()
    assert frames.shape[0] == 8
    assert frames.shape[1] == spans.shape[2] * 4
    assert (frames[spans.max(axis=1).repeat(4, axis=1) == 0] == 0).all()


def test_without_augmentation_an_example_is_what_the_product_hears(bank: Bank) -> None:
    (frames, spans), _, _ = batches_of(bank, [0], PLAIN).batch(0, 1)

    for row, mask in zip(frames, spans, strict=True):
        length = int(np.flatnonzero(np.abs(row).sum(axis=1))[-1]) + 1
        clean = bank.frames[0][0].astype(np.float32)
        # The margins are random; the example is one of the stretches around the speech.
        stretches = [clean[start : start + length] for start in range(200 - length + 1)]
        assert any(
            np.allclose(row[:length], network_input(s, s.mean(0), s.std(0)), atol=1e-4) for s in stretches
        )
        assert mask[0].sum() == -(-length // 4)


def test_joined_utterances_are_two_spans_that_meet(bank: Bank) -> None:
    one_speaker = Bank(
        clips=(clip("a", "s1"), clip("b", "s1", "sad")), front_end=FrontEnd(), frames=bank.frames
    )
    (_, spans), targets, _ = batches_of(one_speaker, [0, 1], Draw(joined=1, details=2)).batch(0, 1)

    assert (spans[:, :LABELLED].sum(axis=1) >= spans.max(axis=1)).all()
    for first, second in spans[:, :LABELLED]:
        # They share the step that the boundary lies in, at most.
        assert 0 <= np.flatnonzero(first)[-1] - np.flatnonzero(second)[0] + 1 <= 1
    assert {tuple(pair.argmax(axis=1)) for pair in targets[:, :LABELLED]} <= {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_the_teacher_is_asked_for_the_very_stretch_that_a_span_covers(bank: Bank) -> None:
    """Whatever the tempo: the middle of a span, in seconds of the clip."""
    (_, spans), _, embeddings = batches_of(
        bank, [0], Draw(**{**vars(PLAIN), "stretch": 0.15, "clean": 0.5, "details": 3})
    ).batch(0, 1)

    whole, details = embeddings[:, 0, 0], embeddings[:, LABELLED:, 0]
    # The speech lies between 0.625 and 1.875 s, and as much of the margins as was drawn is heard.
    assert (np.abs(whole - 1.25) <= 0.35 / 2 + 0.02).all()
    for row, of_clip, found in zip(spans, whole, details, strict=True):
        steps = np.arange(row.shape[1])
        middles = [steps[span == 1].mean() for span in row]
        shift = found - of_clip
        expected = 0.05 * (np.array(middles[LABELLED:]) - middles[0])
        # A fifth: the tempo, and that spans begin and end in the middle of the network's steps.
        assert shift == pytest.approx(expected, rel=0.2, abs=0.06)


def test_what_is_known_of_no_clip_is_not_a_number(bank: Bank) -> None:
    batches = batches_of(bank, [0, 1], Draw())
    batches.embeddings = Tracks.unknown(2)

    assert np.isnan(batches.batch(0, 1)[2]).all()


def test_examples_of_a_batch_are_of_similar_length(bank: Bank) -> None:
    batches = batches_of(bank, [0, 1], Draw(crop=1, joined=0.5))
    batches.plan(0)
    spread = [
        max(example.length for example in batch) - min(example.length for example in batch)
        for batch in batches._plan
    ]
    lengths = [example.length for batch in batches._plan for example in batch]

    assert max(lengths) <= MAX_FRAMES
    assert np.median(spread) < np.ptp(lengths) / 3


def test_a_warp_of_one_changes_nothing_and_others_move_a_peak() -> None:
    from scipy.fft import dct, idct

    front_end = FrontEnd()
    warps = warp_matrices(front_end, reach=0.1)
    levels = np.zeros(40)
    levels[20] = 10.0
    frames = dct(levels, norm="ortho").astype(np.float32)[None]

    assert frames @ warps[len(warps) // 2] == pytest.approx(frames, abs=1e-4)
    assert (
        idct(frames @ warps[0], norm="ortho").argmax() < 20 < idct(frames @ warps[-1], norm="ortho").argmax()
    )


@pytest.mark.parametrize("text", ["speakers:5/5", "speakers", "corpus:x", "actors:0/5", "random:-1/5"])
def test_a_split_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="speakers:K/N"):
        HoldOut.parse(text)


def test_votes_of_the_crowd_take_their_share_of_the_label(tmp_path: Path) -> None:
    (tmp_path / "crema-d-votes.csv").write_text(
        ",FileName,VoiceVote,VoiceLevel\n1,1001_DFA_ANG_XX,N:S,50\n2,1001_DFA_HAP_XX,H,90\n"
    )
    clips = [
        clip(f"crema-d/1001/{stem}.opus", "1001", label)
        for stem, label in (
            ("1001_DFA_ANG_XX", "angry"),
            ("1001_DFA_HAP_XX", "happy"),
            ("1001_DFA_SAD_XX", "sad"),
        )
    ]
    recipe = Recipe(votes_share=0.4, smoothing=0.0)

    angry, happy, sad = make_targets(clips, None, recipe, crowd_votes(tmp_path))

    # neutral, happy, sad, angry, ...: 0.4 of the first goes to neutral and sad, half of it each.
    assert angry == pytest.approx([0.2, 0, 0.2, 0.6, 0, 0, 0])
    assert happy == pytest.approx([0, 1, 0, 0, 0, 0, 0])
    assert sad == pytest.approx([0, 0, 1, 0, 0, 0, 0])


def test_votes_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no votes on CREMA-D"):
        crowd_votes(tmp_path / "corpora")


def test_wide_inputs_are_mfcc_then_mel_levels_then_chroma() -> None:
    import librosa

    # An A: the tenth semitone from C.
    tone = (0.3 * np.sin(2 * np.pi * 440.0 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
    wide = WideFrontEnd()
    inputs = wide.mfcc(tone)
    mel = librosa.feature.melspectrogram(
        y=np.pad(tone, 128),
        sr=RATE_HZ,
        n_fft=256,
        hop_length=100,
        center=False,
        n_mels=40,
        fmin=50,
        fmax=4000,
    )

    assert inputs.shape == (81, wide.n_inputs) == (81, 92)
    assert np.array_equal(inputs[:, :40], FrontEnd().mfcc(tone))
    assert (
        pytest.approx(librosa.power_to_db(mel, ref=1.0, amin=1e-8, top_db=None), abs=1e-2)
        == inputs[:, 40:80].T
    )
    assert set(inputs[10:-10, 80:].argmax(axis=1)) == {9}


def test_the_front_end_of_a_run_is_the_one_that_it_heard() -> None:
    from dataclasses import asdict

    assert front_end_of({"front_end": asdict(FrontEnd())}) == FrontEnd()
    assert front_end_of({"front_end": asdict(WideFrontEnd())}) == WideFrontEnd()


def test_every_row_of_the_ablation_is_a_run_that_training_knows() -> None:
    from training.train import options_parser, recipe_of

    for name, arguments in VARIATIONS.items():
        options = options_parser("train", None).parse_args([*arguments, "--out", "runs/x"])
        assert (recipe_of(options) == Recipe()) == (
            name in ("the recipe", "half of the voices", "a quarter of the voices", "no teacher", BESIDE)
        ), name


def test_random_folds_hold_out_every_clip_once_and_part_speakers() -> None:
    clips = [
        clip(f"{speaker}-{emotion}-{i}", speaker, emotion)
        for speaker in ("s1", "s2")
        for emotion in ("sad", "happy")
        for i in range(10)
    ]
    held_out = np.stack([HoldOut.parse(f"random:{k}/5").of(clips) for k in range(5)])

    assert (held_out.sum(axis=0) == 1).all()
    assert (held_out.sum(axis=1) == 8).all()
    assert {clips[i].emotion for i in np.flatnonzero(held_out[0])} == {"sad", "happy"}


def test_a_corpus_is_held_out_whole() -> None:
    clips = [clip("a", "s1", corpus="tess"), clip("b", "s2", corpus="savee")]

    assert HoldOut.parse("corpus:tess").of(clips).tolist() == [True, False]


def record_run(folder: Path, hold_out: str, clips: list[Clip], held_out: list[int]) -> Path:
    """A run's folder, as far as its records go."""
    out = np.isin(np.arange(len(clips)), held_out)
    split = split_record(hold_out, clips, members=np.flatnonzero(~out), held_out=out)
    folder.mkdir(exist_ok=True)
    (folder / "recipe.json").write_text('{"seed": 1}')
    (folder / SPLIT).write_text(json.dumps(split))
    return folder


def test_a_run_that_heard_whom_it_holds_out_is_refused(tmp_path: Path) -> None:
    clips = [clip("a", "s1"), clip("b", "s1")]

    assert Run.read(record_run(tmp_path, "random:0/2", clips, [0]), clips).held_out.tolist() == [0]
    with pytest.raises(UsageError, match="was trained on s1"):
        Run.read(record_run(tmp_path, "speakers:0/2", clips, [0]), clips)


def test_runs_of_one_seed_that_hold_out_the_same_clip_are_refused(tmp_path: Path) -> None:
    clips = [clip("a", "s1"), clip("b", "s2"), clip("c", "s3")]
    runs = [
        Run.read(record_run(tmp_path / name, "speakers:0/3", clips, held_out), clips)
        for name, held_out in (("one", [0]), ("two", [1, 2]), ("three", [2]))
    ]

    check_apart(runs[:2])
    with pytest.raises(UsageError, match=r"three and .*two"):
        check_apart(runs)


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    claim_folder(tmp_path, Recipe(), {"hold_out": "speakers:0/5"})
    claim_folder(tmp_path, Recipe(), {"hold_out": "speakers:0/5"})

    with pytest.raises(UsageError, match=r"another run, whose split\.json differs"):
        claim_folder(tmp_path, Recipe(), {"hold_out": "speakers:1/5"})
    with pytest.raises(UsageError, match=r"another run, whose recipe\.json differs"):
        claim_folder(tmp_path, Recipe(seed=2), {"hold_out": "speakers:0/5"})
    (tmp_path / "models").mkdir()
    with pytest.raises(UsageError, match="finished"):
        claim_folder(tmp_path, Recipe(), {"hold_out": "speakers:0/5"})


@pytest.mark.parametrize("change", ["epoch=3", "draw.warps=0", "seed", "seed=one", "network.members=2"])
def test_a_change_that_the_recipe_cannot_take_is_refused(
    change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train_main(["--set", change, "--out", "nowhere"])

    assert f"--set {change}: " in capsys.readouterr().err


def test_each_fold_is_calibrated_on_the_others() -> None:
    labels = np.array([0, 0, 0, 1] * 50)
    sure = np.tile(np.eye(7, dtype=np.float32)[0] * 0.93 + 0.01, (200, 1))
    scored = Scored(np.arange(200), np.repeat([0, 1], [100, 100]), sure)
    right = Scored(scored.rows, scored.fold, np.eye(7, dtype=np.float32)[labels] * 0.93 + np.float32(0.01))

    # Three of four are right where it says 0.94, so the other fold is cooled to about 0.75.
    assert calibrate(scored, cross_temperatures(scored, labels))[:, 0] == pytest.approx(0.75, abs=0.02)
    assert cross_temperatures(right, labels)[0] < 1.0
    only = Scored(scored.rows[:100], scored.fold[:100], sure[:100])
    assert cross_temperatures(only, labels) == {0: 1.0}


def test_the_boundary_is_where_two_emotions_part_best() -> None:
    sure = np.full((10, 7), 0.01)
    sure[:4, 3] = sure[4:, 0] = 0.94
    # One doubtful window does not make a boundary.
    sure[8] = 1 / 7

    assert best_boundary(np.log(sure).astype(np.float32)) == 4


@pytest.fixture
def tone_clips(tmp_path: Path) -> list[Clip]:
    """Sixteen clips of half a second: low tones of two "happy" speakers, high ones when they are "sad"."""
    import soundfile

    t = np.arange(RATE_HZ // 2) / RATE_HZ
    clips = []
    for index in range(16):
        emotion = ("happy", "sad")[index % 2]
        path = tmp_path / f"{index}.wav"
        soundfile.write(
            path, 0.3 * np.sin(2 * np.pi * (400, 1500)[index % 2] * (1 + index / 100) * t), RATE_HZ
        )
        clips.append(Clip(file=path.name, path=path, corpus="c", speaker=f"s{index // 8}", emotion=emotion))
    return clips


def test_the_bank_holds_clean_clips_first_and_is_made_once(tone_clips: list[Clip], tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def make() -> Bank:
        audio = audio_bank(
            tone_clips, rate_hz=RATE_HZ, noise=tmp_path, versions=2, seed=1, cache=cache, jobs=1
        )
        return feature_bank(tone_clips, audio, front_end=FrontEnd(), jobs=1)

    bank = make()
    written = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    again = make()

    clean = FrontEnd().mfcc((0.3 * np.sin(2 * np.pi * 400 * np.arange(4000) / RATE_HZ)).astype(np.float32))
    assert bank.versions == 2
    assert bank.frames[0][0].astype(np.float32)[5:-5] == pytest.approx(clean[5:-5], abs=1.0)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")} == written
    assert all(np.array_equal(a, b) for a, b in zip(bank.frames[1], again.frames[1], strict=True))


def test_training_learns_and_goes_on_where_it_was_stopped(tone_clips: list[Clip], tmp_path: Path) -> None:
    from callmood.emotion.model import EmotionModel
    from callmood.emotion.network import NetworkConfig

    audio = audio_bank(
        tone_clips, rate_hz=RATE_HZ, noise=tmp_path, versions=2, seed=1, cache=tmp_path / "cache", jobs=1
    )
    bank = feature_bank(tone_clips, audio, front_end=FrontEnd(), jobs=1)
    recipe = Recipe(
        network=NetworkConfig(width=16, blocks=2, dropout=0.0),
        epochs=4,
        batches_per_epoch=10,
        batch_size=8,
        smoothing=0.0,
    )
    members = np.arange(len(tone_clips))

    class PowerCutError(Exception):
        pass

    def cut(epoch: int) -> None:
        if epoch == 2:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        fit(bank, members, None, recipe, tmp_path / "cut", before_epoch=cut)
    resumed = fit(bank, members, None, recipe, tmp_path / "cut")
    whole = fit(bank, members, None, recipe, tmp_path / "whole")

    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    model = EmotionModel(tmp_path / "whole" / "models")
    frames = [bank.frames[0][index].astype(np.float32) for index in (0, 1)]
    heard = [network_input(f, f.mean(0), f.std(0)) for f in frames]
    low, high = model.probabilities(heard, [np.array([[0, len(f)]]) for f in frames])
    assert low[0, 1] > 0.8
    assert high[0, 2] > 0.8
    # Nobody was angry in training, so nobody is heard as angry.
    assert low[0, 3] < 1e-12


def test_training_on_another_backend_makes_the_same_kind_of_model(
    tone_clips: list[Clip], tmp_path: Path
) -> None:
    from callmood.emotion.model import EmotionModel

    with (tmp_path / "crema-d.csv").open("w") as manifest:
        manifest.write("file,corpus,speaker,emotion\n")
        manifest.writelines(f"{c.file},crema-d,{c.speaker},{c.emotion}\n" for c in tone_clips)
    small = ["network.width=16", "network.blocks=2", "versions=2", "epochs=1", "batches_per_epoch=3"]
    command = [
        *(sys.executable, "-m", "training.train", "--no-teacher", "--corpora", str(tmp_path)),
        *("--noise", str(tmp_path), "--cache", str(tmp_path / "cache"), "--jobs", "1"),
        *("--hold-out", "speakers:0/2", "--out", str(tmp_path / "run")),
        *(word for change in small for word in ("--set", change)),
    ]
    done = subprocess.run(
        command, env={**os.environ, "KERAS_BACKEND": "torch"}, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    heard = json.loads((tmp_path / "run" / SPLIT).read_text())["speakers_heard"]
    assert len(heard) == 1
    model = EmotionModel(tmp_path / "run" / "models")
    (row,) = model.probabilities([np.zeros((80, 80), dtype=np.float32)], [np.array([[0, 80]])])
    assert row.sum() == pytest.approx(1.0, abs=1e-5)
    assert row[0, 0] < 1e-12


def test_every_protocol_holds_out_each_clip_at_most_once() -> None:
    from training.protocols import PROTOCOLS
    from training.train import options_parser, recipe_of

    clips = [
        clip(f"{corpus}/{speaker}/{take}", f"{corpus}/{speaker}", corpus=corpus)
        for corpus, speakers in (("crema-d", 10), ("ravdess", 12), ("tess", 2), ("savee", 3))
        for speaker in range(speakers)
        for take in range(5)
    ]
    folders = [name for runs in PROTOCOLS.values() for name in runs]
    assert len(set(folders)) == len(folders)
    for name, runs in PROTOCOLS.items():
        held_out = np.zeros(len(clips), dtype=int)
        for networks in runs.values():
            of_run = []
            for arguments in networks:
                options = options_parser("train", None).parse_args([*arguments.split(), "--out", "runs/x"])
                recipe_of(options)
                wanted = np.array([options.corpus is None or one.corpus in options.corpus for one in clips])
                of_run.append(wanted & HoldOut.parse(options.hold_out).of(clips))
            # Networks that are joined held out the same.
            assert all((out == of_run[0]).all() for out in of_run), name
            held_out += of_run[0]
        assert held_out.max() == 1, name
        if name.startswith("speakers") or name == "leave-one-out":
            corpora = {one.corpus for one, out in zip(clips, held_out, strict=True) if out}
            assert all(out for one, out in zip(clips, held_out, strict=True) if one.corpus in corpora), name
