"""Score labelled clips with a shipped model, as the product would: `python -m training.evaluate --help`.

Clips are those of a manifest, or of a corpus as its authors publish it.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.vad import speech_probabilities
from callmood.emotion.model import EmotionModel
from callmood.emotion.utterance import speech_stretch
from callmood.emotions import EMOTIONS, PROBABILITY_COLUMNS
from callmood.errors import CallmoodError
from callmood.features import FrontEnd, normalize
from callmood.metrics import FOUR_CLASSES, figures, restricted
from callmood.types import Floats
from training.conditions import Condition, make_condition
from training.corpora import (
    Clip,
    Traits,
    add_official_options,
    label_indices,
    load_clip,
    official_folders,
    read_manifest,
    read_official,
    speaker_traits,
)

_CHUNK = 32
"""Clips per task of a worker; they go through the voice activity network side by side."""


def score_clips(
    clips: Sequence[Clip], model: EmotionModel, condition: Condition, *, jobs: int = 1
) -> tuple[Floats, int]:
    """Probabilities of each clip, shape (n, 7), and how many clips had no detectable speech.

    The latter are scored whole, since a labelled clip is known to hold speech.
    """
    heard = hear_clips(clips, model.front_end, condition, jobs=jobs)
    rows = model.probabilities([one.frames for one in heard], whole_spans(heard))
    probabilities = np.concatenate([np.zeros((0, len(EMOTIONS)), dtype=np.float32), *rows])
    return probabilities, sum(not one.has_speech for one in heard)


@dataclass(frozen=True)
class Heard:
    """What the network hears of a clip."""

    frames: Floats
    """Shape (frames, inputs); see `callmood.features.network_input`."""
    has_speech: bool
    """Whether speech was detected; otherwise the frames are those of the whole clip."""


def hear_clips(
    clips: Sequence[Clip], front_end: FrontEnd, condition: Condition, *, jobs: int = 1
) -> list[Heard]:
    """Clips under a condition, cut to their speech and normalised as the product does it."""
    import joblib

    chunks = [clips[start : start + _CHUNK] for start in range(0, len(clips), _CHUNK)]
    parts = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(_hear_chunk)(chunk, front_end, condition) for chunk in chunks
    )
    return [one for part in parts for one in part]


def whole_spans(heard: Sequence[Heard]) -> list[NDArray[np.int64]]:
    """One span for each clip: all of it."""
    return [np.array([[0, len(one.frames)]]) for one in heard]


def _hear_chunk(clips: Sequence[Clip], front_end: FrontEnd, condition: Condition) -> list[Heard]:
    found = []
    sounds = [condition(load_clip(clip, rate_hz=front_end.rate_hz), clip.file) for clip in clips]
    for samples, probability in zip(sounds, speech_probabilities(sounds), strict=True):
        stretch = speech_stretch(samples, probability, front_end)
        if stretch is None:
            frames = front_end.mfcc(samples)
            found.append(Heard(normalize(frames, frames), False))
        else:
            found.append(Heard(stretch[0], True))
    return found


def corpus_figures(
    probabilities: Floats, labels: NDArray[np.int64], speakers: Sequence[str], traits: Mapping[str, Traits]
) -> dict[str, Any]:
    """`callmood.metrics.figures` of one corpus, and the same of parts of it and of narrower questions.

    `own_classes`: the answer is known to be one of the labels that occur. `four_classes`: clips of `FOUR_CLASSES`
    only, and the answer is known to be one of them; None where there are no such clips. `by`: seven-way figures of
    the speakers of each sex and age group, as far as they are known.
    """
    four = [EMOTIONS.index(name) for name in FOUR_CLASSES]
    rows = np.flatnonzero(np.isin(labels, four))
    names = np.array(speakers)
    return {
        **figures(probabilities, labels, speakers),
        "own_classes": figures(restricted(probabilities, np.unique(labels).tolist()), labels, speakers),
        "four_classes": (
            figures(restricted(probabilities[rows], four), labels[rows], names[rows].tolist())
            if len(rows)
            else None
        ),
        "by": {
            trait: {
                group: figures(probabilities[members], labels[members], names[members].tolist())
                for group, members in _groups(speakers, traits, trait).items()
            }
            for trait in Traits._fields
        },
    }


def _groups(speakers: Sequence[str], traits: Mapping[str, Traits], trait: str) -> dict[str, NDArray[np.intp]]:
    """Rows of the speakers of each sex or age group that is known of any."""
    groups = [getattr(traits[name], trait) if name in traits else None for name in speakers]
    return {
        group: np.flatnonzero([other == group for other in groups])
        for group in sorted({group for group in groups if group})
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=(__doc__ or "").splitlines()[0]
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", type=Path, help="CSV with file,corpus,speaker,emotion")
    add_official_options(source)
    parser.add_argument("--root", type=Path, help="what its file names are relative to; default: its folder")
    parser.add_argument("--model", type=Path, help="folder of the models; default: the shipped ones")
    parser.add_argument("--condition", default="clean", help="clean, telephone, mulaw, gsm, noise:DB, reverb")
    parser.add_argument(
        "--noise", type=Path, help="for noise:DB: folder of background recordings, or one with esc10/ in it"
    )
    parser.add_argument(
        "--rir", type=Path, help="for reverb: folder of impulse responses, or one with rir/ in it"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare the clips")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--predictions", type=Path, help="write one row per clip here (CSV)")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="draw confusion matrices and reliability diagrams here"
    )
    options = parser.parse_args(arguments)
    try:
        result = evaluate(options)
        text = json.dumps(result, indent=2)
        if options.json:
            options.json.write_text(text + "\n", encoding="utf-8")
    except (CallmoodError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line prints; writes the predictions and pictures that its options ask for."""
    clips, left_out = _read_clips(options)
    # Whatever cannot work is to be known before the clips are scored, which takes long.
    model = EmotionModel(options.model)
    condition = make_condition(
        options.condition, noise=options.noise, rir=options.rir, rate_hz=model.front_end.rate_hz
    )
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    probabilities, without_speech = score_clips(clips, model, condition, jobs=options.jobs)
    if options.predictions:
        _write_predictions(options.predictions, clips, probabilities)
    labels = label_indices(clips)
    corpora = np.array([clip.corpus for clip in clips])
    folders = [options.manifest.parent] if options.manifest else official_folders(options).values()
    traits = speaker_traits((clip.speaker for clip in clips), *folders)
    result: dict[str, Any] = {
        "manifest": options.manifest.name if options.manifest else None,
        "condition": options.condition,
        "left_out": left_out,
        "without_detectable_speech": without_speech,
        "corpora": {},
    }
    for corpus in np.unique(corpora):
        rows = np.flatnonzero(corpora == corpus)
        found = corpus_figures(
            probabilities[rows], labels[rows], [clips[row].speaker for row in rows], traits
        )
        result["corpora"][str(corpus)] = found
        if options.pictures:
            _draw(options, str(corpus), found, probabilities[rows], labels[rows])
    return result


def _read_clips(options: argparse.Namespace) -> tuple[list[Clip], dict[str, int]]:
    if options.manifest:
        return read_manifest(options.manifest, root=options.root)
    ((corpus, folder),) = official_folders(options).items()
    return read_official(corpus, folder)


def _write_predictions(path: Path, clips: Sequence[Clip], probabilities: Floats) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["file", "emotion", "predicted", *PROBABILITY_COLUMNS])
        for clip, row in zip(clips, probabilities, strict=True):
            writer.writerow(
                [clip.file, clip.emotion, EMOTIONS[int(row.argmax())], *(f"{p:.6f}" for p in row)]
            )


def _draw(
    options: argparse.Namespace,
    corpus: str,
    found: Mapping[str, Any],
    probabilities: Floats,
    labels: NDArray[np.int64],
) -> None:
    from training.pictures import confusion_picture, file_name, reliability_picture

    title = f"{corpus}, {options.condition}"
    confusion_picture(options.pictures / file_name("confusion", corpus), found["confusion"], title=title)
    reliability_picture(
        options.pictures / file_name("reliability", corpus), probabilities, labels, title=title
    )


if __name__ == "__main__":
    sys.exit(main())
