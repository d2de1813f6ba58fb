"""How fast the components are on one core: `python -m benchmarks.emotion [--models FOLDER]`.

Ten minutes of noise, for the network as turns of 5 s with a window every half second, as `callmood analyze` scores them;
what the sound is does not matter to the time it takes. MFCC and voice activity hear all of it at once, MFCC also turns
of half a second, one after another, and beside them is librosa with the same parameters. Prints seconds of audio for
each second of processor time, of all threads. The network heard all shapes before: the first time, it is compiled.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

from callmood.threads import one_thread

# Before numpy is loaded, as in workers.
os.environ.update(one_thread(), TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

import numpy as np

from benchmarks.librosa_mfcc import librosa_mfcc

TURN_S = 5.0
TURNS = 120
SHORT_S = 0.5
REPEATS = 3


def times_real_time(run: Callable[[], object]) -> float:
    """Seconds of audio for each second of processor time, the best of `REPEATS`."""
    spent_s = []
    for _ in range(REPEATS):
        before_s = time.process_time()
        run()
        spent_s.append(time.process_time() - before_s)
    return TURN_S * TURNS / min(spent_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emotion", description=__doc__)
    parser.add_argument("--models", help="default: the ones that callmood ships")
    options = parser.parse_args(arguments)

    from callmood.diarize.vad import speech_probability
    from callmood.emotion.model import EmotionModel
    from callmood.emotion.score import HOP_S, WINDOW_S
    from callmood.features import normalize

    model = EmotionModel(options.models)
    front_end = model.front_end
    samples = (
        np.random.default_rng(0).normal(0, 0.1, int(TURN_S * TURNS) * front_end.rate_hz).astype(np.float32)
    )
    mfcc = front_end.mfcc(samples)
    length = round(TURN_S * front_end.frames_per_s)
    turns = [normalize(mfcc[first : first + length], mfcc) for first in range(0, length * TURNS, length)]
    starts = np.arange(0, TURN_S - WINDOW_S + HOP_S / 2, HOP_S) * front_end.frames_per_s
    windows = np.column_stack([starts, starts + WINDOW_S * front_end.frames_per_s])
    spans = np.concatenate([[[0, length]], windows]).astype(np.int64)

    short = samples.reshape(-1, round(SHORT_S * front_end.rate_hz))
    for name, heard in (("all at once", [samples]), (f"turns of {SHORT_S} s", list(short))):
        speeds = [
            times_real_time(lambda each=each, heard=heard: [each(part) for part in heard])
            for each in (front_end.mfcc, partial(librosa_mfcc, front_end=front_end))
        ]
        ratio = speeds[0] / speeds[1]
        print(f"MFCC, {name}: {speeds[0]:,.0f} times real time; librosa {speeds[1]:,.0f}, ratio {ratio:.1f}")
    heard = times_real_time(lambda: speech_probability(samples))
    print(f"voice activity: {heard:,.0f} times real time per channel")
    model.probabilities(turns, [spans] * TURNS)
    network = times_real_time(lambda: model.probabilities(turns, [spans] * TURNS))
    print(f"network, turns and windows: {network:,.0f} times real time")


if __name__ == "__main__":
    main()
