"""Evaluation conditions: what is done to clean clips before they are scored, on recordings unseen in training."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from callmood.errors import RecordingError, UsageError
from callmood.types import Floats
from training.augment import (
    EVALUATION_FOLD,
    EVALUATION_ROOMS,
    add_noise,
    band_limit,
    encode,
    reverberate,
)

AUDIO = frozenset(
    ".aif .aifc .aiff .au .caf .flac .mp3 .oga .ogg .opus .rf64 .snd .w64 .wav".split()  # noqa: SIM905
)
"""Names of audio files end like this."""
ESC_NAME = re.compile(r"(?P<fold>[1-5])-\d+-[A-Z](-\d+)?")
"""Stem of a clip of ESC-10 and ESC-50."""
LONGEST_S = 60.0
"""What is kept of one background recording, so that any folder of them fits into memory."""

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


def read_noises(folder: Path | None, *, rate_hz: int) -> list[Floats]:
    """Background recordings below `folder`, shape (n,) each, without those that training may have heard.

    Those are, in a folder laid out as for training (with `esc10/` or `rir/` in it, or such an `esc10/` itself), all
    recordings but the ESC clips of `EVALUATION_FOLD`.

    Raises
    ------
    UsageError
        There are none, or all of them are silent.
    """
    paths = kept = _audio_below(folder)
    if _laid_out(folder) or (folder and folder.resolve().name == "esc10"):
        kept = [path for path in paths if _esc_fold(path) == EVALUATION_FOLD]
    noises = [_read(path, rate_hz) for path in kept]
    loud = [samples for samples in noises if float(np.abs(samples).max(initial=0.0)) > 1e-3]
    if not loud:
        raise _none_left(
            folder,
            "--noise",
            "background recordings",
            f"ESC clips named {EVALUATION_FOLD}-...",
            kept != paths,
        )
    return loud


def read_rooms(folder: Path | None, *, rate_hz: int) -> list[Floats]:
    """Impulse responses below `folder`, or in the `rir/` of a folder laid out as for training, shape (n,) each.

    In such a `rir/` only `EVALUATION_ROOMS` are used, since training may have heard the others.

    Raises
    ------
    UsageError
        There are none.
    """
    laid_out = _laid_out(folder)
    paths = _audio_below(folder / "rir" if folder and laid_out else folder)
    evaluation = [path for path in paths if path.stem in EVALUATION_ROOMS]
    ours = laid_out or (folder and folder.resolve().name == "rir" and evaluation)
    rooms = [_read(path, rate_hz) for path in (evaluation if ours else paths)]
    heard = [samples for samples in rooms if samples.any()]
    if not heard:
        kept = " and ".join(EVALUATION_ROOMS)
        raise _none_left(folder, "--rir", "impulse responses", kept, bool(paths) and laid_out)
    return heard


def _esc_fold(path: Path) -> str | None:
    """Fold of a clip of ESC-10 or ESC-50, by its name."""
    esc = ESC_NAME.fullmatch(path.stem)
    return esc["fold"] if esc else None


def _laid_out(folder: Path | None) -> bool:
    """Whether a folder is one that training takes its noise from."""
    return folder is not None and any((folder / name).is_dir() for name in ("esc10", "rir"))


def _audio_below(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO and not path.name.startswith(".") and path.is_file()
    ]


def _read(path: Path, rate_hz: int) -> Floats:
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


def _draw(clip: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8], "big") % below
