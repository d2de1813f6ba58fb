"""Voice activity step by step, for many channels side by side: Silero's network, which looks at the past alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from callmood.diarize.vad import CONTEXT, RATE_HZ, STEP, silero
from callmood.types import Floats


@dataclass
class Listening:
    """What the network remembers of one channel."""

    state: Floats = field(default_factory=lambda: np.zeros((2, 128), dtype=np.float32))
    before: Floats = field(default_factory=lambda: np.zeros(CONTEXT, dtype=np.float32))


def step(channels: Sequence[Listening], samples: Sequence[Floats]) -> list[Floats]:
    """Probability of speech for each 32 ms of the next samples of several channels.

    Each of `samples` has shape (n,), float32 in [-1, 1] at 8 kHz, n a multiple of `STEP`, which need not be the same
    for all; it gets a result of shape (n / STEP,). Digital silence is 0 without asking the network.
    """
    steps = [part.reshape(-1, STEP) for part in samples]
    found = [np.zeros(len(part), dtype=np.float32) for part in steps]
    sounding = [np.any(part != 0.0, axis=1) for part in steps]
    session, rate_hz = silero(), np.array(RATE_HZ, dtype=np.int64)
    for index in range(max((len(part) for part in steps), default=0)):
        rows = [row for row, sounds in enumerate(sounding) if index < len(sounds) and sounds[index]]
        if not rows:
            continue
        heard = np.stack([np.concatenate((channels[row].before, steps[row][index])) for row in rows])
        state = np.stack([channels[row].state for row in rows], axis=1)
        output, state = session.run(None, {"input": heard, "state": state, "sr": rate_hz})
        for place, row in enumerate(rows):
            found[row][index] = output[place, 0]
            channels[row].state = state[:, place]
            channels[row].before = heard[place, STEP:]
    return found
