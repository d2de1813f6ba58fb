"""From corpora to a trained emotion model: `python -m training.train --help`."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.network import NetworkConfig, build_network
from callmood.emotions import EMOTIONS
from callmood.features import FrontEnd, normalize
from callmood.model_files import WEIGHTS
from callmood.types import Floats
from training.corpora import CORPORA, Clip, label_indices, read_manifest, speaker_folds
from training.data import Batches, Draw, collate, speech_span
from training.export import write_models
from training.features import Bank, feature_bank
from training.teacher import Teacher, learn_teacher

log = logging.getLogger("training")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training run makes of its clips."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    draw: Draw = field(default_factory=Draw)
    versions: int = 6
    """Versions of each clip in the feature bank: the clip as it is, and the others through random lines."""
    epochs: int = 24
    batch_size: int = 32
    batches_per_epoch: int = 320
    learning_rate: float = 2e-3
    weight_decay: float = 2e-2
    ema: float = 0.998
    smoothing: float = 0.05
    """Share of each hard label that is spread over all classes."""
    teacher_share: float = 0.5
    """Share of the teacher's probabilities in the target; the rest is the label."""
    embedding_weight: float = 0.5
    """Weight of the auxiliary loss (matching the teacher's embedding) beside the cross-entropy of 1."""
    seed: int = 1


QUICK = Recipe(versions=2, epochs=6, batches_per_epoch=160)


def changed(recipe: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of a (nested) frozen dataclass with one field changed."""
    if len(path) > 1:
        value = changed(getattr(recipe, path[0]), path[1:], value)
    return replace(recipe, **{path[0]: value})


def make_targets(clips: Sequence[Clip], teacher: Teacher | None, recipe: Recipe) -> Floats:
    """Training targets, shape (n, 7): smoothed labels, mixed with the teacher's probabilities where known."""
    hard = np.eye(len(EMOTIONS), dtype=np.float32)[label_indices(clips)]
    hard = (1 - recipe.smoothing) * hard + recipe.smoothing / len(EMOTIONS)
    if teacher is None:
        return np.asarray(hard, dtype=np.float32)
    known = ~np.isnan(teacher.probabilities[:, :1])
    mixed = (1 - recipe.teacher_share) * hard + recipe.teacher_share * teacher.probabilities
    return np.where(known, mixed, hard).astype(np.float32)


def fit(bank: Bank, members: NDArray[np.int64], teacher: Teacher | None, recipe: Recipe, out: Path) -> Any:
    """Train one network on the clips `members` of the bank, and leave its log and weights in `out`."""
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(recipe.seed)
    clips = [bank.clips[index] for index in members]
    targets = make_targets(clips, teacher, recipe)
    embeddings = teacher.embeddings if teacher else np.full((len(clips), 1), np.nan, dtype=np.float32)
    batches = Batches(
        bank=bank,
        members=members,
        targets=targets,
        embeddings=embeddings,
        batch_size=recipe.batch_size,
        draw=recipe.draw,
        seed=recipe.seed,
    )

    class Epochs(keras.utils.PyDataset):  # type: ignore[misc]
        epoch = 0

        def __len__(self) -> int:
            return recipe.batches_per_epoch

        def __getitem__(self, index: int) -> Any:
            inputs, target, embedding = batches.batch(self.epoch, index)
            known = ~np.isnan(embedding[:, 0])
            weights = (np.ones(len(known), dtype=np.float32), known.astype(np.float32))
            return inputs, (target[:, None], np.nan_to_num(embedding)[:, None]), weights

        def on_epoch_end(self) -> None:
            self.epoch += 1

    network = build_network(recipe.network)
    pooled = network.get_layer("pooled_drop").output
    embedding = layers.Dense(embeddings.shape[1], name="embedding")(pooled)
    student = keras.Model(network.inputs, [network.output, embedding])
    steps = recipe.epochs * recipe.batches_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - steps // 20, warmup_target=recipe.learning_rate, warmup_steps=steps // 20
    )
    student.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=recipe.weight_decay, clipnorm=1.0, use_ema=True, ema_momentum=recipe.ema
        ),
        loss=[
            keras.losses.CategoricalCrossentropy(from_logits=True),
            lambda truth, guess: ops.mean(ops.square(truth - guess), axis=-1),
        ],
        loss_weights=[1.0, recipe.embedding_weight],
        jit_compile=False,
    )
    out.mkdir(parents=True, exist_ok=True)
    student.fit(
        Epochs(),
        epochs=recipe.epochs,
        verbose=2,
        callbacks=[keras.callbacks.CSVLogger(str(out / "log.csv"))],
    )
    models = out / "models"
    models.mkdir(exist_ok=True)
    network.save_weights(models / WEIGHTS)
    write_models(models, weights=models / WEIGHTS, recipe=asdict(recipe), temperature=1.0)
    return network


def bank_logits(network: Any, bank: Bank, members: NDArray[np.int64]) -> Floats:
    """Logits of whole clean clips, trimmed and normalised one by one, shape (len(members), 7)."""
    logits = np.zeros((len(members), len(EMOTIONS)), dtype=np.float32)
    examples = []
    for index in members:
        clean = bank.frames[0][index]
        start, stop = speech_span(clean)
        frames = clean[start:stop].astype(np.float32)
        examples.append(normalize(frames, frames))
    order = np.argsort([len(frames) for frames in examples])
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        logits[rows] = np.asarray(network.predict_on_batch(list(collate([examples[row] for row in rows]))))[
            :, 0
        ]
    return logits


def all_clips(folder: Path, corpora: Sequence[str] = CORPORA) -> list[Clip]:
    """The clips of the corpora whose manifests lie in `folder`."""
    clips: list[Clip] = []
    for corpus in corpora:
        found, left_out = read_manifest(folder / f"{corpus}.csv")
        log.info("%s: %d clips; left out: %s", corpus, len(found), left_out or "none")
        clips += found
    return clips


def fold_of_clips(clips: Sequence[Clip], *, folds: int) -> NDArray[np.int64]:
    """Fold of each clip's speaker, shape (n,); the same in every program and run."""
    fold_by_speaker = speaker_folds(clips, folds=folds, seed=0)
    return np.array([fold_by_speaker[clip.speaker] for clip in clips])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--corpora", type=Path, default=SHARED / "corpora", help="folder of the manifests")
    parser.add_argument("--noise", type=Path, default=SHARED / "noise", help="noise and impulse responses")
    parser.add_argument("--teacher", type=Path, default=SHARED / "teacher" / "whisper-small.npz")
    parser.add_argument("--no-teacher", action="store_true", help="train on the labels alone")
    parser.add_argument("--corpus", choices=CORPORA, action="append", help="only these corpora (repeatable)")
    parser.add_argument("--fold", type=int, help="hold out this fold of the speakers; default: train on all")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change the recipe, such as --set network.dropout=0.1 --set draw.crop=0.3",
    )
    parser.add_argument("--quick", action="store_true", help="a short run, to see that everything works")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, logs and predictions")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    recipe = replace(QUICK if options.quick else Recipe(), seed=options.seed)
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    for change in options.set:
        name, _, value = change.partition("=")
        recipe = changed(recipe, name.split("."), json.loads(value))
    clips = all_clips(options.corpora, options.corpus or CORPORA)
    bank = feature_bank(
        clips,
        front_end=recipe.front_end,
        noise=options.noise,
        versions=recipe.versions,
        seed=1,
        cache=options.cache,
        jobs=options.jobs,
    )
    fold_of = fold_of_clips(clips, folds=options.folds)
    if options.fold is not None and not 0 <= options.fold < options.folds:
        parser.error(f"--fold must be from 0 to {options.folds - 1}")
    held_out = fold_of == options.fold
    members = np.flatnonzero(~held_out)
    teacher = None
    if not options.no_teacher:
        teacher = learn_teacher(
            [clips[index] for index in members],
            options.teacher,
            fold_of=fold_of[members],
            cache=options.cache,
        )
    options.out.mkdir(parents=True, exist_ok=True)
    speakers = sorted({clips[index].speaker for index in members})
    (options.out / "speakers.json").write_text(json.dumps(speakers, indent=2) + "\n")
    (options.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    network = fit(bank, members, teacher, recipe, options.out)
    if options.fold is not None:
        report_fold(network, bank, np.flatnonzero(held_out))


def report_fold(network: Any, bank: Bank, members: NDArray[np.int64]) -> None:
    """Log a first look at the held-out speakers: the recall of clean clips, averaged over classes."""
    from sklearn.metrics import recall_score

    logits = bank_logits(network, bank, members)
    labels = label_indices([bank.clips[index] for index in members])
    corpora = np.array([bank.clips[index].corpus for index in members])
    for corpus in np.unique(corpora):
        rows = corpora == corpus
        present = np.unique(labels[rows])
        uar = recall_score(labels[rows], logits[rows].argmax(axis=1), labels=present, average="macro")
        log.info("%s: UAR %.3f over %d clips of unseen speakers", corpus, uar, rows.sum())


if __name__ == "__main__":
    main()
