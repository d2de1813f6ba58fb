"""Renders the example calls: `python examples/render.py` (needs flite: `apt-get install flite`).

The voices are synthetic (flite's slt, rms, awb and kal). "Raised" lines are faster, higher, louder and overdriven, by
amounts that were chosen so that the shipped network takes them for anger: this is no emotion, and the calls show that
the pipeline runs, and nothing more.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from callmood.types import Floats

RATE_HZ = 8000
FOLDER = Path(__file__).resolve().parent / "calls"


@dataclass(frozen=True)
class Line:
    """Something said by party 0 (the agent) or 1 (the customer)."""

    party: int
    text: str
    raised: bool = False


@dataclass(frozen=True)
class Call:
    """A scripted call, the voices of its parties, and the file it becomes."""

    name: str
    voices: tuple[str, str]
    lines: tuple[Line, ...]
    two_channels: bool
    pitch_hz: tuple[int, int]


BILLING = (
    Line(0, "Thank you for calling Northwind billing, this is Susan. How can I help you today?"),
    Line(1, "Hello. I have a question about my last invoice. There is a charge on it that I do not know."),
    Line(0, "I am sorry to hear that. Could you read me the invoice number, please?"),
    Line(1, "Yes, it is four four seven, one nine two. The charge is for thirty nine dollars."),
    Line(0, "Thank you. I can see it. It looks like the yearly service fee."),
    Line(1, "But I cancelled that service in March! I called you twice about this already!", raised=True),
    Line(1, "Every time somebody tells me that it is fixed, and every time it comes back!", raised=True),
    Line(1, "I really have had enough of this. I want my money back, and I want it today!", raised=True),
    Line(0, "I understand, and I apologize. I am refunding the fee right now."),
    Line(0, "You will see thirty nine dollars on your card within three days."),
    Line(1, "All right. And it will not come back next year?"),
    Line(0, "No, the service is closed now. I will send you a confirmation by mail."),
    Line(1, "Good. Thank you for your help."),
    Line(0, "Thank you for your patience. Have a good day."),
)
DELIVERY = (
    Line(0, "Good morning, parcel desk, Robert speaking. What can I do for you?"),
    Line(1, "Hi, I am waiting for a parcel that should have come on Tuesday."),
    Line(0, "Let me look that up. Do you have the tracking code?"),
    Line(1, "It ends with eight two five zero."),
    Line(0, "I have it. The parcel is in your town, and it will be with you this afternoon."),
    Line(1, "Oh, that is good news. Can the driver leave it with my neighbor?"),
    Line(0, "Of course. Which house number is that?"),
    Line(1, "Number twelve, the blue door."),
    Line(0, "I have made a note of it. Is there anything else?"),
    Line(1, "No, that was all. Thank you very much."),
)
OUTAGE = (
    Line(0, "Technical support, my name is Susan. What seems to be the problem?"),
    Line(1, "My internet has been down since yesterday evening, and I work from home."),
    Line(0, "I am sorry about that. Have you tried to restart the router?"),
    Line(1, "I restarted it five times! Please do not read me the list again!", raised=True),
    Line(
        1, "I have lost a whole day of work, and nobody there can tell me when it will be back!", raised=True
    ),
    Line(0, "You are right, I can see an outage in your area. A team is working on it."),
    Line(1, "And when will it be fixed? I need a time, not a story!", raised=True),
    Line(0, "The estimate is six this evening. I can send you a message when it is done."),
    Line(1, "I hope so. I will call again at six."),
)
RENEWAL = (
    Line(0, "Hello, this is Robert from customer care. Am I speaking with the account holder?"),
    Line(1, "Yes, you are. What is it about?"),
    Line(0, "Your plan ends next month, and I would like to tell you what you can do."),
    Line(1, "I was wondering about that. Is there something cheaper?"),
    Line(0, "There is. The small plan costs nine dollars and has all that you used last year."),
    Line(1, "That sounds fine to me. Can you change it now?"),
    Line(0, "It is done. You will get a letter with the details."),
    Line(1, "Perfect, thanks. Goodbye."),
)
CALLS = (
    Call("billing-0417", ("slt", "kal"), BILLING, two_channels=True, pitch_hz=(170, 105)),
    Call("delivery-0418", ("awb", "slt"), DELIVERY, two_channels=True, pitch_hz=(120, 190)),
    Call("outage-0419", ("slt", "awb"), OUTAGE, two_channels=False, pitch_hz=(170, 120)),
    Call("renewal-0420", ("rms", "slt"), RENEWAL, two_channels=False, pitch_hz=(95, 185)),
)
FORMATS = {
    "billing-0417": (".wav", "WAV", "ULAW"),
    "delivery-0418": (".wav", "WAV", "ULAW"),
    "outage-0419": (".mp3", "MP3", "MPEG_LAYER_III"),
    "renewal-0420": (".opus", "OGG", "OPUS"),
}


def speak(line: Line, voice: str, pitch_hz: int) -> Floats:
    """The line as flite says it, shape (n,), at `RATE_HZ`."""
    stretch, pitch, spread, gain, drive = (
        (0.8, 1.4 * pitch_hz, 30, 0.9, 5.0) if line.raised else (1.05, pitch_hz, 12, 0.1, 0.1)
    )
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(
            [  # noqa: S607
                "flite",
                "-voice",
                voice,
                "--setf",
                f"duration_stretch={stretch}",
                "--setf",
                f"int_f0_target_mean={pitch}",
                "--setf",
                f"int_f0_target_stddev={spread}",
                "-t",
                line.text,
                "-o",
                file.name,
            ],
            check=True,
        )
        samples, rate_hz = soundfile.read(file.name, dtype="float32")
    resampled = soxr.resample(samples, rate_hz, RATE_HZ)
    driven = np.tanh(drive * resampled / max(float(np.abs(resampled).max()), 1e-6)) / np.tanh(drive)
    return np.asarray(gain * driven, dtype=np.float32)


def render(call: Call) -> Floats:
    """The call, shape (n, 2): the agent left, the customer right, and a little line noise on both."""
    rng = np.random.default_rng(len(call.name))
    parts: list[Floats] = []
    for line in call.lines:
        said = speak(line, call.voices[line.party], call.pitch_hz[line.party])
        pause = np.zeros(int(rng.uniform(0.25, 0.7) * RATE_HZ), dtype=np.float32)
        samples = np.concatenate([pause, said])
        silent = np.zeros_like(samples)
        parts.append(np.stack([samples, silent] if line.party == 0 else [silent, samples], axis=1))
    both = np.concatenate(parts)
    return np.asarray(both + rng.normal(0.0, 3e-4, both.shape), dtype=np.float32)


def main() -> None:
    """Write every call into `examples/calls`."""
    FOLDER.mkdir(exist_ok=True)
    for call in CALLS:
        suffix, container, codec = FORMATS[call.name]
        samples = render(call)
        path = FOLDER / (call.name + suffix)
        mixed = samples if call.two_channels else samples.sum(axis=1)
        options = {"compression_level": 0.9} if codec == "MPEG_LAYER_III" else {}
        soundfile.write(path, np.clip(mixed, -1.0, 1.0), RATE_HZ, format=container, subtype=codec, **options)
        print(f"{path.name}: {len(samples) / RATE_HZ:.1f} s, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
