"""Small signals made by the tests, and files of them in any encoding."""

from __future__ import annotations

import mmap
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from callmood.decode import find_ffmpeg
from callmood.types import Floats


def tone(*, seconds: float = 1.0, rate_hz: int = 8000, hz: float = 440.0, amplitude: float = 0.5) -> Floats:
    """A sine, shape (n,)."""
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    samples: Floats = (amplitude * np.sin(2 * np.pi * hz * times_s)).astype(np.float32)
    return samples


def voice(
    *, seconds: float, seed: int, speaks_s: tuple[float, float] = (0.0, 1e9), rate_hz: int = 8000
) -> Floats:
    """Noise below about 1 kHz with an RMS of 0.1, heard between two times only, shape (n,)."""
    noise = np.random.default_rng(seed).normal(size=round(seconds * rate_hz))
    low = np.convolve(noise, np.ones(8) / 8, mode="same")
    times_s = np.arange(len(low)) / rate_hz
    heard = (times_s >= speaks_s[0]) & (times_s < speaks_s[1])
    samples: Floats = (0.1 * low / low.std() * heard).astype(np.float32)
    return samples


def write_wav(path: Path, *channels: Floats, rate_hz: int = 8000, subtype: str = "PCM_16") -> Path:
    """Write one WAV (or whatever the extension says) from one row per channel."""
    import soundfile

    soundfile.write(path, np.stack(channels, axis=1), rate_hz, subtype=subtype)
    return path


def encode(
    path: Path,
    *channels: Floats,
    form: str,
    codec: str,
    rate_hz: int = 8000,
    parameters: tuple[str, ...] = (),
) -> Path:
    """Write one file with pydub in the container `form` of ffmpeg."""
    assert find_ffmpeg()  # sets pydub's converter, and keeps its import quiet
    from pydub import AudioSegment

    pcm = np.round(np.stack(channels, axis=1) * 32767).astype("<i2")
    segment = AudioSegment(pcm.tobytes(), sample_width=2, frame_rate=rate_hz, channels=len(channels))
    segment.export(path, format=form, codec=codec, parameters=list(parameters)).close()
    return path


def ffmpeg(*arguments: str) -> None:
    """Run ffmpeg, for what pydub does not make."""
    subprocess.run([str(find_ffmpeg()), "-nostdin", "-y", "-v", "error", *arguments], check=True)


def cut(path: Path, *, share: float = 0.5) -> Path:
    """A copy of a file that ends early, beside it."""
    shortened = path.with_name(f"cut_{path.name}")
    data = path.read_bytes()
    shortened.write_bytes(data[: int(len(data) * share)])
    return shortened


def is_mapped(samples: Any) -> bool:
    """Whether an array's memory is that of a file."""
    while isinstance(samples, np.ndarray):
        samples = samples.base
    return isinstance(getattr(samples, "obj", samples), mmap.mmap)
