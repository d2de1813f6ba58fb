"""Train what tells that two speak at once: `python -m training.overlap --help`.

    python -m training.overlap --models models

It hears what CAM++ makes of the speech after its first and its second dense block (the network of the folder of models stays
as it is), learns from simulated calls in which two voices talk over each other, and becomes a part of that network's file.
The voices are those that CAM++ was trained on (`training.campplus.training_clips`).
"""

from __future__ import annotations

import argparse
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.campplus import BANDS, BLOCK_FRAMES, FRAMES_PER_S, CallBands
from callmood.diarize.ears import stretches_of
from callmood.diarize.onnx_session import onnx_session
from callmood.diarize.turns import Regions
from callmood.diarize.vad import RATE_HZ, speech_in_calls
from callmood.errors import CallmoodError
from callmood.model_files import CAMPPLUS, verified
from callmood.types import Floats
from training.acoustics import training_acoustics
from training.augment import Acoustics, add_noise, band_limit, encode, reverberate
from training.campplus import training_clips
from training.corpora import SHARED, Clip, add_corpus_options, clips_from_options, load_clip
from training.export import licence, record
from training.speaker import spoken_parts

log = logging.getLogger("training")

HEARD = tuple(f"/transit{block}/linear/Conv_output_0_DequantizeLinear_Output" for block in (1, 2))
"""What it hears, by the names that `training.campplus.write` leaves."""
CHANNELS = 256 + 512
STEPS_PER_S = FRAMES_PER_S // 2
_STEPS_PER_DECISION = 5
_ADDED = "overlap/"
"""What the names of its operations begin with."""
_CODECS = ("ULAW", "ALAW", "GSM610")

Halves = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training makes of its clips."""

    calls: int = 600
    call_s: float = 60.0
    talking_over: tuple[float, ...] = (0.1, 0.35, 0.6)
    """Share of the utterances of a call that begin before the other's have ended, by 0.2 to 1.5 s; half as often the other
    says a word of 0.25 to 0.9 s meanwhile."""
    channels: int = 96
    dropout: float = 0.2
    epochs: int = 4
    chunk: int = 150
    """Steps of 20 ms that are learned from together,"""
    batch: int = 32
    """and so many of them at a time."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A simulated call."""

    samples: Floats
    """Shape (n,) at 8 kHz."""
    spoken: tuple[Regions, Regions]
    """When each of its parties speaks."""


def simulate(voices: Mapping[str, Sequence[Clip]], acoustics: Acoustics, recipe: Recipe, number: int) -> Talk:
    """Call `number` of two voices: over one line, or over one for each, with noise that does not stop when they do."""
    rng = np.random.default_rng((recipe.seed, number))
    clips = [voices[name] for name in rng.choice(sorted(voices), 2, replace=False)]
    # Utterances of one voice at their own levels, or brought nearer to one another.
    levelling = float(rng.choice([0.4, 1.0]))
    gains = 10 ** (rng.uniform(-6.0, 6.0, 2) / 20)
    talking_over = float(rng.choice(recipe.talking_over))
    tracks = np.zeros((2, round(recipe.call_s * RATE_HZ)), dtype=np.float32)
    spoken: tuple[list[Regions], list[Regions]] = ([], [])
    silent_from = [0, 0]

    def say(who: int, start: int, *, word: bool = False) -> int:
        """One utterance, or a word of it; its length in samples, 0 where the call ends before it does."""
        samples, regions = _spoken(clips[who][int(rng.integers(len(clips[who])))])
        if word:
            first = int(rng.uniform(0, max(len(samples) - RATE_HZ, 1)))
            samples = samples[first : first + int(rng.uniform(0.25, 0.9) * RATE_HZ)]
            fade = np.minimum(np.arange(len(samples)), np.arange(len(samples))[::-1]) / (0.02 * RATE_HZ)
            samples = samples * np.minimum(fade, 1.0)
            regions = np.clip(regions - first / RATE_HZ, 0.0, len(samples) / RATE_HZ)
        if start + len(samples) > tracks.shape[1]:
            return 0
        level = float(np.sqrt(np.mean(samples**2))) + 1e-6
        gain = gains[who] * (level / 0.05) ** (levelling - 1.0)
        tracks[who, start : start + len(samples)] += gain * samples
        spoken[who].append(regions[regions[:, 1] > regions[:, 0]] + start / RATE_HZ)
        silent_from[who] = start + len(samples)
        return len(samples)

    who, start = int(rng.integers(2)), int(rng.uniform(0.0, 1.0) * RATE_HZ)
    while length := say(who, max(start, silent_from[who])):
        start, end, other = silent_from[who] - length, silent_from[who], 1 - who
        if rng.random() < talking_over / 2 and length > RATE_HZ:
            say(other, max(start + int(rng.uniform(0, length - RATE_HZ / 2)), silent_from[other]), word=True)
        if rng.random() < talking_over:
            who, start = (
                other,
                end - int(rng.uniform(0.2, np.clip(length / RATE_HZ - 0.1, 0.2, 1.5)) * RATE_HZ),
            )
        else:
            who, start = (other if rng.random() < 0.8 else who), end + int(rng.uniform(0.1, 1.0) * RATE_HZ)
    over_line = partial(_over_line, acoustics=acoustics, rng=rng)
    if rng.random() < 0.5:
        samples = over_line(tracks.sum(axis=0))
    else:
        one, other_one = (over_line(track) for track in tracks)
        samples = one + 10 ** (rng.uniform(-6.0, 6.0) / 20) * other_one
    samples = np.asarray(samples * (0.8 / max(float(np.abs(samples).max()), 1e-6)), dtype=np.float32)
    first, second = (np.concatenate([np.empty((0, 2)), *regions]) for regions in spoken)
    return Talk(samples=samples, spoken=(first, second))


def _spoken(clip: Clip) -> tuple[Floats, Regions]:
    return spoken_parts(load_clip(clip, rate_hz=RATE_HZ))


def _over_line(track: Floats, *, acoustics: Acoustics, rng: np.random.Generator) -> Floats:
    out = track
    if acoustics.rooms and rng.random() < 0.2:
        out = reverberate(out, acoustics.rooms[int(rng.integers(len(acoustics.rooms)))])[: len(track)]
    if rng.random() < 0.6:
        noise = acoustics.noises[int(rng.integers(len(acoustics.noises)))]
        out = add_noise(out, noise, snr_db=float(rng.uniform(10.0, 35.0)), rng=rng)
    else:
        hiss = np.sqrt(np.mean(out**2)) * 10 ** (-rng.uniform(25.0, 45.0) / 20)
        out = np.asarray(out + hiss * rng.standard_normal(len(out)), dtype=np.float32)
    out = band_limit(
        out, low_hz=float(rng.uniform(150, 350)), high_hz=float(rng.uniform(3200, 3700)), rate_hz=RATE_HZ
    )
    out = np.asarray(out * (rng.uniform(0.2, 0.9) / max(float(np.abs(out).max()), 1e-6)), dtype=np.float32)
    coded = encode(out, subtype=str(rng.choice(_CODECS)), rate_hz=RATE_HZ)
    # Some codecs give a few samples less back than they were given.
    return np.pad(coded, (0, max(len(track) - len(coded), 0)))[: len(track)]


def listen(network: Any, talk: Talk) -> Iterator[tuple[Halves, NDArray[np.int8]]]:
    """What is heard in each stretch of a call's speech, shape (steps, `CHANNELS`), and whether two speak in each step: 1 or 0,
    or -1 where the stretch is filled up."""
    (regions,) = speech_in_calls([talk.samples])
    if not len(regions):
        return
    stretches = stretches_of(regions)
    both = np.ones(round(len(talk.samples) / RATE_HZ * STEPS_PER_S) + BLOCK_FRAMES, dtype=np.int8)
    for spoken in talk.spoken:
        one = np.zeros(len(both), dtype=np.int8)
        for start, end in np.rint(spoken * STEPS_PER_S).astype(int):
            one[start:end] = 1
        both &= one
    call = CallBands(talk.samples, stretches)
    for number, (start_s, _) in enumerate(stretches):
        bands = call[number]
        filled = np.pad(bands, ((0, -len(bands) % BLOCK_FRAMES), (0, BANDS - bands.shape[1])))
        heard = network.run(list(HEARD), {"bands": filled[np.newaxis]})
        rows = np.concatenate(heard, axis=1)[0].T.astype(np.float16)
        first, steps = round(float(start_s) * STEPS_PER_S), max(1, len(bands) // 2)
        yield rows, np.pad(both[first : first + steps], (0, len(rows) - steps), constant_values=-1)


def _lessons(
    numbers: Sequence[int],
    voices: Mapping[str, Sequence[Clip]],
    acoustics: Acoustics,
    recipe: Recipe,
    network: bytes,
) -> tuple[Halves, NDArray[np.int8]]:
    """Chunks of some simulated calls, shape (chunks, steps, `CHANNELS`), and whether two speak (-1: filled up)."""
    session = onnx_session(network)
    heard = [np.empty((0, recipe.chunk, CHANNELS), dtype=np.float16)]
    both = [np.empty((0, recipe.chunk), dtype=np.int8)]
    for number in numbers:
        for rows, labels in listen(session, simulate(voices, acoustics, recipe, number)):
            missing = -len(rows) % recipe.chunk
            heard.append(np.pad(rows, ((0, missing), (0, 0))).reshape(-1, recipe.chunk, CHANNELS))
            both.append(np.pad(labels, (0, missing), constant_values=-1).reshape(-1, recipe.chunk))
    return np.concatenate(heard), np.concatenate(both)


def overlap_network(recipe: Recipe) -> Any:
    """(batch, `CHANNELS`, steps) to logits, (batch, 1, steps): from half a second around each step."""
    from torch import nn

    channels, dropout = recipe.channels, recipe.dropout
    return nn.Sequential(
        nn.Conv1d(CHANNELS, channels, 1),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv1d(channels, channels, 7, padding=3),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv1d(channels, channels, 7, padding=9, dilation=3),
        nn.ReLU(),
        nn.Conv1d(channels, 1, 1),
    )


def fit(heard: Halves, both: NDArray[np.int8], recipe: Recipe) -> Any:
    """The network, trained on chunks of `_lessons`; it takes what was heard as it is."""
    import torch
    from torch.nn import functional

    torch.manual_seed(recipe.seed)
    some = heard[::10][both[::10] >= 0].astype(np.float32)
    mean, spread = some.mean(axis=0), some.std(axis=0) + 1e-3
    network = overlap_network(recipe).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    batches = -(-len(heard) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches
    )
    rng = np.random.default_rng(recipe.seed)
    for epoch in range(recipe.epochs):
        losses = []
        for chunks in np.array_split(rng.permutation(len(heard)), batches):
            rows = (heard[chunks].astype(np.float32) - mean) / spread
            labels = torch.tensor(both[chunks])
            known = labels >= 0
            logits = network(torch.tensor(rows).transpose(1, 2))[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits[known], labels[known].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        log.info("epoch %d: loss %.4f", epoch + 1, np.mean(losses))
    first = network[0]
    with torch.no_grad():
        first.weight /= torch.tensor(spread)[None, :, None]
        first.bias -= first.weight[..., 0] @ torch.tensor(mean)
    return network.eval()


def hearing(network: Any) -> Any:
    """The ONNX of CAM++ with the embeddings and `HEARD` for outputs, without what `joined` may have added before.

    Its operations stay in their order, since onnxruntime needs twice the memory in another.
    """
    from onnx import ModelProto, TensorProto, helper

    found = ModelProto()
    found.CopyFrom(network)
    graph = found.graph
    for parts in (graph.node, graph.initializer, graph.value_info):
        own = [part for part in parts if not part.name.startswith(_ADDED)]
        del parts[:]
        parts.extend(own)
    outputs = [output for output in graph.output if output.name == "embeddings"] + [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("stretches", channels, "steps of 20 ms"))
        for name, channels in zip(HEARD, (256, 512), strict=True)
    ]
    del graph.output[:]
    graph.output.extend(outputs)
    return found


def joined(heard: Any, overlap: Any) -> Any:
    """The ONNX of `hearing` and the network of `fit` as one.

    Its outputs are `embeddings`, and `overlap`, shape (stretches, frames / 10): the probability that two speak at once.
    """
    import onnx
    import torch
    from onnx import compose
    from torch import nn

    class Overlap(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.logits = overlap

        def forward(self, first: Any, second: Any) -> Any:
            logits = self.logits(torch.cat([first, second], 1))
            return nn.functional.avg_pool1d(torch.sigmoid(logits), _STEPS_PER_DECISION)[:, 0]

    buffer = io.BytesIO()
    steps = (BLOCK_FRAMES // 2) * 4
    with warnings.catch_warnings():
        # The exporter that takes its place needs packages that nothing else here does.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Overlap().eval(),
            (torch.zeros(1, 256, steps), torch.zeros(1, 512, steps)),
            buffer,
            input_names=["first", "second"],
            output_names=["overlap"],
            dynamic_axes={
                "first": {0: "stretches", 2: "steps"},
                "second": {0: "stretches", 2: "steps"},
                "overlap": {0: "stretches", 1: "tenths"},
            },
            opset_version=17,
            dynamo=False,
        )
    added = compose.add_prefix(onnx.load_from_string(buffer.getvalue()), _ADDED, rename_outputs=False)
    added.ir_version = heard.ir_version
    return compose.merge_models(
        heard,
        added,
        io_map=[(HEARD[0], f"{_ADDED}first"), (HEARD[1], f"{_ADDED}second")],
        outputs=["embeddings", "overlap"],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.overlap", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_corpus_options(parser)
    parser.add_argument("--noise", type=Path, default=SHARED / "noise", help="noise and impulse responses")
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--calls", type=int, default=Recipe().calls)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--models",
        type=Path,
        required=True,
        help="folder of models to write CAM++ with it to; its own CAM++, or else the default set's, is heard",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    import joblib
    import onnx
    import torch

    torch.set_num_threads(options.jobs)
    recipe = Recipe(seed=options.seed, calls=options.calls)
    try:
        voices: dict[str, list[Clip]] = {}
        for clip in training_clips(clips_from_options(options, corpora=["crema-d"])):
            voices.setdefault(clip.speaker, []).append(clip)
        acoustics = training_acoustics(options.noise, rate_hz=RATE_HZ)
        source = verified(CAMPPLUS, options.models)
    except CallmoodError as error:
        parser.error(str(error))
    network = hearing(onnx.load(source))
    parts = joblib.Parallel(n_jobs=options.jobs, verbose=1)(
        joblib.delayed(_lessons)(numbers, voices, acoustics, recipe, network.SerializeToString())
        for numbers in np.array_split(np.arange(recipe.calls), max(1, recipe.calls // 50))
    )
    heard, both = (np.concatenate(each) for each in zip(*parts, strict=True))
    del parts  # some gigabytes
    log.info("two speak in %.1f %% of the speech", 100 * float((both == 1).sum() / (both >= 0).sum()))
    target = options.models / CAMPPLUS
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(joined(network, fit(heard, both, recipe)), target)
    use = f"{licence({'crema-d'})}, from CAM++ of 3D-Speaker (Apache-2.0)"
    record(options.models, {CAMPPLUS: use})


if __name__ == "__main__":
    main()
