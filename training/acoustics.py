"""Background recordings and impulse responses: which of them training hears, and which are kept for evaluation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from callmood.errors import RecordingError, UsageError
from callmood.types import Floats
from training.augment import Acoustics

AUDIO = frozenset(
    ".aif .aifc .aiff .au .caf .flac .mp3 .oga .ogg .opus .rf64 .snd .w64 .wav".split()  # noqa: SIM905
)
"""Names of audio files end like this."""
ESC_FOLDER, ROOM_FOLDER = "esc10", "rir"
"""What a folder that training takes its noise from holds, beside recordings of its own."""
ESC_NAME = re.compile(r"(?P<fold>[1-5])-\d+-[A-Z](-\d+)?")
"""Stem of a clip of ESC-10 and ESC-50."""
EVALUATION_FOLD = "5"
"""Fold of the ESC clips that are kept for evaluation."""
EVALUATION_ROOMS = ("rir4", "impulse_response_0")
LONGEST_S = 60.0
"""What is kept of one background recording, so that any folder of them fits into memory."""


def training_acoustics(folder: Path, *, rate_hz: int) -> Acoustics:
    """Noise and rooms that training may hear, of a folder with `esc10/`, `rir/` and other background recordings.

    Raises
    ------
    UsageError
        There is no noise.
    """
    noises = [read(path, rate_hz) for path in training_files(folder) if path.parent != folder / ROOM_FOLDER]
    rooms = [read(path, rate_hz) for path in training_files(folder) if path.parent == folder / ROOM_FOLDER]
    loud = [samples for samples in noises if float(np.abs(samples).max(initial=0.0)) > 1e-3]
    if not loud:
        raise UsageError(
            f"{folder}: holds no background recordings to train with ({ESC_FOLDER}/ with clips of ESC-10, "
            f"{ROOM_FOLDER}/ with impulse responses, or other recordings); name another folder with --noise."
        )
    return Acoustics(noises=tuple(loud), rooms=tuple(rooms))


def training_files(folder: Path) -> list[Path]:
    """Files of a folder that training may hear: ESC clips, then recordings beside them, then rooms."""
    places = (audio_below(folder / ESC_FOLDER), audio_in(folder), audio_in(folder / ROOM_FOLDER))
    return [path for paths in places for path in paths if not _kept_for_evaluation(path)]


def read_noises(folder: Path | None, *, rate_hz: int) -> list[Floats]:
    """Background recordings below any `folder`, shape (n,) each, without those that training may have heard.

    Raises
    ------
    UsageError
        There are none, or all of them are silent.
    """
    paths = [path for path in audio_below(folder) if path.parent.name != ROOM_FOLDER]
    kept = [path for path in paths if not _may_be_heard_in_training(path)]
    noises = [read(path, rate_hz) for path in kept]
    loud = [samples for samples in noises if float(np.abs(samples).max(initial=0.0)) > 1e-3]
    if not loud:
        kept_names = f"ESC clips named {EVALUATION_FOLD}-..."
        raise _none_left(folder, "--noise", "background recordings", kept_names, kept != paths)
    return loud


def read_rooms(folder: Path | None, *, rate_hz: int) -> list[Floats]:
    """Impulse responses below any `folder`, or in the `rir/` of one that training takes its noise from.

    Raises
    ------
    UsageError
        There are none.
    """
    paths = audio_below(folder / ROOM_FOLDER if folder and (folder / ROOM_FOLDER).is_dir() else folder)
    kept = [path for path in paths if not _may_be_heard_in_training(path)]
    rooms = [samples for samples in (read(path, rate_hz) for path in kept) if samples.any()]
    if not rooms:
        raise _none_left(folder, "--rir", "impulse responses", " and ".join(EVALUATION_ROOMS), kept != paths)
    return rooms


def _kept_for_evaluation(path: Path) -> bool:
    esc = ESC_NAME.fullmatch(path.stem)
    return path.stem in EVALUATION_ROOMS or (esc is not None and esc["fold"] == EVALUATION_FOLD)


def _may_be_heard_in_training(path: Path) -> bool:
    """Whether a file lies where `training_files` looks, and is not kept from it."""
    path = path.resolve()
    in_esc = any(parent.name == ESC_FOLDER for parent in path.parents)
    beside = any((path.parent / name).is_dir() for name in (ESC_FOLDER, ROOM_FOLDER))
    # Another's folder may be called rir too; ours holds what is kept for evaluation.
    in_rooms = path.parent.name == ROOM_FOLDER and any(
        other.stem in EVALUATION_ROOMS for other in audio_in(path.parent)
    )
    return (in_esc or beside or in_rooms) and not _kept_for_evaluation(path)


def audio_below(folder: Path | None) -> list[Path]:
    """Audio files in a folder and the folders in it, in order of name."""
    return [] if folder is None else [path for path in sorted(folder.rglob("*")) if _is_audio(path)]


def audio_in(folder: Path) -> list[Path]:
    """Audio files in a folder itself, in order of name."""
    return [path for path in sorted(folder.glob("*")) if _is_audio(path)]


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO and not path.name.startswith(".") and path.is_file()


def read(path: Path, rate_hz: int) -> Floats:
    """The first channel of (the beginning of) a file, shape (n,), at `rate_hz`."""
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(int(LONGEST_S * file.samplerate), dtype="float32", always_2d=True)
            source_rate_hz = file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise RecordingError(
            f"{path}: cannot be read as audio ({error}); take it out of the folder."
        ) from error
    return np.asarray(soxr.resample(samples[:, 0], source_rate_hz, rate_hz), dtype=np.float32)


def _none_left(folder: Path | None, option: str, what: str, kept: str, passed_over: bool) -> UsageError:
    if folder is None:
        return UsageError(f"this condition needs {what}; name a folder of them with {option}.")
    if not folder.is_dir():
        return UsageError(f"{folder}: no such folder; name a folder of {what} with {option}.")
    left = f"{what} that training never hears ({kept})" if passed_over else f"{what} that can be heard"
    return UsageError(f"{folder}: holds no {left}; name another folder with {option}.")
