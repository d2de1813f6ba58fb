"""Diarization error of the embedded engines: `python -m benchmarks.diarization SHARED`.

Builds its calls from the data folder SHARED and prints one table. DER and its parts (missed speech, false
alarm, confusion) are percentages of the reference's speech, overlaps scored; the collar is what is left
unscored on either side of each boundary (pyannote.metrics counts both sides).

- `repairs`: the role-played call of two legs, as two channels and mixed to mono. Its reference comes from
  the energy of the clean legs, with boundaries good to about 0.1 s.
- `scripted`: two speakers that `training/speaker.py` held out take turns over a simulated telephone line,
  the emotion drawn anew for every utterance. F and M: sex of the two. The reference is what is less
  than 25 dB below each clip's loudest part, joined across 0.3 s.
- `sample`, `dev*`, `trn*`: 30 s of meetings and conversations by others, with their own references.

None of these voices trained the speaker model, but the diarizer's thresholds were chosen on the role-played
call and on calls of the same held-out speakers. Builtin is told the number of speakers in the reference.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from callmood.diarize.engine import Diarizer, make_diarizer
from callmood.diarize.rttm import read_rttm
from callmood.diarize.turns import join_regions
from callmood.diarize.vad import RATE_HZ
from callmood.types import Audio, Floats, Turn
from training.speaker import HELD_OUT, loud_parts
from training.corpora import Clip
from training.speaker import speech_of

COLLARS_S = (0.25, 0.0)
SCRIPTED = (
    ("FF", "ravdess/18", "ravdess/20"),
    ("MM", "ravdess/17", "ravdess/19"),
    ("FM", "ravdess/18", "ravdess/17"),
    ("FF", "crema-d/1084", "crema-d/1089"),
    ("MM", "crema-d/1083", "crema-d/1086"),
    ("MF", "crema-d/1085", "crema-d/1091"),
)
UTTERANCES = 24
LEVELLING = 0.4
"""How much of the difference in level between utterances is left, in dB per dB."""


@dataclass(frozen=True, kw_only=True)
class Call:
    name: str
    engine: str
    samples: Floats
    """Shape (channels, n) at 8 kHz."""
    reference: tuple[Turn, ...]
    scored_s: float
    """The call is scored from 0 to here."""


def main() -> None:
    """Print the table for the data folder given as the only argument."""
    from pyannote.metrics.diarization import DiarizationErrorRate

    print(
        "| call | engine | "
        + " | ".join(f"DER {c} s | miss | fa | conf" for c in COLLARS_S)
        + " | x real time |"
    )
    print("|---|---|" + "---|" * (4 * len(COLLARS_S) + 1))
    totals: dict[tuple[str, float], DiarizationErrorRate] = {}
    for call in calls(Path(sys.argv[1])):
        engine = make_diarizer(call.engine, speakers=len({turn.speaker for turn in call.reference}))
        turns, speed = _timed(engine, call.samples)
        cells = []
        for collar_s in COLLARS_S:
            group = (f"{call.name.split()[0]} | {call.engine}", collar_s)
            metric = totals.setdefault(group, DiarizationErrorRate(collar=2 * collar_s))
            cells.append(_cells(metric(**_scored(call, turns), detailed=True)))
        print(f"| {call.name} | {call.engine} | {' | '.join(cells)} | {speed:.0f} |", flush=True)
    for name in dict.fromkeys(name for name, _ in totals):
        pooled = [_cells(totals[name, collar_s][:]) for collar_s in COLLARS_S]
        print(f"| all {name} | {' | '.join(pooled)} | |")


def calls(shared: Path) -> Iterator[Call]:
    """Every call of the benchmark."""
    legs = [_read(shared / "calls" / f"Auto_Repairs_40_UTC_{leg}.wav") for leg in ("agent", "caller")]
    reference = read_rttm(shared / "calls" / "Auto_Repairs_40_UTC.rttm")
    duration_s = len(legs[0]) / RATE_HZ
    two = np.stack(legs)
    yield Call(name="repairs", engine="channels", samples=two, reference=reference, scored_s=duration_s)
    mixed = two.mean(axis=0, keepdims=True)
    yield Call(name="repairs", engine="builtin", samples=mixed, reference=reference, scored_s=duration_s)
    for seed, (sexes, first, second) in enumerate(SCRIPTED):
        samples, reference = _scripted(shared / "corpora", first, second, seed=seed)
        name = f"scripted {sexes} {first.split('/')[1]} {second}"
        yield Call(
            name=name, engine="builtin", samples=samples, reference=reference, scored_s=samples.size / RATE_HZ
        )
    folder = shared / "diarization"
    sample = read_rttm(folder / "sample.rttm")
    files = [("sample", folder / "sample.wav", sample)]
    for rttm in sorted((folder / "pyannote_debug").glob("*.rttm")):
        for wav in sorted(rttm.parent.glob("*.wav")):
            uri = wav.stem.split("_")[0]
            files.append((uri, wav, read_rttm(rttm, uri)))
    for name, wav, reference in files:
        if reference:
            samples = _read(wav)[None]
            yield Call(
                name=f"others {name}", engine="builtin", samples=samples, reference=reference, scored_s=30.0
            )


def _scripted(corpora: Path, first: str, second: str, *, seed: int) -> tuple[Floats, tuple[Turn, ...]]:
    """A telephone call of two corpus voices whose emotion changes at every utterance."""
    from scipy import signal

    assert {first, second} <= HELD_OUT
    rng = np.random.default_rng(seed)
    lines = []
    for speaker in (first, second):
        with (corpora / f"{speaker.split('/')[0]}.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["speaker"] == speaker]
        band = signal.butter(4, [300, rng.uniform(3200, 3600)], "bandpass", fs=RATE_HZ, output="sos")
        lines.append((speaker, rows, band, 10 ** (rng.uniform(-6, 0) / 20)))
    parts: list[Floats] = [np.zeros(RATE_HZ // 2, dtype=np.float32)]
    reference: list[Turn] = []
    emotions = ["", ""]
    for index in range(UTTERANCES):
        who = index % 2
        speaker, rows, band, gain = lines[who]
        choices = [row for row in rows if row["emotion"] != emotions[who]]
        row = choices[rng.integers(len(choices))]
        emotions[who] = row["emotion"]
        speech = speech_of(
            Clip(
                file=row["file"],
                path=corpora / row["file"],
                corpus=row["corpus"],
                speaker=speaker,
                emotion=row["emotion"],
            )
        )
        start_s = sum(map(len, parts)) / RATE_HZ
        spoken = join_regions(loud_parts(speech) / RATE_HZ, max_pause_s=0.3, min_s=0.0)
        reference += [
            Turn(speaker=speaker, channel=0, start_s=start_s + a, end_s=start_s + b) for a, b in spoken
        ]
        # A telephone levels its input, and an actor turns from a whisper to a shout between two clips.
        level = np.sqrt(np.mean(speech**2))
        parts.append(signal.sosfilt(band, speech) * gain * level ** (LEVELLING - 1.0))
        parts.append(np.zeros(int(rng.uniform(0.1, 0.8) * RATE_HZ), dtype=np.float32))
    line = np.concatenate(parts)
    line = line / np.abs(line).max() * 0.7
    line += rng.standard_normal(len(line)) * np.sqrt(np.mean(line**2)) * 10 ** (-30 / 20)
    law = np.sign(line) * np.round(127 * np.log1p(255 * np.abs(line)) / np.log(256)) / 127
    decoded = np.sign(law) * (256 ** np.abs(law) - 1) / 255
    return decoded[None].astype(np.float32), tuple(reference)


def _read(path: Path) -> Floats:
    """Mono samples at 8 kHz, shape (n,)."""
    import soundfile
    import soxr

    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    resampled: Floats = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    return resampled


def _timed(engine: Diarizer, samples: Floats) -> tuple[tuple[Turn, ...], float]:
    """The turns, and how many times faster than real time they came."""
    audio = Audio(
        samples=samples, rate_hz=RATE_HZ, source_rate_hz=RATE_HZ, source_channels=len(samples), codec="PCM_16"
    )
    # The models load once per process, which is not what a batch spends its time on.
    engine(Audio(**{**vars(audio), "samples": samples[:, : 5 * RATE_HZ]}))
    began = time.perf_counter()
    turns = engine(audio)
    return turns, audio.duration_s / (time.perf_counter() - began)


def _scored(call: Call, turns: tuple[Turn, ...]) -> dict[str, object]:
    """Reference, hypothesis and scored part, as pyannote.metrics takes them."""
    from pyannote.core import Annotation, Segment, Timeline

    def annotation(turns: tuple[Turn, ...]) -> Annotation:
        made = Annotation(uri=call.name)
        for index, turn in enumerate(turns):
            made[Segment(turn.start_s, turn.end_s), index] = turn.speaker
        return made

    return {
        "reference": annotation(call.reference),
        "hypothesis": annotation(turns),
        "uem": Timeline([Segment(0, call.scored_s)]),
    }


def _cells(detail: dict[str, float]) -> str:
    """DER, miss, false alarm and confusion in percent, from the seconds of a metric's details."""
    parts = [detail[name] for name in ("missed detection", "false alarm", "confusion")]
    return " | ".join(f"{100 * value / detail['total']:.1f}" for value in (sum(parts), *parts))


if __name__ == "__main__":
    main()
