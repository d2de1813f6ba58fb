"""The emotion of a single utterance: a file, or samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from callmood.emotion.model import EmotionModel
from callmood.emotion.score import score_turns
from callmood.emotions import EMOTIONS
from callmood.errors import UsageError
from callmood.types import Audio, Floats, Leg, Recording, Turn


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What was heard in one utterance."""

    path: Path | None
    emotion: str | None
    """None where no speech was found."""
    confidence: float | None
    """Calibrated probability of `emotion`."""
    probabilities: Floats
    """Shape (7,), in the order of `callmood.emotions.EMOTIONS`; NaN where no speech was found."""
    duration_s: float
    speech_s: float
    """From the first to the last speech; what lies outside is not scored."""


def classify_file(path: Path, *, models: str | Path | None = None) -> Utterance:
    """The emotion of a file; raises `RecordingError` where it cannot be read."""
    from callmood.decode import decode

    model = _model(models)
    recording = Recording(call_id=path.name, legs=(Leg(path=path),), content_hash="")
    audio = decode(recording, rate_hz=model.front_end.rate_hz)
    return _utterance(audio, model, path)


def predict_utterance(samples: Floats, rate_hz: int, *, models: str | Path | None = None) -> Utterance:
    """See `callmood.predict`."""
    import soxr

    mono = np.asarray(samples, dtype=np.float32)
    mono = mono.mean(axis=0) if mono.ndim == 2 else mono
    if mono.ndim != 1 or not np.isfinite(mono).all():
        raise UsageError("samples must have shape (n,) or (channels, n) and hold finite numbers.")
    if rate_hz < 1000:
        raise UsageError(f"rate_hz is {rate_hz}; it must be 1000 or more.")
    model = _model(models)
    if rate_hz != model.front_end.rate_hz:
        mono = soxr.resample(mono, rate_hz, model.front_end.rate_hz, quality="HQ")
    audio = Audio(
        samples=np.asarray(mono, dtype=np.float32)[np.newaxis],
        rate_hz=model.front_end.rate_hz,
        source_rate_hz=rate_hz,
        source_channels=1,
        codec="samples",
    )
    return _utterance(audio, model, None)


def _utterance(audio: Audio, model: EmotionModel, path: Path | None) -> Utterance:
    from callmood.diarize.vad import speech_regions

    mono = audio.samples.mean(axis=0)
    regions = speech_regions(mono, rate_hz=audio.rate_hz)
    if len(regions) == 0:
        return Utterance(
            path=path,
            emotion=None,
            confidence=None,
            probabilities=np.full(len(EMOTIONS), np.nan, dtype=np.float32),
            duration_s=audio.duration_s,
            speech_s=0.0,
        )
    # One turn from the first to the last speech; widened where it is too short to be scored.
    start_s, end_s = float(regions[0][0]), float(regions[-1][1])
    frames = model.front_end.mfcc(mono)
    turn = Turn(speaker="S1", channel=0, start_s=start_s, end_s=max(end_s, start_s + 0.5))
    probabilities = score_turns([turn], {0: frames}, model, wanted=lambda _: True).turns[0]
    best = int(probabilities.argmax())
    return Utterance(
        path=path,
        emotion=EMOTIONS[best],
        confidence=float(probabilities[best]),
        probabilities=probabilities,
        duration_s=audio.duration_s,
        speech_s=end_s - start_s,
    )


@lru_cache(maxsize=2)
def _model(models: str | Path | None) -> EmotionModel:
    return EmotionModel(models)
