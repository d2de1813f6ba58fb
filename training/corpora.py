"""Corpora as lists of clips, their known faults, and speaker-independent folds."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from callmood.emotions import EMOTIONS
from callmood.types import Floats

CORPORA = ("crema-d", "ravdess", "tess", "savee")

SAME_AS = {"calm": "neutral"}
"""Labels of a corpus that count as one of the seven."""

FAULTS = {
    "1076_MTI_SAD_XX": "silent",
    "1013_WSI_SAD_XX": "same audio as 1013_WSI_DIS_XX",
    "1013_WSI_DIS_XX": "same audio as 1013_WSI_SAD_XX",
    "1017_IWW_ANG_XX": "same audio as 1017_IWW_FEA_XX",
    "1017_IWW_FEA_XX": "same audio as 1017_IWW_ANG_XX",
    "1006_TIE_HAP_XX": "same audio as 1006_TIE_NEU_XX",
    "1006_TIE_NEU_XX": "same audio as 1006_TIE_HAP_XX",
    "03-01-03-01-02-02-07": "same audio as 03-01-03-01-02-01-07",
}
"""Clips (by file stem) that are left out of training and evaluation, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One labelled utterance."""

    file: str
    """As in the manifest; unique."""
    path: Path
    corpus: str
    speaker: str
    emotion: str
    """One of the seven."""


def read_manifest(manifest: Path, *, root: Path | None = None) -> tuple[list[Clip], dict[str, int]]:
    """Clips of a manifest with the columns `file,corpus,speaker,emotion`, and counts of those left out.

    `file` is relative to `root` (default: the manifest's folder).
    """
    clips: list[Clip] = []
    left_out: dict[str, int] = {}
    with manifest.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            emotion = SAME_AS.get(row["emotion"], row["emotion"])
            reason = FAULTS.get(Path(row["file"]).stem)
            if emotion not in EMOTIONS:
                reason = f"label {emotion}"
            if reason:
                left_out[reason] = left_out.get(reason, 0) + 1
                continue
            clips.append(
                Clip(
                    file=row["file"],
                    path=(root or manifest.parent) / row["file"],
                    corpus=row["corpus"],
                    speaker=row["speaker"],
                    emotion=emotion,
                )
            )
    return clips, left_out


def load_clip(clip: Clip, *, rate_hz: int) -> Floats:
    """Samples of a clip, shape (n,), float32, mono, resampled to `rate_hz`."""
    import soundfile
    import soxr

    samples, source_rate_hz = soundfile.read(clip.path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return np.asarray(soxr.resample(mono, source_rate_hz, rate_hz, quality="HQ"), dtype=np.float32)


def speaker_folds(clips: Iterable[Clip], *, folds: int, seed: int) -> dict[str, int]:
    """Fold of each speaker: speakers of each corpus are shuffled and dealt in turn."""
    speakers: dict[str, set[str]] = {}
    for clip in clips:
        speakers.setdefault(clip.corpus, set()).add(clip.speaker)
    fold_of: dict[str, int] = {}
    for corpus in sorted(speakers):
        names = sorted(speakers[corpus])
        random.Random(f"{seed} {corpus}").shuffle(names)  # noqa: S311 - reproducible folds, not secrets
        fold_of.update({name: index % folds for index, name in enumerate(names)})
    return fold_of


def label_indices(clips: Sequence[Clip]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Index into `EMOTIONS` of each clip's label, shape (n,)."""
    return np.array([EMOTIONS.index(clip.emotion) for clip in clips], dtype=np.int64)
