"""Score any labelled manifest with a shipped model, as the product would: `python -m training.evaluate --help`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from callmood.emotion.model import EmotionModel
from callmood.emotion.utterance import speech_stretch
from callmood.emotions import EMOTIONS, PROBABILITY_COLUMNS
from callmood.errors import CallmoodError
from callmood.features import FrontEnd, normalize
from callmood.types import Floats
from training.conditions import Condition, make_condition
from training.corpora import Clip, label_indices, load_clip, read_manifest
from training.metrics import figures

_CHUNK = 200
"""Clips per task of a worker."""


def score_clips(
    clips: Sequence[Clip], model: EmotionModel, condition: Condition, *, jobs: int = 1
) -> tuple[Floats, int]:
    """Probabilities of each clip, shape (n, 7), and how many clips had no detectable speech.

    The latter are scored whole, since a labelled clip is known to hold speech.
    """
    import joblib

    chunks = [clips[start : start + _CHUNK] for start in range(0, len(clips), _CHUNK)]
    parts = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(_stretches)(chunk, model.front_end, condition) for chunk in chunks
    )
    heard = [stretch for part in parts for stretch in part]
    whole = [np.array([[0, len(frames)]]) for frames, _ in heard]
    rows = model.probabilities([frames for frames, _ in heard], whole)
    probabilities = np.concatenate([np.zeros((0, len(EMOTIONS)), dtype=np.float32), *rows])
    return probabilities, sum(not has_speech for _, has_speech in heard)


def _stretches(clips: Sequence[Clip], front_end: FrontEnd, condition: Condition) -> list[tuple[Floats, bool]]:
    """What the network hears of each clip, and whether speech was detected in it."""
    found: list[tuple[Floats, bool]] = []
    for clip in clips:
        samples = condition(load_clip(clip, rate_hz=front_end.rate_hz), clip.file)
        heard = speech_stretch(samples, front_end)
        if heard is None:
            frames = front_end.mfcc(samples)
            found.append((normalize(frames, frames), False))
        else:
            found.append((heard[0], True))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="CSV with file,corpus,speaker,emotion")
    parser.add_argument("--root", type=Path, help="what its file names are relative to; default: its folder")
    parser.add_argument("--model", type=Path, help="folder of the models; default: the shipped ones")
    parser.add_argument("--condition", default="clean", help="clean, telephone, mulaw, gsm, noise:DB, reverb")
    parser.add_argument("--noise", type=Path, help="folder with esc10/, for noise:DB")
    parser.add_argument("--rir", type=Path, help="folder with rir/, for reverb")
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare the clips")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--predictions", type=Path, help="write one row per clip here (CSV)")
    options = parser.parse_args(arguments)
    try:
        model = EmotionModel(options.model)
        condition = make_condition(
            options.condition, noise=options.noise, rir=options.rir, rate_hz=model.front_end.rate_hz
        )
        clips, left_out = read_manifest(options.manifest, root=options.root)
    except (CallmoodError, OSError, KeyError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    probabilities, without_speech = score_clips(clips, model, condition, jobs=options.jobs)
    labels = label_indices(clips)
    corpora = np.array([clip.corpus for clip in clips])
    result = {
        "manifest": options.manifest.name,
        "condition": options.condition,
        "left_out": left_out,
        "without_detectable_speech": without_speech,
        "corpora": {
            str(corpus): figures(
                probabilities[corpora == corpus],
                labels[corpora == corpus],
                [clip.speaker for clip in clips if clip.corpus == corpus],
            )
            for corpus in np.unique(corpora)
        },
    }
    if options.predictions:
        with options.predictions.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(["file", "emotion", "predicted", *PROBABILITY_COLUMNS])
            for clip, row in zip(clips, probabilities, strict=True):
                writer.writerow(
                    [clip.file, clip.emotion, EMOTIONS[int(row.argmax())], *(f"{p:.6f}" for p in row)]
                )
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
