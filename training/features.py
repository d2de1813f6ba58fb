"""The feature bank: MFCC of every clip, clean and through several random lines, computed once and cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from callmood.features import FrontEnd, mfcc
from training import augment
from training.acoustics import training_acoustics, training_files
from training.augment import Acoustics, draw_line, pass_through
from training.cache import built_whole
from training.corpora import Clip, load_clip

Half = NDArray[np.float16]
Pcm = NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class Bank:
    """MFCC of n clips in v versions; version 0 is the clip as it is.

    All utterances of one speaker in one version went through the same line, as in a call.
    """

    clips: tuple[Clip, ...]
    front_end: FrontEnd
    frames: tuple[tuple[Half, ...], ...]
    """frames[version][clip] has shape (frames, n_mfcc), float16."""

    @property
    def versions(self) -> int:
        return len(self.frames)


def _speaker_versions(
    clips: Sequence[Clip], *, rate_hz: int, acoustics: Acoustics, versions: int, seed: int
) -> list[list[Pcm]]:
    """One speaker's clips: one list over versions per clip."""
    lines = [
        draw_line(acoustics, _generator(seed, clips[0].speaker, version), rate_hz=rate_hz)
        for version in range(versions)
    ]
    rows = []
    for clip in clips:
        samples = load_clip(clip, rate_hz=rate_hz)
        row = [samples]
        for version in range(1, versions):
            rng = _generator(seed, clip.file, version)
            row.append(pass_through(samples, lines[version], rng, rate_hz=rate_hz))
        rows.append([np.round(np.clip(heard, -1.0, 1.0) * 32767).astype(np.int16) for heard in row])
    return rows


def _generator(seed: int, name: str, version: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{name}/{version}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _by_speaker(clips: Sequence[Clip]) -> list[list[int]]:
    """Indices of the clips, in groups of at most 100 clips of one speaker."""
    groups: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        groups.setdefault(clip.speaker, []).append(index)
    return [group[start : start + 100] for group in groups.values() for start in range(0, len(group), 100)]


def audio_bank(
    clips: Sequence[Clip], *, rate_hz: int, noise: Path, versions: int, seed: int, cache: Path, jobs: int
) -> Path:
    """Folder with the samples of every clip in every version; computed where `cache` does not hold it yet.

    `samples<v>.npy` holds all clips one after another, int16, and `lengths.npy`, shape (versions, n), their lengths.
    """
    import joblib

    decisive = [[(clip.file, clip.path.stat().st_size) for clip in clips], rate_hz, versions, seed]
    heard = [(path.name, path.stat().st_size) for path in training_files(noise)]
    source = hashlib.sha256(Path(str(augment.__file__)).read_bytes()).hexdigest()
    folder = cache / f"audio-{_key(decisive, heard, source)}"
    if folder.exists():
        return folder
    groups = _by_speaker(clips)
    acoustics = training_acoustics(noise, rate_hz=rate_hz)
    results = joblib.Parallel(n_jobs=jobs, verbose=1)(
        joblib.delayed(_speaker_versions)(
            [clips[index] for index in group],
            rate_hz=rate_hz,
            acoustics=acoustics,
            versions=versions,
            seed=seed,
        )
        for group in groups
    )
    rows: dict[int, list[Pcm]] = {}
    for group, result in zip(groups, results, strict=True):
        rows.update(zip(group, result, strict=True))
    with built_whole(folder) as partial:
        partial.mkdir()
        for version in range(versions):
            np.save(
                partial / f"samples{version}.npy",
                np.concatenate([rows[i][version] for i in range(len(clips))]),
            )
        lengths = [[len(rows[i][version]) for i in range(len(clips))] for version in range(versions)]
        np.save(partial / "lengths.npy", np.array(lengths))
    return folder


def feature_bank(clips: Sequence[Clip], audio: Path, *, front_end: FrontEnd, jobs: int) -> Bank:
    """The bank of the `clips` that the folder `audio` holds; kept beside them for the next time."""
    import joblib

    source = hashlib.sha256(Path(str(mfcc.__file__)).read_bytes()).hexdigest()
    stored = audio / f"mfcc-{_key(asdict(front_end), source)}"
    lengths = np.load(audio / "lengths.npy")
    if not stored.exists():
        with built_whole(stored) as partial:
            partial.mkdir()
            for version, of_clips in enumerate(lengths):
                stops = np.cumsum(of_clips)
                blocks = np.array_split(np.arange(len(of_clips)), 20 * jobs)
                parts = joblib.Parallel(n_jobs=jobs)(
                    joblib.delayed(_features)(
                        audio / f"samples{version}.npy",
                        stops[block] - of_clips[block],
                        stops[block],
                        front_end,
                    )
                    for block in blocks
                )
                np.save(
                    partial / f"frames{version}.npy",
                    np.concatenate([rows for part in parts for rows in part]),
                )
    counts = 1 + lengths // front_end.hop_length
    frames = tuple(
        tuple(np.split(np.load(stored / f"frames{version}.npy"), np.cumsum(counts[version])[:-1]))
        for version in range(len(lengths))
    )
    return Bank(clips=tuple(clips), front_end=front_end, frames=frames)


def _features(
    samples: Path, starts: NDArray[np.int64], stops: NDArray[np.int64], front_end: FrontEnd
) -> list[Half]:
    pcm = np.load(samples, mmap_mode="r")
    return [
        front_end.mfcc(pcm[start:stop].astype(np.float32) / 32767).astype(np.float16)
        for start, stop in zip(starts, stops, strict=True)
    ]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
