"""The emotion of a single utterance: a file, or samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from callmood.emotion.model import EmotionModel
from callmood.emotion.score import MARGIN_S
from callmood.emotions import EMOTIONS
from callmood.errors import UsageError
from callmood.features import FrontEnd, normalize
from callmood.types import Audio, Floats


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
    from callmood.decode import decode_file

    model = _model(models)
    return _utterance(decode_file(path, rate_hz=model.front_end.rate_hz), model, path)


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


def speech_stretch(mono: Floats, probability: Floats, front_end: FrontEnd) -> tuple[Floats, float] | None:
    """What the network hears of one utterance: normalised MFCC from the first to the last speech, with a margin.

    `probability` is of `callmood.diarize.vad.speech_probability`. Returns the frames, shape (frames, 2 * n_mfcc), and
    the length of the speech in seconds; None where there is none.
    """
    from callmood.diarize.vad import speech_regions

    regions = speech_regions(probability, duration_s=len(mono) / front_end.rate_hz)
    if len(regions) == 0:
        return None
    start_s, end_s = float(regions[0, 0]), float(regions[-1, 1])
    first, last = front_end.frame_span(max(0.0, start_s - MARGIN_S), end_s + MARGIN_S)
    frames = front_end.mfcc(mono)[first : max(last, first + 1)]
    return normalize(frames, frames), end_s - start_s


def _utterance(audio: Audio, model: EmotionModel, path: Path | None) -> Utterance:
    from callmood.diarize.vad import speech_probability

    probabilities = np.full(len(EMOTIONS), np.nan, dtype=np.float32)
    mono = audio.samples.mean(axis=0)
    heard = speech_stretch(mono, speech_probability(mono), model.front_end)
    if heard is not None:
        frames, _ = heard
        probabilities = model.probabilities([frames], [np.array([[0, len(frames)]])])[0][0]
    best = None if heard is None else int(probabilities.argmax())
    return Utterance(
        path=path,
        emotion=None if best is None else EMOTIONS[best],
        confidence=None if best is None else float(probabilities[best]),
        probabilities=probabilities,
        duration_s=audio.duration_s,
        speech_s=0.0 if heard is None else heard[1],
    )


@lru_cache(maxsize=2)
def _model(models: str | Path | None) -> EmotionModel:
    return EmotionModel(models)
