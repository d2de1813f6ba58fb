"""Whether the confidence in a call's turns can be trusted: `python -m benchmarks.turn_confidence SHARED`.

Scripted mono calls as in `benchmarks.diarization`, of 12, 24 or 48 utterances, and calls of `benchmarks.scripted` over
noisy lines (noise and rooms of evaluation), between pairs of speakers that took no part in training the voice networks here. Of each tenth of a second in
which the reference has one speaker, builtin's label is right or wrong; a call is bad where more than a tenth of them
are wrong. Printed: how well the confidence of a call tells bad calls from others (area under the ROC curve), and
what share was right of what it said, by call and by tenth of a second.

Also printed: in how many of these calls, and of recordings of one of the speakers alone, the engine would find the right
number of speakers by itself.

`--development` asks calls of RAVDESS 1 to 16 instead, whom the commercial set's own network
(`benchmarks/kept_out/commercial`) never heard, and fits the constants of the confidence to them: logistic regression on every tenth of a second,
each call with the same weight.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from benchmarks.calls import KEPT_OUT
from benchmarks.diarization import _scripted, scripted_calls, voices
from benchmarks.scripted import render, scripts, true_turns
from callmood.diarize import builtin
from callmood.diarize.builtin import Floats64, Parted
from callmood.diarize.ears import HOP_S, Ears, Heard, Ints, steps_of, stretches_of
from callmood.diarize.turns import Regions
from callmood.diarize.vad import RATE_HZ, speech_in_calls
from callmood.model_files import COMMERCIAL
from callmood.types import Floats, Turn
from training.acoustics import read_noises, read_rooms
from training.augment import Acoustics
from training.speaker import HELD_OUT

UNHEARD_BY_COMMERCIAL = frozenset(f"ravdess/{actor:02d}" for actor in range(1, 17))
UTTERANCES = (12, 24, 48)
NOISY_CALLS = 60
BAD = 0.1
"""Least share of a bad call's speech that bears the wrong label."""
BOUNDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A call, tenth of a second by tenth of a second of what one speaker says."""

    parted: Parted
    scored: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Of the path, shape (n,): in which of it the reference has one speaker."""
    right: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Of those."""
    found: int
    """Speakers, where their number is to be found."""

    @property
    def wrong(self) -> float:
        return 1.0 - float(self.right.mean())


def main() -> None:
    """Print the tables for the data folder given."""
    from sklearn.metrics import roc_auc_score

    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_confidence")
    parser.add_argument("shared", type=Path)
    parser.add_argument(
        "--models",
        type=Path,
        help="folder of the models; default: benchmarks/kept_out, and with --development its commercial set",
    )
    parser.add_argument(
        "--development", action="store_true", help="fit the constants to calls of RAVDESS 1 to 16"
    )
    options = parser.parse_args()
    speakers = UNHEARD_BY_COMMERCIAL if options.development else HELD_OUT
    ears = Ears(options.models or (KEPT_OUT / COMMERCIAL if options.development else KEPT_OUT))
    judged = [
        one
        for samples, reference in recordings(options.shared, speakers)
        if (one := judge(samples, reference, ears)) is not None
    ]
    of_one = [
        builtin.speakers_of(_embedded(samples, ears)[1], None) for samples in alone(options.shared, speakers)
    ]
    right = sum(one.path.max() == 0 for one in of_one)
    two = sum(one.found == 2 for one in judged)
    print(
        f"number of speakers found: two in {two} of {len(judged)} calls, one in {right} of {len(of_one)} recordings"
    )
    constants = builtin._CONFIDENCE
    if options.development:
        constants = fit(judged)
        print("constants:", ", ".join(f"{value:.2f}" for value in constants))
    sure = [_confidence(one.parted, constants) for one in judged]
    said = np.array([one.mean() for one in sure])
    wrong = np.array([one.wrong for one in judged])
    area = roc_auc_score(wrong > BAD, -said)
    print(f"{len(judged)} calls, {(wrong > BAD).sum()} of them bad; area under the ROC curve {area:.3f}")
    print("| said | calls | mean | right | bad calls | tenths of a second | mean | right |")
    print("|---|---|---|---|---|---|---|---|")
    steps = np.concatenate([one[call.scored] for one, call in zip(sure, judged, strict=True)])
    right_steps = np.concatenate([call.right for call in judged])
    for low, high in pairwise(BOUNDS):
        calls = (said >= low) & (said < high)
        own = (steps >= low) & (steps < high)
        cells = [
            f"{calls.sum()}",
            _mean(said[calls]),
            _mean(1 - wrong[calls]),
            f"{(wrong[calls] > BAD).sum()}",
        ]
        cells += [f"{100 * own.mean():.0f} %", _mean(steps[own]), _mean(right_steps[own])]
        print(f"| {low:g} to {high:g} | {' | '.join(cells)} |")


def recordings(shared: Path, speakers: frozenset[str]) -> Iterator[tuple[Floats, Sequence[Turn]]]:
    """Mono calls, shape (n,), and their references."""
    for utterances in UTTERANCES:
        found = scripted_calls(
            shared, speakers, one_sex=20, mixed=20, utterances=utterances, first_seed=1000 * utterances
        )
        for call in found:
            yield call.samples[0], call.reference
    rows, sex = voices(shared, speakers)
    acoustics = Acoustics(
        noises=tuple(read_noises(shared / "noise", rate_hz=RATE_HZ)),
        rooms=tuple(read_rooms(shared / "noise" / "rir", rate_hz=RATE_HZ)),
    )
    clips = list(chain.from_iterable(rows.values()))
    for script in scripts(clips, sex, fold=0, count=NOISY_CALLS):
        samples = render(script, acoustics, levelled=False).samples
        yield samples.mean(axis=0), true_turns(script, channels=1)


def judge(samples: Floats, reference: Sequence[Turn], ears: Ears) -> Judged | None:
    """None where the engine finds no two speakers."""
    stretches, heard = _embedded(samples, ears)
    parted = builtin.speakers_of(heard, 2)
    if parted.path.max() == 0:
        return None
    truth = _truth(stretches, reference)
    scored = truth >= 0
    same = parted.path[scored] == truth[scored]
    found = int(builtin.speakers_of(heard, None).path.max()) + 1
    return Judged(parted=parted, scored=scored, right=same if same.mean() >= 0.5 else ~same, found=found)


def _embedded(samples: Floats, ears: Ears) -> tuple[Regions, Heard]:
    (regions,) = speech_in_calls([samples])
    stretches = stretches_of(regions)
    return stretches, ears.embed(samples, stretches)


def alone(shared: Path, speakers: frozenset[str]) -> Iterator[Floats]:
    """Recordings of one speaker each, whose emotion changes at every utterance: shape (n,)."""
    rows, _ = voices(shared, speakers)
    for seed, speaker in enumerate(2 * sorted(rows)):
        yield _scripted(rows[speaker], rows[speaker], seed=seed)[0][0]


def _truth(stretches: Regions, reference: Sequence[Turn]) -> Ints:
    """Number of the one speaker of each step, -1 where there is none or more than one."""
    at_s = np.concatenate(
        [
            start_s + (np.arange(steps_of(np.array([start_s, end_s]))) + 0.5) * HOP_S
            for start_s, end_s in stretches
        ]
    )
    spoken = np.array(
        [
            np.any(
                [
                    (at_s >= turn.start_s) & (at_s < turn.end_s)
                    for turn in reference
                    if turn.speaker == speaker
                ],
                axis=0,
            )
            for speaker in sorted({turn.speaker for turn in reference})
        ]
    )
    return np.where(spoken.sum(axis=0) == 1, spoken.argmax(axis=0), -1)


def fit(judged: Sequence[Judged]) -> tuple[float, float, float]:
    """The constants that make what happened likeliest."""
    from scipy.optimize import minimize

    evidence = np.concatenate([_evidence(one.parted)[one.scored] for one in judged])
    right = np.concatenate([one.right for one in judged])
    weight = np.concatenate([np.full(len(one.right), 1.0 / len(one.right)) for one in judged])

    def loss(constants: Floats64) -> float:
        odds = evidence @ constants
        return float(np.sum(weight * (np.logaddexp(0.0, odds) - right * odds)))

    offset, per_cosine, per_nat = minimize(loss, np.zeros(3)).x
    return float(offset), float(per_cosine), float(per_nat)


def _evidence(parted: Parted) -> Floats64:
    steps = len(parted.path)
    return np.column_stack((np.ones(steps), parted.nearer, np.full(steps, parted.agreement)))


def _confidence(parted: Parted, constants: Sequence[float]) -> Floats64:
    return np.asarray(1.0 / (1.0 + np.exp(-_evidence(parted) @ np.asarray(constants))))


def _mean(values: Floats64) -> str:
    return f"{values.mean():.3f}" if len(values) else ""


if __name__ == "__main__":
    main()
