"""From corpora to a trained emotion model: `python -m training.train --help`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.emotion.network import NetworkConfig, build_network
from callmood.emotions import EMOTIONS
from callmood.errors import CallmoodError, UsageError
from callmood.features import FrontEnd, normalize
from callmood.model_files import WEIGHTS
from callmood.types import Floats
from training.corpora import (
    CORPORA,
    SHARED,
    Clip,
    add_corpus_options,
    clips_from_options,
    crowd_votes,
    label_indices,
    official_folders,
    speaker_folds,
)
from training.data import LABELLED, Batches, Draw, collate, speech_span
from training.export import write_models
from training.features import Bank, audio_bank, feature_bank
from training.optimizer import make_optimizer
from training.splits import RECIPE, SPLIT, HoldOut, fold_of_clips, split_record
from training.teacher import Teacher, Tracks, learn_teacher

log = logging.getLogger("training")

TEACHER_FOLDS = 5
"""Folds over the training speakers by which the teacher tells of clips that it was not fitted to."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training run makes of its clips."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    draw: Draw = field(default_factory=Draw)
    versions: int = 6
    """Versions of each clip in the feature bank: the clip as it is, and the others through random lines."""
    epochs: int = 36
    batch_size: int = 64
    batches_per_epoch: int = 160
    learning_rate: float = 5e-3
    weight_decay: float = 2e-2
    average: float = 0.0
    """Of the exponential moving average of the weights that is kept; 0 keeps the last weights."""
    smoothing: float = 0.05
    """Share of each hard label that is spread over all classes."""
    teacher_share: float = 0.75
    """Share of the teacher's probabilities in the target; the rest is the label."""
    votes_share: float = 0.0
    """Share of the label of a clip of CREMA-D that goes to what most of its crowd heard."""
    embedding_weight: float = 1.5
    """Weight of the auxiliary loss (matching the teacher's embedding) beside the cross-entropy of 1."""
    seed: int = 1


QUICK = Recipe(versions=2, epochs=6, batches_per_epoch=80)


def changed(recipe: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of a (nested) frozen dataclass with one field changed."""
    if len(path) > 1:
        value = changed(getattr(recipe, path[0]), path[1:], value)
    return replace(recipe, **{path[0]: value})


def make_targets(
    clips: Sequence[Clip],
    teacher: Teacher | None,
    recipe: Recipe,
    votes: Mapping[str, Sequence[str]] | None = None,
) -> Floats:
    """Training targets, shape (n, 7): smoothed labels, mixed with the teacher's probabilities where known.

    `votes` are those of `training.corpora.crowd_votes`.
    """
    labels = label_indices(clips)
    hard = np.eye(len(EMOTIONS), dtype=np.float32)[labels]
    present = hard.any(axis=0)
    for row, clip in enumerate(clips):
        heard = (votes or {}).get(Path(clip.file).stem, ())
        if heard:
            hard[row] *= 1 - recipe.votes_share
            hard[row, [EMOTIONS.index(name) for name in heard]] += recipe.votes_share / len(heard)
    hard = (1 - recipe.smoothing) * hard + recipe.smoothing * present / present.sum()
    if teacher is None:
        return np.asarray(hard, dtype=np.float32)
    known = ~np.isnan(teacher.probabilities[:, :1])
    mixed = (1 - recipe.teacher_share) * hard + recipe.teacher_share * teacher.probabilities
    return np.asarray(np.where(known, mixed, hard), dtype=np.float32)


def fit(
    bank: Bank,
    members: NDArray[np.int64],
    teacher: Teacher | None,
    recipe: Recipe,
    out: Path,
    *,
    votes: Mapping[str, Sequence[str]] | None = None,
    before_epoch: Callable[[int], None] = lambda epoch: None,
) -> Any:
    """Train one network on the clips `members` of the bank, and leave its log and weights in `out`.

    A run that was stopped goes on from its last full epoch, which lies in `out` too.
    """
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(recipe.seed)
    clips = [bank.clips[index] for index in members]
    targets = make_targets(clips, teacher, recipe, votes)
    embeddings = teacher.embeddings if teacher else Tracks.unknown(len(clips))
    batches = Batches(
        bank=bank,
        members=members,
        targets=targets,
        embeddings=embeddings,
        batch_size=recipe.batch_size,
        batches_per_epoch=recipe.batches_per_epoch,
        draw=recipe.draw,
        seed=recipe.seed,
    )

    class Epochs(keras.utils.PyDataset):  # type: ignore[misc]
        epoch = 0

        def __len__(self) -> int:
            return recipe.batches_per_epoch

        def __getitem__(self, index: int) -> Any:
            inputs, target, embedding = batches.batch(self.epoch, index)
            known = ~np.isnan(embedding[:, :, 0])
            # Of each output, so that the mean over the spans that count is what it would be without the others.
            labelled = (
                (np.arange(known.shape[1]) < LABELLED) * np.ones(known.shape) * known.shape[1] / LABELLED
            )
            weights = (labelled.astype(np.float32), known.astype(np.float32))
            return inputs, (target, np.nan_to_num(embedding)), weights

    dataset = Epochs()

    class Next(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            before_epoch(epoch)
            dataset.epoch = epoch

    network = build_network(recipe.network)
    pooled = network.get_layer("pooled_drop").output
    embedding = layers.Dense(embeddings.size, name="embedding")(pooled)
    student = keras.Model(network.inputs, [network.output, embedding])
    optimizer = make_optimizer(
        steps=recipe.epochs * recipe.batches_per_epoch,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        average=recipe.average,
    )
    student.compile(
        optimizer,
        loss=[
            keras.losses.CategoricalCrossentropy(from_logits=True),
            lambda truth, guess: ops.mean(ops.square(truth - guess), axis=-1),
        ],
        loss_weights=[1.0, recipe.embedding_weight],
        jit_compile=False,
    )
    out.mkdir(parents=True, exist_ok=True)
    tensorboard = keras.callbacks.TensorBoard(str(out / "tensorboard"), write_graph=False)
    boards = [tensorboard] if keras.backend.backend() == "tensorflow" else []
    student.fit(
        dataset,
        epochs=recipe.epochs,
        # They come in random order already, and in the same when a stopped run goes on.
        shuffle=False,
        verbose="auto" if sys.stdout.isatty() else 2,
        callbacks=[
            Next(),
            keras.callbacks.CSVLogger(str(out / "log.csv"), append=True),
            keras.callbacks.BackupAndRestore(str(out / "backup")),
            *boards,
        ],
    )
    never_answer(network, sorted(set(range(len(EMOTIONS))) - set(label_indices(clips).tolist())))
    models = out / "models"
    models.mkdir(parents=True, exist_ok=True)
    network.save_weights(models / WEIGHTS)
    corpora = {clip.corpus for clip in clips}
    write_models(models, weights=models / WEIGHTS, recipe=asdict(recipe), corpora=corpora, temperature=1.0)
    return network


def never_answer(network: Any, classes: Sequence[int]) -> None:
    """Give `classes`, which no training clip bears, a probability of practically zero."""
    kernel, bias = network.get_layer("logits").get_weights()
    kernel[:, classes] = 0.0
    bias[classes] = -50.0
    network.get_layer("logits").set_weights([kernel, bias])


def bank_logits(network: Any, bank: Bank, members: NDArray[np.int64]) -> Floats:
    """Logits of whole clean clips, trimmed and normalised one by one, shape (len(members), 7)."""
    logits = np.zeros((len(members), len(EMOTIONS)), dtype=np.float32)
    examples = []
    for index in members:
        clean = bank.frames[0][index]
        start, stop = speech_span(clean, n_mels=bank.front_end.n_mels)
        frames = clean[max(0, start - 20) : stop + 20].astype(np.float32)
        examples.append(normalize(frames, frames))
    order = np.argsort([len(frames) for frames in examples])
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        inputs = [examples[row] for row in rows]
        batch = collate(inputs, [[(0, len(frames))] for frames in inputs])
        logits[rows] = np.asarray(network.predict_on_batch(list(batch)))[:, 0]
    return logits


def options_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """The options of a training run."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    add_corpus_options(parser)
    parser.add_argument("--noise", type=Path, default=SHARED / "noise", help="noise and impulse responses")
    parser.add_argument("--teacher", type=Path, default=SHARED / "teacher" / "whisper-small.npz")
    parser.add_argument("--no-teacher", action="store_true", help="train on the labels alone")
    parser.add_argument("--corpus", choices=CORPORA, action="append", help="only these corpora (repeatable)")
    parser.add_argument(
        "--hold-out", metavar="SPLIT", help="speakers:K/N, random:K/N or corpus:NAME; default: train on all"
    )
    parser.add_argument(
        "--one-in",
        type=int,
        default=1,
        metavar="N",
        help="hear only one in N of the speakers, to learn what more voices would bring",
    )
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
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = options_parser("python -m training.train", __doc__)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        train(options, recipe_of(options))
    except CallmoodError as error:
        parser.error(str(error))


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that the options ask for; raises `UsageError` where --set names no part of it."""
    recipe = replace(QUICK if options.quick else Recipe(), seed=options.seed)
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    for change in options.set:
        name, _, value = change.partition("=")
        try:
            recipe = changed(recipe, name.split("."), json.loads(value))
        except (AttributeError, TypeError, ValueError) as error:
            raise UsageError(
                f"--set {change}: {error}; write NAME=VALUE with a part of the recipe and a JSON value."
            ) from error
    if recipe.network.members != 1:
        raise UsageError(
            f"--set network.members={recipe.network.members}: train one network at a time, and join them with training.join."
        )
    return recipe


def train(options: argparse.Namespace, recipe: Recipe) -> None:
    """From the command line's options to a folder with a trained model."""
    hold_out = HoldOut.parse(options.hold_out) if options.hold_out else None
    clips = clips_from_options(options)
    wanted = np.array([clip.corpus in (options.corpus or CORPORA) for clip in clips])
    held_out = np.zeros(len(clips), dtype=bool) if hold_out is None else wanted & hold_out.of(clips)
    voice = speaker_folds(clips, folds=options.one_in, seed=1)
    heard = np.array([voice[clip.speaker] == 0 for clip in clips])
    members = np.flatnonzero(wanted & heard & ~held_out)
    if not len(members) or (hold_out is not None and not held_out.any()):
        raise UsageError(
            f"--hold-out {options.hold_out}: leaves {len(members)} clips to train on and {held_out.sum()} held out; "
            "name another split, or other corpora."
        )
    claim_folder(
        options.out,
        recipe,
        split_record(options.hold_out or "nothing", clips, members=members, held_out=held_out),
    )
    audio = audio_bank(
        clips,
        rate_hz=recipe.front_end.rate_hz,
        noise=options.noise,
        versions=recipe.versions,
        seed=1,
        cache=options.cache,
        jobs=options.jobs,
    )
    bank = feature_bank(clips, audio, front_end=recipe.front_end, jobs=options.jobs)
    teacher = None
    if not options.no_teacher:
        teacher = learn_teacher(
            [clips[index] for index in members],
            options.teacher,
            speech_s=[speech_s(bank, int(index)) for index in members],
            fold_of=fold_of_clips(clips, folds=TEACHER_FOLDS)[members],
            cache=options.cache,
        )
    votes = None
    if recipe.votes_share:
        votes = crowd_votes(options.corpora or SHARED / "corpora", *official_folders(options).values())
    network = fit(bank, members, teacher, recipe, options.out, votes=votes)
    report_recall(network, bank, members, "training clips")
    if held_out.any():
        report_recall(network, bank, np.flatnonzero(held_out), "held out")


def claim_folder(out: Path, recipe: Recipe, split: Mapping[str, Any]) -> None:
    """Record in a run's folder what it does; raises `UsageError` where it holds another run, or a finished one."""
    records = {RECIPE: asdict(recipe), SPLIT: split}
    out.mkdir(parents=True, exist_ok=True)
    if (out / "models").exists():
        raise UsageError(f"{out}: holds a finished run; name a new folder with --out.")
    for name, record in records.items():
        text = json.dumps(record, indent=1) + "\n"
        if (out / name).exists() and (out / name).read_text(encoding="utf-8") != text:
            raise UsageError(f"{out}: holds another run, whose {name} differs; name a new folder with --out.")
        (out / name).write_text(text, encoding="utf-8")


def speech_s(bank: Bank, index: int) -> tuple[float, float]:
    """Where the speech of a clip begins and ends, in seconds."""
    start, stop = speech_span(bank.frames[0][index], n_mels=bank.front_end.n_mels)
    return start / bank.front_end.frames_per_s, stop / bank.front_end.frames_per_s


def report_recall(network: Any, bank: Bank, members: NDArray[np.int64], title: str) -> None:
    """Log the recall of clean clips, averaged over classes."""
    from sklearn.metrics import recall_score

    logits = bank_logits(network, bank, members)
    labels = label_indices([bank.clips[index] for index in members])
    corpora = np.array([bank.clips[index].corpus for index in members])
    for corpus in np.unique(corpora):
        rows = corpora == corpus
        present = np.unique(labels[rows])
        uar = recall_score(labels[rows], logits[rows].argmax(axis=1), labels=present, average="macro")
        log.info("%s, %s: UAR %.3f over %d clips", title, corpus, uar, rows.sum())


if __name__ == "__main__":
    main()
