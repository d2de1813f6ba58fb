"""The feature bank: MFCC of every clip, clean and through several random lines, computed once and cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from callmood.features import FrontEnd
from training.augment import Acoustics, draw_line, load_acoustics, pass_through
from training.corpora import Clip, load_clip

Half = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Bank:
    """MFCC of n clips in v versions; version 0 is the clip as it is.

    All utterances of one speaker in one version went through the same line, as in a call.
    """

    clips: tuple[Clip, ...]
    frames: tuple[tuple[Half, ...], ...]
    """frames[version][clip] has shape (frames, n_mfcc), float16."""

    @property
    def versions(self) -> int:
        return len(self.frames)


def _speaker_versions(
    clips: Sequence[Clip], *, front_end: FrontEnd, acoustics: Acoustics, versions: int, seed: int
) -> list[list[Half]]:
    """MFCC of one speaker's clips: one list over versions per clip."""
    lines = [
        draw_line(acoustics, _generator(seed, clips[0].speaker, version), rate_hz=front_end.rate_hz)
        for version in range(versions)
    ]
    rows = []
    for clip in clips:
        samples = load_clip(clip, rate_hz=front_end.rate_hz)
        row = [front_end.mfcc(samples)]
        for version in range(1, versions):
            rng = _generator(seed, clip.file, version)
            row.append(front_end.mfcc(pass_through(samples, lines[version], rng, rate_hz=front_end.rate_hz)))
        rows.append([frames.astype(np.float16) for frames in row])
    return rows


def _generator(seed: int, name: str, version: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{name}/{version}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def feature_bank(
    clips: Sequence[Clip],
    *,
    front_end: FrontEnd,
    noise: Path,
    versions: int,
    seed: int,
    cache: Path,
    jobs: int,
) -> Bank:
    """The bank of `clips`, from `cache` where it was computed before with the same parameters."""
    import joblib

    sources = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in _sources()}
    key = json.dumps(
        [[clip.file for clip in clips], asdict(front_end), versions, seed, sources], sort_keys=True
    )
    stored = cache / f"bank-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not stored.exists():
        by_speaker: dict[str, list[int]] = {}
        for index, clip in enumerate(clips):
            by_speaker.setdefault(clip.speaker, []).append(index)
        acoustics = load_acoustics(noise, rate_hz=front_end.rate_hz, evaluation=False)
        groups = [
            group[start : start + 100] for group in by_speaker.values() for start in range(0, len(group), 100)
        ]
        results = joblib.Parallel(n_jobs=jobs, verbose=1)(
            joblib.delayed(_speaker_versions)(
                [clips[index] for index in group],
                front_end=front_end,
                acoustics=acoustics,
                versions=versions,
                seed=seed,
            )
            for group in groups
        )
        rows: dict[int, list[Half]] = {}
        for group, result in zip(groups, results, strict=True):
            rows.update(zip(group, result, strict=True))
        arrays = {}
        for version in range(versions):
            per_clip = [rows[index][version] for index in range(len(clips))]
            arrays[f"lengths{version}"] = np.array([len(frames) for frames in per_clip])
            arrays[f"frames{version}"] = np.concatenate(per_clip)
        cache.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".partial.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.replace(stored)
    with np.load(stored, allow_pickle=False) as arrays:
        frames = tuple(
            tuple(np.split(arrays[f"frames{version}"], np.cumsum(arrays[f"lengths{version}"])[:-1]))
            for version in range(versions)
        )
    return Bank(clips=tuple(clips), frames=frames)


def _sources() -> list[Path]:
    """The code that decides what a bank holds."""
    from callmood.features import mfcc
    from training import augment

    return [Path(str(mfcc.__file__)), Path(str(augment.__file__))]
