"""Changes of emotion inside one utterance: `python -m training.transitions --help`.

Two clips of one held-out speaker with different emotions are joined, without what is silent at the joint, and the
network hears them as one utterance. Simulated: real changes are gradual and within one sentence.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.vad import speech_probabilities, speech_regions
from callmood.emotion.model import EmotionModel
from callmood.emotions import EMOTIONS
from callmood.errors import UsageError
from callmood.features import FrontEnd, normalize
from callmood.metrics import interval_95
from callmood.types import Floats
from training.corpora import Clip, add_corpus_options, clips_from_options, load_clip
from training.crossval import Run

log = logging.getLogger("training")

WINDOW_S = 1.0
HOP_S = 0.1
GAP_S = 0.1
"""Silence left on either side of the joint."""


def draw_pairs(
    clips: Sequence[Clip], members: NDArray[np.int64], *, per_speaker: int, seed: int
) -> list[tuple[Clip, Clip]]:
    """Pairs of clips of one speaker with different emotions, of each speaker who has such."""
    rng = np.random.default_rng(seed)
    pairs = []
    by_speaker: dict[str, list[Clip]] = {}
    for index in members.tolist():
        by_speaker.setdefault(clips[index].speaker, []).append(clips[index])
    for speaker in sorted(by_speaker):
        own = by_speaker[speaker]
        if len({clip.emotion for clip in own}) < 2:
            continue
        for _ in range(per_speaker):
            first = own[int(rng.integers(len(own)))]
            others = [clip for clip in own if clip.emotion != first.emotion]
            pairs.append((first, others[int(rng.integers(len(others)))]))
    return pairs


def speech_of(clips: Sequence[Clip], *, rate_hz: int) -> list[Floats]:
    """Samples of each clip from its first to its last speech, with `GAP_S` around it."""
    sounds = [load_clip(clip, rate_hz=rate_hz) for clip in clips]
    trimmed = []
    for samples, probability in zip(sounds, speech_probabilities(sounds), strict=True):
        regions = speech_regions(probability, duration_s=len(samples) / rate_hz)
        start_s, end_s = (regions[0, 0], regions[-1, 1]) if len(regions) else (0.0, len(samples) / rate_hz)
        trimmed.append(samples[int(max(0.0, start_s - GAP_S) * rate_hz) : int((end_s + GAP_S) * rate_hz)])
    return trimmed


def window_spans(n_frames: int, front_end: FrontEnd) -> NDArray[np.int64]:
    """Windows centred every `HOP_S`, cut at the ends of the utterance; shape (n, 2), in frames."""
    rate = front_end.frames_per_s
    centres = np.arange(HOP_S / 2 * rate, n_frames, HOP_S * rate)
    half = WINDOW_S / 2 * rate
    return np.column_stack([np.maximum(centres - half, 0), np.minimum(centres + half, n_frames)]).astype(
        np.int64
    )


def best_boundary(log_probability: Floats) -> int:
    """The most likely number of windows before the change: two different emotions, one after the other.

    `log_probability` has the shape (n, 7); the score of a boundary is the sum of the log probabilities of the best
    emotion before it and the best other emotion after it.
    """
    before = np.cumsum(log_probability, axis=0)[:-1]
    after = log_probability.sum(axis=0) - before
    scores = before[:, :, None] + after[:, None, :]
    scores[:, np.arange(len(EMOTIONS)), np.arange(len(EMOTIONS))] = -np.inf
    return int(scores.max(axis=(1, 2)).argmax()) + 1


def score_pairs(pairs: Sequence[tuple[Clip, Clip]], model: EmotionModel) -> tuple[Floats, Floats]:
    """For each pair: the error of the boundary in seconds, and the share of its windows whose most probable emotion is
    wrong (as the emotion diarization error rate of Wang et al. 2023, all of it being speech)."""
    front_end = model.front_end
    rate_hz = front_end.rate_hz
    sounds = speech_of([clip for pair in pairs for clip in pair], rate_hz=rate_hz)
    boundaries_s = [len(first) / rate_hz for first in sounds[::2]]
    stretches = []
    for first, second in zip(sounds[::2], sounds[1::2], strict=True):
        frames = front_end.mfcc(np.concatenate([first, second]))
        stretches.append(normalize(frames, frames))
    spans = [window_spans(len(frames), front_end) for frames in stretches]
    errors_s, wrong = [], []
    for pair, boundary_s, probabilities in zip(
        pairs, boundaries_s, model.probabilities(stretches, spans), strict=True
    ):
        centre_s = HOP_S / 2 + HOP_S * np.arange(len(probabilities))
        truth = np.where(centre_s < boundary_s, *(EMOTIONS.index(clip.emotion) for clip in pair))
        wrong.append(float(np.mean(probabilities.argmax(axis=1) != truth)))
        found_s = best_boundary(np.log(probabilities + 1e-9)) * HOP_S
        errors_s.append(abs(found_s - boundary_s))
    return np.array(errors_s, dtype=np.float32), np.array(wrong, dtype=np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.transitions", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs of training.train --hold-out")
    parser.add_argument("--per-speaker", type=int, default=20, help="pairs of each held-out speaker")
    parser.add_argument("--json", type=Path, required=True, help="write the figures here")
    add_corpus_options(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        clips = clips_from_options(options)
        runs = [Run.read(folder, clips) for folder in options.runs]
    except (UsageError, OSError) as error:
        parser.error(str(error))
    pairs: list[tuple[Clip, Clip]] = []
    errors_s, wrong = [], []
    for run in runs:
        own = draw_pairs(clips, run.held_out, per_speaker=options.per_speaker, seed=0)
        found = score_pairs(own, EmotionModel(run.folder / "models"))
        pairs += own
        errors_s.append(found[0])
        wrong.append(found[1])
        log.info("%s: %d pairs, median error %.2f s", run.folder, len(own), float(np.median(found[0])))
    result = corpus_results(pairs, np.concatenate(errors_s), np.concatenate(wrong))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def corpus_results(pairs: Sequence[tuple[Clip, Clip]], errors_s: Floats, wrong: Floats) -> dict[str, Any]:
    """Figures per corpus, with 95 % intervals of a bootstrap over speakers."""
    corpora = np.array([first.corpus for first, _ in pairs])
    speakers = np.array([first.speaker for first, _ in pairs])

    def point(rows: NDArray[np.intp]) -> dict[str, float]:
        return {
            "boundary_error_median_s": float(np.median(errors_s[rows])),
            "boundary_within_half_a_second": float(np.mean(errors_s[rows] <= 0.5)),
            "emotion_diarization_error": float(np.mean(wrong[rows])),
        }

    def at(own: NDArray[np.intp], rows: NDArray[np.intp]) -> dict[str, float]:
        return point(own[rows])

    found: dict[str, Any] = {}
    for corpus in np.unique(corpora):
        own = np.flatnonzero(corpora == corpus)
        found[str(corpus)] = {
            "pairs": len(own),
            "speakers": len(np.unique(speakers[own])),
            **point(own),
            "interval_95": interval_95(partial(at, own), speakers[own].tolist()),
        }
    return {"window_s": WINDOW_S, "hop_s": HOP_S, "corpora": found}


if __name__ == "__main__":
    main()
