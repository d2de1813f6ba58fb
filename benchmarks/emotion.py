"""How fast the emotion model is on one core: `python -m benchmarks.emotion [--models FOLDER]`.

Ten minutes of noise as turns of 5 s with a window every half second, as `callmood analyze` scores them; what the sound
is does not matter to the time it takes. Prints seconds of audio for each second of processor time, of all threads.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

import numpy as np

TURN_S = 5.0
TURNS = 120
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
    os.environ.update(OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

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

    print(f"MFCC: {times_real_time(lambda: front_end.mfcc(samples)):,.0f} times real time")
    model.probabilities(turns, [spans] * TURNS)
    network = times_real_time(lambda: model.probabilities(turns, [spans] * TURNS))
    print(f"network, turns and windows: {network:,.0f} times real time")


if __name__ == "__main__":
    main()
