"""Evaluation conditions: what is done to clean clips before they are scored, on recordings unseen in training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from callmood.errors import UsageError
from callmood.types import Floats
from training.acoustics import read_noises, read_rooms
from training.augment import add_noise, band_limit, encode, reverberate

Condition = Callable[[Floats, str], Floats]
"""Samples, shape (n,), and the clip's name (which seeds what is random) to samples."""


def make_condition(name: str, *, noise: Path | None, rir: Path | None, rate_hz: int) -> Condition:
    """`clean`, `telephone` (300-3400 Hz), `mulaw` and `gsm` (telephone and codec), `noise:DB` or `reverb`.

    Raises
    ------
    UsageError
        An unknown name, or noise or impulse responses that the condition needs are missing.
    """

    def telephone(samples: Floats, _: str) -> Floats:
        return band_limit(samples, low_hz=300, high_hz=3400, rate_hz=rate_hz)

    def codec(subtype: str) -> Condition:
        return lambda samples, clip: encode(telephone(samples, clip), subtype=subtype, rate_hz=rate_hz)

    if name.startswith("noise:"):
        try:
            snr_db = float(name.removeprefix("noise:"))
        except ValueError as error:
            raise UsageError(f"--condition {name}: write noise:DB, such as noise:10.") from error
        noises = read_noises(noise, rate_hz=rate_hz)
        return lambda samples, clip: add_noise(
            samples,
            noises[_draw(clip, len(noises))],
            snr_db=snr_db,
            rng=np.random.default_rng(_draw(clip, 2**32)),
        )
    if name == "reverb":
        rooms = read_rooms(rir, rate_hz=rate_hz)
        return lambda samples, clip: reverberate(samples, rooms[_draw(clip, len(rooms))])
    simple: dict[str, Condition] = {
        "clean": lambda samples, _: samples,
        "telephone": telephone,
        "mulaw": codec("ULAW"),
        "gsm": codec("GSM610"),
    }
    if name not in simple:
        raise UsageError(f"--condition {name}: choose {', '.join(simple)}, noise:DB or reverb.")
    return simple[name]


def _draw(clip: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8], "big") % below
