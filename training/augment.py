"""What a room, a telephone line and other voices' pitch do to speech, in samples.

All functions take and return float32 samples of shape (n,) at `rate_hz` (8 kHz unless said) and draw from
the generator they are given.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from callmood.types import Floats


@dataclass(frozen=True, kw_only=True)
class Acoustics:
    """Background recordings and impulse responses, shape (n,) each, at one rate."""

    noises: tuple[Floats, ...]
    rooms: tuple[Floats, ...]


def add_noise(samples: Floats, noise: Floats, *, snr_db: float, rng: np.random.Generator) -> Floats:
    """Add a random stretch of `noise` (repeated where it is short) at a signal-to-noise ratio of `snr_db`."""
    start = int(rng.integers(len(noise)))
    stretch = np.take(noise, np.arange(start, start + len(samples)), mode="wrap")
    signal_power = float(np.mean(samples**2))
    noise_power = float(np.mean(stretch**2))
    if signal_power <= 0.0 or noise_power <= 0.0:
        return samples
    gain = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return np.asarray(samples + gain * stretch, dtype=np.float32)


def reverberate(samples: Floats, room: Floats) -> Floats:
    """Convolve with an impulse response, aligned to its direct sound, keeping length and level."""
    from scipy.signal import fftconvolve

    wet = fftconvolve(samples, room)[int(np.abs(room).argmax()) :][: len(samples)]
    scale = np.sqrt(float(np.mean(samples**2)) / max(float(np.mean(wet**2)), 1e-12))
    return np.asarray(wet * scale, dtype=np.float32)


def synthetic_room(rng: np.random.Generator, *, rate_hz: int) -> Floats:
    """Exponentially decaying noise with a random reverberation time of 0.1 to 0.6 s (Polack's model)."""
    rt60_s = rng.uniform(0.1, 0.6)
    t = np.arange(int(rt60_s * rate_hz)) / rate_hz
    tail = rng.normal(size=len(t)) * np.exp(-6.9 * t / rt60_s) * rng.uniform(0.02, 0.2)
    tail[0] = 1.0
    return np.asarray(tail, dtype=np.float32)


def change_speed(samples: Floats, factor: float) -> Floats:
    """Play faster by `factor`: tempo and pitch change together."""
    import soxr

    return np.asarray(soxr.resample(samples, factor, 1.0), dtype=np.float32)


def shift_pitch(samples: Floats, semitones: float, *, rate_hz: int) -> Floats:
    """Change the pitch and keep the tempo (phase vocoder)."""
    import librosa

    shifted = librosa.effects.pitch_shift(
        samples, sr=rate_hz, n_steps=semitones, n_fft=512, res_type="soxr_hq"
    )
    return np.asarray(shifted, dtype=np.float32)


def stretch_time(samples: Floats, factor: float) -> Floats:
    """Speak faster by `factor` at the same pitch (phase vocoder)."""
    import librosa

    return np.asarray(librosa.effects.time_stretch(samples, rate=factor, n_fft=512), dtype=np.float32)


def band_limit(samples: Floats, *, low_hz: float, high_hz: float, rate_hz: int) -> Floats:
    """Fourth-order Butterworth band-pass."""
    from scipy.signal import butter, sosfilt

    sos = butter(4, [low_hz, min(high_hz, 0.49 * rate_hz)], btype="bandpass", fs=rate_hz, output="sos")
    return np.asarray(sosfilt(sos, samples), dtype=np.float32)


CODECS = {
    "ULAW": ("WAV", 0.3),
    "ALAW": ("WAV", 0.2),
    "GSM610": ("WAV", 0.25),
    "OPUS": ("OGG", 0.15),
    "MPEG_LAYER_III": ("MP3", 0.1),
}
"""libsndfile's codecs of a telephone line: the container, and the share of the lines that go through each."""


def encode(samples: Floats, *, subtype: str, rate_hz: int) -> Floats:
    """Through one of `CODECS` and back, at the lowest bit rate that libsndfile offers."""
    import soundfile

    container, _ = CODECS[subtype]
    lowest = {} if container == "WAV" else {"compression_level": 0.99}
    buffer = io.BytesIO()
    clipped = np.clip(samples, -1.0, 1.0)
    soundfile.write(buffer, clipped, rate_hz, format=container, subtype=subtype, **lowest)
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32", frames=len(samples))
    return np.asarray(decoded, dtype=np.float32)


def lose_packets(samples: Floats, *, rate: float, rate_hz: int, rng: np.random.Generator) -> Floats:
    """Silence a share `rate` of the 20 ms packets."""
    packet = rate_hz // 50
    kept = rng.random(len(samples) // packet + 1) >= rate
    return np.asarray(samples * np.repeat(kept, packet)[: len(samples)], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Line:
    """The conditions that all utterances of one speaker in one call share."""

    room: Floats | None
    noise: Floats | None
    snr_db: float
    band_hz: tuple[float, float] | None
    codec: str | None
    packet_loss: float
    gain: float
    speed: float


def draw_line(acoustics: Acoustics, rng: np.random.Generator, *, rate_hz: int) -> Line:
    """A random call's conditions; about one in four is clean but for level and speed."""
    telephone = rng.random() < 0.6
    room: Floats | None = None
    if rng.random() < 0.25:
        measured = acoustics.rooms and rng.random() < 0.5
        room = (
            acoustics.rooms[int(rng.integers(len(acoustics.rooms)))]
            if measured
            else synthetic_room(rng, rate_hz=rate_hz)
        )
    noisy = acoustics.noises and rng.random() < 0.55
    return Line(
        room=room,
        noise=acoustics.noises[int(rng.integers(len(acoustics.noises)))] if noisy else None,
        snr_db=float(rng.uniform(0.0, 25.0)),
        band_hz=(float(rng.uniform(150, 350)), float(rng.uniform(3200, 3700))) if telephone else None,
        codec=str(rng.choice(list(CODECS), p=[share for _, share in CODECS.values()])) if telephone else None,
        packet_loss=float(rng.uniform(0.0, 0.05)) if telephone and rng.random() < 0.15 else 0.0,
        gain=float(10 ** rng.uniform(-1.0, 0.5)),
        speed=float(rng.uniform(0.85, 1.18)),
    )


def pass_through(samples: Floats, line: Line, rng: np.random.Generator, *, rate_hz: int) -> Floats:
    """One utterance through a line; pitch shift and time stretch are drawn per utterance."""
    out = change_speed(samples, line.speed)
    if rng.random() < 0.15:
        out = stretch_time(out, float(rng.uniform(0.85, 1.2)))
    elif rng.random() < 0.15:
        out = shift_pitch(out, float(rng.uniform(-2.0, 2.0)), rate_hz=rate_hz)
    if line.room is not None:
        out = reverberate(out, line.room)
    if line.noise is not None:
        out = add_noise(out, line.noise, snr_db=line.snr_db + float(rng.normal(0.0, 2.0)), rng=rng)
    out = np.asarray(np.clip(out * line.gain, -1.0, 1.0), dtype=np.float32)
    if line.band_hz is not None:
        out = band_limit(out, low_hz=line.band_hz[0], high_hz=line.band_hz[1], rate_hz=rate_hz)
    if line.codec is not None:
        out = encode(out, subtype=line.codec, rate_hz=rate_hz)
    if line.packet_loss:
        out = lose_packets(out, rate=line.packet_loss, rate_hz=rate_hz, rng=rng)
    return out
