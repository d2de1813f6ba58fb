"""Train the speaker model of the built-in diarizer: `python -m training.speaker CORPORA MODELS [CORPUS ...]`.

A universal background model (64 diagonal Gaussians over `speech_frames`) and an LDA of the shifts of its
means, over the speakers of the corpora: emotion, words and telephone line vary within a speaker, so they
are what the projection learns to ignore. About three minutes of one core; seeded, repeatable but for rounding.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.builtin import SpeakerModel, posteriors, speech_frames, supervector
from callmood.diarize.vad import RATE_HZ
from callmood.model_files import SPEAKER
from callmood.types import Floats
from training.export import licence, record

CORPORA = ("crema-d", "ravdess", "savee", "tess")
HELD_OUT = frozenset(
    {f"ravdess/{actor}" for actor in (17, 18, 19, 20)}
    | {f"crema-d/{actor}" for actor in (1083, 1084, 1085, 1086, 1087, 1089, 1090, 1091)}
)
"""Speakers kept out of the training, for `benchmarks/diarization.py`."""

GAUSSIANS = 64
DIMENSIONS = 48
SHRINKAGE = 2.0
"""Of the within-speaker covariance towards its mean variance; chosen on the held-out speakers."""
WINDOW = 150
WINDOW_HOP = 75
TAKES = 2
"""Telephone lines that each clip is sent through."""


def clips(folder: Path, corpora: Sequence[str]) -> Iterator[tuple[str, Floats]]:
    """Speaker and trimmed 8 kHz speech of each clip of the training speakers of `corpora`, in `folder`.

    Of TESS, which has 2,800 clips by two speakers, every sixth.
    """
    for corpus in corpora:
        with (folder / f"{corpus}.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["speaker"] not in HELD_OUT]
        for row in rows[:: 6 if corpus == "tess" else 1]:
            samples = read_speech(folder / row["file"])
            # Half a second at least, and not the clip of CREMA-D that is silent.
            if len(samples) >= RATE_HZ // 2 and np.abs(samples).max() > 1e-3:
                yield row["speaker"], samples


def read_speech(path: Path) -> Floats:
    """A clip at 8 kHz, shape (n,), from the first to the last of its `loud_parts`."""
    import soundfile
    import soxr

    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    samples = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    parts = loud_parts(samples)
    trimmed: Floats = samples[parts[0, 0] : parts[-1, 1]]
    return trimmed


def loud_parts(samples: Floats) -> NDArray[np.int64]:
    """Where the telephone band is less than 25 dB below its loudest 64 ms: (n, 2), samples at 8 kHz.

    Only that band, because many clips of CREMA-D begin and end with a second of a rumbling room.
    """
    import librosa
    from scipy import signal

    band = signal.butter(4, [300, 3400], "bandpass", fs=RATE_HZ, output="sos")
    heard = signal.sosfilt(band, samples)
    parts: NDArray[np.int64] = librosa.effects.split(heard, top_db=25, frame_length=512, hop_length=128)
    return parts


def telephone(samples: Floats, rng: np.random.Generator) -> Floats:
    """The speech as a random telephone line delivers it: band, tilt, level, noise and codec."""
    import soundfile
    from scipy import signal

    band_hz = [rng.uniform(50, 300), rng.uniform(3300, 3800)]
    line = signal.sosfilt(signal.butter(4, band_hz, "bandpass", fs=RATE_HZ, output="sos"), samples)
    line = signal.lfilter([1.0, rng.uniform(-0.4, 0.4)], [1.0], line)
    line = line / np.abs(line).max() * rng.uniform(0.1, 0.8)
    noise = np.sqrt(np.mean(line**2)) * 10 ** (-rng.uniform(15, 40) / 20)
    line = line + rng.standard_normal(len(line)) * noise
    codec = rng.choice(["PCM_16", "ULAW", "GSM610"], p=[0.3, 0.5, 0.2])
    with io.BytesIO() as file:
        soundfile.write(file, line, RATE_HZ, format="WAV", subtype=codec)
        file.seek(0)
        coded: Floats = soundfile.read(file, dtype="float32")[0][: len(line)]
    return coded


def train(folder: Path, corpora: Sequence[str]) -> SpeakerModel:
    """The speaker model of the training speakers of `corpora`, in `folder`."""
    from scipy.linalg import eigh
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(1)
    speakers: list[str] = []
    utterances: list[Floats] = []
    for speaker, samples in clips(folder, corpora):
        for _ in range(TAKES):
            speakers.append(speaker)
            utterances.append(speech_frames(telephone(samples, rng)))

    sample = np.concatenate([frames[rng.integers(0, len(frames), 10)] for frames in utterances])
    mean, scale = sample.mean(axis=0), sample.std(axis=0)
    mixture = GaussianMixture(GAUSSIANS, covariance_type="diag", max_iter=60, random_state=0)
    mixture.fit((sample[::2] - mean) / scale)
    background = SpeakerModel(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        weights=mixture.weights_.astype(np.float32),
        centers=mixture.means_.astype(np.float32),
        variances=mixture.covariances_.astype(np.float32),
        projection=np.zeros((0, 0), dtype=np.float32),
    )

    shifts, labels = [], []
    for speaker, frames in zip(speakers, utterances, strict=True):
        scaled = (frames - background.mean) / background.scale
        posterior = posteriors(scaled, background)
        for first in range(0, max(len(scaled) - WINDOW, 0) + 1, WINDOW_HOP):
            window = slice(first, first + WINDOW)
            shifts.append(supervector(scaled[window], posterior[window], background))
            labels.append(speaker)
    x = np.array(shifts)
    names, y = np.unique(labels, return_inverse=True)
    centers = np.array([x[y == k].mean(axis=0) for k in range(len(names))])
    x -= centers[y]
    within = (x.T @ x / len(x)).astype(np.float64)
    within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    between = np.cov(centers.T)
    top = [len(within) - DIMENSIONS, len(within) - 1]
    ratio, axes = eigh(between, within, subset_by_index=top)
    # Axes come with within-speaker variance one; those that tell speakers apart poorly count for less.
    projection = (axes * np.sqrt(ratio / (1 + ratio)))[:, ::-1]
    return SpeakerModel(
        mean=background.mean,
        scale=background.scale,
        weights=background.weights,
        centers=background.centers,
        variances=background.variances,
        projection=projection.astype(np.float32),
    )


def main() -> None:
    """Train from the folder of corpora given first into the folder of models given second, and record it there.

    Corpora named after them (default: all) are those that it learns from.
    """
    folder, models = map(Path, sys.argv[1:3])
    corpora = sys.argv[3:] or CORPORA
    (models / SPEAKER).parent.mkdir(parents=True, exist_ok=True)
    np.savez(models / SPEAKER, allow_pickle=False, **vars(train(folder, corpora)))
    record(models, {SPEAKER: licence(corpora)})


if __name__ == "__main__":
    main()
