"""Train the voice network of the built-in diarizer: `python -m training.speaker --help`.

Each batch holds simulated calls of two voices, a few utterances of each, every one over a line of its own; the
network learns to tell the voices of all speakers apart (additive margin softmax, Wang et al. 2018), so that emotion,
words, line and noise are what it learns to ignore. Speech played slower or faster counts as other voices.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.turns import Regions, join_regions
from callmood.diarize.vad import RATE_HZ
from callmood.diarize.voice import VoiceConfig, build_voice_network, relative_to_call
from callmood.emotion.network import STRIDE
from callmood.errors import CallmoodError
from callmood.features import FrontEnd
from callmood.model_files import VOICE_CONFIG, VOICE_WEIGHTS
from callmood.types import Floats
from training import augment
from training.acoustics import training_acoustics
from training.augment import Acoustics, draw_line, pass_through
from training.cache import built_whole
from training.corpora import CORPORA, SHARED, Clip, add_corpus_options, clips_from_options, load_clip
from training.data import EQUALIZER_STD
from training.export import licence, record
from training.optimizer import make_optimizer

log = logging.getLogger("training")

HELD_OUT = frozenset(
    {f"ravdess/{actor}" for actor in (17, 18, 19, 20)}
    | {f"crema-d/{actor}" for actor in (1083, 1084, 1085, 1086, 1087, 1089, 1090, 1091)}
)
"""Speakers whose calls `benchmarks/diarization.py` scores, with a network that never heard them
(`benchmarks/kept_out`); the one that ships is trained in the same way on all."""
DEVELOPMENT = frozenset({"ravdess/15", "ravdess/16"} | {f"crema-d/{actor}" for actor in range(1071, 1083)})
"""Speakers on whose calls everything was chosen, with a network that never heard them either."""
KEEP_OUT = {"nobody": frozenset[str](), "test": HELD_OUT, "development": HELD_OUT | DEVELOPMENT}
"""Whom a training can do without."""
TESS_CLIPS = 6
"""Of TESS, which has 2,800 clips by two speakers, one clip in so many."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training makes of its clips."""

    network: VoiceConfig = field(default_factory=VoiceConfig)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    speeds: tuple[float, ...] = (1.0, 1.0, 0.89, 1.12)
    """Each clip is heard once at each speed, over another line every time; another speed makes another voice."""
    least_snr_db: float = 5.0
    steps: int = 2500
    calls: int = 12
    """Simulated calls in a batch, of two voices each."""
    utterances: int = 5
    """Of each voice in a call."""
    shortest_s: float = 1.0
    longest_s: float = 2.15
    equalizer: float = 0.5
    """Scale of the random offsets of the spectral envelope that a voice has in a call."""
    scale: float = 20.0
    margin: float = 0.15
    smoothing: float = 0.05
    learning_rate: float = 5e-3
    weight_decay: float = 2e-2
    seed: int = 1

    @property
    def hearing(self) -> Hearing:
        return Hearing(features=self.front_end.mfcc, speeds=self.speeds, least_snr_db=self.least_snr_db)


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """What is made of each clip."""

    features: Callable[[Floats], Floats]
    """From samples at 8 kHz, shape (n,), to (frames, features)."""
    speeds: tuple[float, ...]
    least_snr_db: float


@dataclass(frozen=True, kw_only=True)
class Takes:
    """Features of clips over random lines."""

    frames: tuple[NDArray[np.float16], ...]
    """Of each take, shape (frames, features): those of a clip one after another, one for each speed."""
    voice: NDArray[np.int64]
    """Shape (takes,): which voice each is of."""
    voices: int


def loud_parts(samples: Floats) -> NDArray[np.int64]:
    """Where the telephone band is less than 25 dB below its loudest 64 ms: (n, 2), samples at 8 kHz.

    Only that band, because many clips of CREMA-D begin and end with a second of a rumbling room.
    """
    import librosa
    from scipy import signal

    band = signal.butter(4, [300, 3400], "bandpass", fs=RATE_HZ, output="sos")
    heard = signal.sosfilt(band, samples)
    parts: NDArray[np.int64] = librosa.effects.split(heard, top_db=25, frame_length=512, hop_length=128)
    return parts


def spoken_parts(samples: Floats) -> tuple[Floats, Regions]:
    """A clip from the first to the last of its `loud_parts`, and the regions of it that are spoken.

    Spoken is what the telephone band carries at less than 25 dB below the loudest 64 ms and at more than 6 dB above the
    level that a tenth of the clip stays below: in the clips of a noisy room the first alone would be the room as well.
    """
    import librosa
    from scipy import signal

    whole = loud_parts(samples)
    first, last = whole[0, 0], whole[-1, 1]
    band = signal.sosfilt(signal.butter(4, [300, 3400], "bandpass", fs=RATE_HZ, output="sos"), samples)
    level_db = 20 * np.log10(librosa.feature.rms(y=band, frame_length=512, hop_length=128)[0] + 1e-9)
    threshold = max(level_db.max() - 25.0, np.percentile(level_db, 10) + 6.0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], level_db > threshold, [False])).astype(np.int8)))
    regions = np.clip(edges.reshape(-1, 2) * 128.0, first, last) - first
    return samples[first:last], join_regions(regions / RATE_HZ, max_pause_s=0.3, min_s=0.05)


def speech_of(clip: Clip) -> Floats:
    """A clip at 8 kHz, shape (n,), from the first to the last of its `loud_parts`."""
    samples = load_clip(clip, rate_hz=RATE_HZ)
    parts = loud_parts(samples)
    return samples[parts[0, 0] : parts[-1, 1]]


def training_clips(clips: Sequence[Clip], *, keep_out: frozenset[str]) -> list[Clip]:
    """Those of other speakers than `keep_out`; of TESS, some."""
    heard = [clip for clip in clips if clip.speaker not in keep_out]
    tess = [clip for clip in heard if clip.corpus == "tess"]
    return [clip for clip in heard if clip.corpus != "tess"] + tess[::TESS_CLIPS]


def read_takes(clips: Sequence[Clip], hearing: Hearing, *, noise: Path, cache: Path, jobs: int) -> Takes:
    """Every take of the clips; computed where `cache` does not hold those of their corpus yet."""
    clips = sorted(clips, key=lambda clip: (clip.corpus, clip.file))
    frames = [
        take
        for corpus in sorted({clip.corpus for clip in clips})
        for take in _of_corpus(
            [clip for clip in clips if clip.corpus == corpus], hearing, noise=noise, cache=cache, jobs=jobs
        )
    ]
    names = [f"{clip.speaker} {speed}" for clip in clips for speed in hearing.speeds]
    known, voice = np.unique(names, return_inverse=True)
    return Takes(frames=tuple(frames), voice=voice, voices=len(known))


def _of_corpus(
    clips: Sequence[Clip], hearing: Hearing, *, noise: Path, cache: Path, jobs: int
) -> list[NDArray[np.float16]]:
    import joblib

    modules = (augment.__name__, hearing.features.__module__)
    sources = [Path(str(sys.modules[module].__file__)).read_bytes() for module in modules]
    decisive = [
        [(clip.file, clip.path.stat().st_size) for clip in clips],
        [hearing.features.__qualname__, str(getattr(hearing.features, "__self__", ""))],
        [hearing.speeds, hearing.least_snr_db],
        [hashlib.sha256(source).hexdigest() for source in sources],
    ]
    key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]
    stored = cache / f"takes-{key}.npz"
    if not stored.exists():
        acoustics = training_acoustics(noise, rate_hz=RATE_HZ)
        parts = joblib.Parallel(n_jobs=jobs, verbose=1)(
            joblib.delayed(_takes_of)(clips[start : start + 100], acoustics, hearing)
            for start in range(0, len(clips), 100)
        )
        frames = [take for part in parts for of_clip in part for take in of_clip]
        with built_whole(stored) as partial:
            np.savez(partial, frames=np.concatenate(frames), lengths=[len(take) for take in frames])
    with np.load(stored, allow_pickle=False) as arrays:
        return np.split(arrays["frames"], np.cumsum(arrays["lengths"])[:-1])


def _takes_of(
    clips: Sequence[Clip], acoustics: Acoustics, hearing: Hearing
) -> list[list[NDArray[np.float16]]]:
    return [
        [_take(speech, clip, take, acoustics, hearing) for take in range(len(hearing.speeds))]
        for clip, speech in ((clip, speech_of(clip)) for clip in clips)
    ]


def _take(
    speech: Floats, clip: Clip, take: int, acoustics: Acoustics, hearing: Hearing
) -> NDArray[np.float16]:
    digest = hashlib.sha256(f"{clip.file}/{take}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    drawn = draw_line(acoustics, rng, rate_hz=RATE_HZ)
    line = replace(drawn, speed=hearing.speeds[take], snr_db=max(drawn.snr_db, hearing.least_snr_db))
    return hearing.features(pass_through(speech, line, rng, rate_hz=RATE_HZ)).astype(np.float16)


def draw_batch(takes: Takes, recipe: Recipe, step: int) -> tuple[Floats, NDArray[np.int64]]:
    """Frames, shape (segments, frames, n_mfcc), and voices, shape (segments,), of step `step`; always the same."""
    rng = np.random.default_rng((recipe.seed, step))
    rate = recipe.front_end.frames_per_s
    shortest, longest = (round(seconds * rate / STRIDE) for seconds in (recipe.shortest_s, recipe.longest_s))
    # Keras takes the shapes that it expects from the first two batches: were these of one length by chance, any other
    # length would be refused. No batch is as long as the first.
    width = STRIDE * (longest + 1 if step == 0 else int(rng.integers(shortest, longest + 1)))
    order = np.argsort(takes.voice, kind="stable")
    first = np.searchsorted(takes.voice[order], np.arange(takes.voices + 1))
    segments, voices = [], []
    for _ in range(recipe.calls):
        call = []
        for voice in rng.choice(takes.voices, 2, replace=False):
            offset = recipe.equalizer * EQUALIZER_STD * rng.normal(size=len(EQUALIZER_STD))
            for take in rng.choice(order[first[voice] : first[voice + 1]], recipe.utterances):
                frames = segment(takes.frames[take], width, rng)
                frames[:, : len(offset)] += offset
                call.append(frames)
                voices.append(voice)
        segments += relative_to_call(call)
    return np.stack(segments), np.array(voices)


def segment(frames: NDArray[np.float16], width: int, rng: np.random.Generator) -> Floats:
    """A random stretch of `width` frames; of shorter speech, all of it over and over."""
    start = int(rng.integers(max(len(frames) - width, 0) + 1))
    part = frames[start : start + width].astype(np.float32)
    return part if len(part) == width else np.resize(part, (width, part.shape[1]))


def fit(takes: Takes, recipe: Recipe) -> Any:
    """A trained voice network."""
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(recipe.seed)

    class Steps(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return recipe.steps

        def __getitem__(self, index: int) -> Any:
            frames, voices = draw_batch(takes, recipe, index)
            whole = np.ones((len(frames), 1, frames.shape[1] // STRIDE), dtype=np.float32)
            return (frames, whole), np.eye(takes.voices, dtype=np.float32)[voices]

    class Cosines(layers.Layer):  # type: ignore[misc]
        """Of each direction with one learned for each voice."""

        def __init__(self, voices: int) -> None:
            super().__init__()
            self.voices = voices

        def build(self, shape: Any) -> None:
            self.centers = self.add_weight(shape=(shape[-1], self.voices))

        def call(self, directions: Any) -> Any:
            return directions @ (self.centers / ops.norm(self.centers, axis=0, keepdims=True))

    network = build_voice_network(recipe.network)
    direction = layers.UnitNormalization()(network.output[:, 0])
    cosine = Cosines(takes.voices)(direction)
    student = keras.Model(network.inputs, cosine)
    optimizer = make_optimizer(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )

    def margin_softmax(truth: Any, cosine: Any) -> Any:
        return keras.losses.categorical_crossentropy(
            truth,
            recipe.scale * (cosine - recipe.margin * truth),
            from_logits=True,
            label_smoothing=recipe.smoothing,
        )

    student.compile(optimizer, loss=margin_softmax, jit_compile=False)
    student.fit(Steps(), shuffle=False, verbose="auto" if sys.stdout.isatty() else 2)
    return network


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.speaker", description=__doc__)
    add_corpus_options(parser)
    parser.add_argument("--noise", type=Path, default=SHARED / "noise", help="noise and impulse responses")
    parser.add_argument("--corpus", choices=CORPORA, action="append", help="only these corpora (repeatable)")
    parser.add_argument(
        "--keep-out",
        choices=KEEP_OUT,
        default="nobody",
        help="speakers not to hear: those of the benchmarks (test), and those on whom things are chosen as well "
        "(development); default: nobody, as shipped",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--models", type=Path, required=True, help="folder of models to write the network to")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    recipe = Recipe(seed=options.seed, steps=options.steps)
    try:
        named = clips_from_options(options)
        clips = training_clips(
            [clip for clip in named if clip.corpus in (options.corpus or CORPORA)],
            keep_out=KEEP_OUT[options.keep_out],
        )
        takes = read_takes(clips, recipe.hearing, noise=options.noise, cache=options.cache, jobs=options.jobs)
    except CallmoodError as error:
        parser.error(str(error))
    log.info("%d takes of %d voices", len(takes.frames), takes.voices)
    network = fit(takes, recipe)
    (options.models / VOICE_WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
    network.save_weights(options.models / VOICE_WEIGHTS)
    config = {name: value for name, value in asdict(recipe).items() if name not in ("front_end", "network")}
    config = {"front_end": asdict(recipe.front_end), "network": asdict(recipe.network), "recipe": config}
    (options.models / VOICE_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    use = licence({clip.corpus for clip in clips})
    record(options.models, dict.fromkeys((VOICE_CONFIG, VOICE_WEIGHTS), use))


if __name__ == "__main__":
    main()
