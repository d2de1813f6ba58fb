"""Calls of two minutes to measure speed on: conversations of real people, each call begun elsewhere and at another level."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from callmood.types import Floats

CALL_S = 120
RATE_HZ = 8000
SHARED = Path(__file__).resolve().parents[2] / "shared"
KEPT_OUT = Path(__file__).with_name("kept_out")
"""Voice networks trained like those that ship, but without the speakers `training.speaker.HELD_OUT`."""
EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "calls"
_EXAMPLES = ("billing-0417.wav", "delivery-0418.wav")


def conversation(shared: Path) -> Floats:
    """Both sides of a conversation of more than 100 s at 8 kHz, shape (2, n).

    The legs of a role-played call in the folder `shared` or, where there are none, the two-channel examples one after
    the other.
    """
    from callmood.decode import decode_file

    legs = [shared / "calls" / f"Auto_Repairs_40_UTC_{leg}.wav" for leg in ("agent", "caller")]
    if all(leg.is_file() for leg in legs):
        return np.concatenate([decode_file(leg, rate_hz=RATE_HZ).samples for leg in legs])
    examples = [decode_file(EXAMPLES / name, rate_hz=RATE_HZ).samples for name in _EXAMPLES]
    return np.concatenate(examples, axis=1)


def make_calls(
    folder: Path, *, count: int, channels: int, shared: Path = SHARED, call_s: int = CALL_S
) -> None:
    """Write `count` recordings of `call_s` seconds, PCM at 8 kHz, no two with the same content."""
    import soundfile

    folder.mkdir(parents=True)
    both = conversation(shared)
    spoken = both if channels == 2 else both.mean(axis=0, keepdims=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        start = int(rng.integers(spoken.shape[1]))
        piece = np.take(spoken, np.arange(start, start + call_s * RATE_HZ), axis=1, mode="wrap")
        path = folder / f"{number:04}.wav"
        soundfile.write(path, piece.T * rng.uniform(0.5, 1.0), RATE_HZ, subtype="PCM_16")
