"""CAM++ for the telephone: what it hears, how it is trained on, and that it is one network in PyTorch and onnxruntime."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from callmood.diarize import campplus
from callmood.diarize.campplus import BANDS, DIMENSIONS, CamPlus, mel_bands
from callmood.diarize.ears import Ears
from callmood.diarize.engine import make_diarizer
from callmood.diarize.onnx_session import onnx_session
from callmood.errors import CallmoodError, ModelError
from callmood.model_files import CAMPPLUS, describe_models, models_folder, verified
from callmood.types import Floats
from training.campplus import (
    Recipe,
    Taught,
    draw_batch,
    examples_of,
    exported,
    fit,
    for_the_telephone,
    load,
    losses,
    mixed,
    taught,
    training_clips,
    write,
)
from training.corpora import Clip
from training.export import record
from training.speaker import DEVELOPMENT, HELD_OUT, Takes

TINY = replace(Recipe(), steps=6, calls=2, utterances=3, frames=30)


def vowels(pitch_hz: float, seconds: float) -> Floats:
    t = np.arange(int(8000 * seconds)) / 8000
    return (
        np.asarray(sum(np.sin(2 * np.pi * k * pitch_hz * t) / k for k in range(1, 20)), dtype=np.float32)
        * 0.1
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network with random weights."""
    import torch

    from training.campplus_network import CamPlusNetwork

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "campplus.pt"
    weights = CamPlusNetwork(over_time=False).state_dict()
    # No two normalisations are alike in a real one.
    weights |= {
        name: values + 0.5 * torch.rand_like(values)
        for name, values in weights.items()
        if ("batchnorm" in name or "bn" in name) and values.is_floating_point()
    }
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def lessons() -> Taught:
    """Four speakers, each at two speeds."""
    rng = np.random.default_rng(0)
    clips = [
        Clip(
            file=f"{speaker}-{number}",
            path=Path("x"),
            corpus="crema-d",
            speaker=f"crema-d/{speaker}",
            emotion="sad",
        )
        for speaker in range(1001, 1005)
        for number in range(3)
    ]
    recipe = replace(TINY, speeds=(1.0, 0.89))
    frames = [rng.normal(0.0, 2.0, (40, 59)).astype(np.float16) for _ in range(2 * len(clips))]
    names = [f"{clip.speaker} {speed}" for clip in clips for speed in recipe.speeds]
    known, voice = np.unique(names, return_inverse=True)
    said = rng.normal(size=(len(clips), 2, DIMENSIONS)).astype(np.float32)
    return taught(Takes(frames=tuple(frames), voice=voice, voices=len(known)), said, recipe)


@pytest.mark.parametrize(
    ("rate_hz", "bands"),
    # At the telephone's rate, the bands of the other that it carries whole: the 59th ends at 3,860 Hz.
    [(8000, {"num_mel_bins": 59, "high_freq": 3859.868}), (16000, {"num_mel_bins": BANDS})],
)
def test_mel_bands_are_those_of_kaldi(rate_hz: int, bands: dict[str, float]) -> None:
    import torch

    from callmood.diarize.pyannote import _import_pyannote, _version

    _import_pyannote(_version())
    from torchaudio.compliance.kaldi import fbank

    samples = np.random.default_rng(0).normal(0.0, 0.1, rate_hz).astype(np.float32)
    kaldi = fbank(torch.tensor(samples)[None], sample_frequency=rate_hz, dither=0.0, **bands)
    assert mel_bands(samples, rate_hz=rate_hz) == pytest.approx(kaldi.numpy(), abs=1e-3)


def test_speech_at_eight_and_sixteen_kilohertz_has_the_same_bands_but_for_a_constant() -> None:
    import soxr

    narrow = np.random.default_rng(1).normal(0.0, 0.1, 16000).astype(np.float32)
    wide = soxr.resample(narrow, 8000, 16000)
    low, high = mel_bands(narrow), mel_bands(wide, rate_hz=16000)
    apart = low[:, 5:50] - high[: len(low), 5:50]
    assert apart.std(axis=0).max() < 0.1


def test_less_than_a_frame_is_one_frame() -> None:
    assert mel_bands(np.zeros(10, dtype=np.float32)).shape == (1, 59)


def test_a_call_is_of_two_voices_at_one_speed(lessons: Taught) -> None:
    frames, takes = draw_batch(lessons, TINY, 5)
    again, _ = draw_batch(lessons, TINY, 5)
    assert frames.shape == (2 * 2 * 3, 30, BANDS)
    assert (frames == again).all()
    for call in lessons.takes.voice[takes].reshape(2, 2, 3):
        assert [len(set(of_one)) for of_one in call] == [1, 1]
        assert call[0, 0] != call[1, 0]
        assert len(set(lessons.speed[call[:, 0]])) == 1
    # Each call is heard relative to itself, and what the telephone does not carry is as in its mean.
    assert frames.reshape(2, -1, BANDS).mean(axis=1) == pytest.approx(np.zeros((2, BANDS)), abs=1e-4)
    assert not frames[..., 59:].any()


def test_losses_are_least_where_the_student_says_what_the_teacher_says(lessons: Taught) -> None:
    import torch

    _, takes = draw_batch(lessons, TINY, 0)
    right = torch.tensor(lessons.said[takes] + lessons.middle)
    of_clip, of_voice, _ = losses(right, takes, lessons, TINY).tolist()
    assert of_clip == pytest.approx(0.0, abs=1e-5)
    wrong_clip, wrong_voice, _ = losses(-right, takes, lessons, TINY).tolist()
    assert wrong_clip > of_clip
    assert wrong_voice > of_voice

    # Each voice's own direction, in every utterance: cosines of 1 and -1 to both voices of the call.
    voices = lessons.takes.voice[takes]
    *_, of_call = losses(torch.tensor(lessons.voices[voices]), takes, lessons, TINY).tolist()
    assert of_call == pytest.approx(np.log1p(np.exp(5.0 * (0.3 - 2.0))), abs=1e-4)


def test_training_lowers_its_losses(lessons: Taught, start: Path) -> None:
    import torch

    frames, takes = draw_batch(lessons, TINY, 0)

    def loss(network: object) -> float:
        with torch.no_grad():
            steps = network.steps(torch.tensor(frames))  # type: ignore[attr-defined]
            embedded = network.embedding(steps.mean(-1), steps.std(-1))  # type: ignore[attr-defined]
        return float(losses(embedded, takes, lessons, TINY).sum())

    before = loss(load(start, over_time=True).eval())
    network = fit(lessons, start, replace(TINY, learning_rate=1e-3))
    assert loss(network) < before


@pytest.mark.parametrize("frames", [90, 330, 2010])
def test_onnxruntime_says_what_pytorch_does(start: Path, frames: int) -> None:
    import torch

    network = load(start, over_time=True)
    bands = np.random.default_rng(2).normal(0.0, 2.0, (1, frames, BANDS)).astype(np.float32)
    bands[:, frames // 2 :] *= np.float32(0.3)
    (found,) = onnx_session(exported(network).SerializeToString()).run(None, {"bands": bands})
    with torch.no_grad():
        expected = network(torch.tensor(bands)).numpy()
    assert found.shape == (1, frames // 10, DIMENSIONS)
    # What random weights say is nearly all the same: what counts is what differs from step to step.
    spread = float(expected.std(axis=1).max())
    assert found == pytest.approx(expected, abs=0.02 * spread)
    assert np.abs(expected[:, ::-1] - expected).max() > spread


EXAMPLE = np.random.default_rng(2).normal(0.0, 2.0, (1, 90, BANDS)).astype(np.float32)


@pytest.fixture(scope="module")
def written(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of `start` as `write` writes it."""
    path = tmp_path_factory.mktemp("written") / "network.onnx"
    write(load(start, over_time=True), path, [EXAMPLE])
    return path


def test_what_is_written_differs_by_the_rounding_to_eight_bits(start: Path, written: Path) -> None:
    exact, rounded = (
        onnx_session(source).run(None, {"bands": EXAMPLE})[0]
        for source in (exported(load(start, over_time=True)).SerializeToString(), str(written))
    )
    assert rounded == pytest.approx(exact, abs=0.03 * float(np.abs(exact).max()))
    assert written.stat().st_size < 12e6


def test_what_is_in_eight_bits_is_what_training_knew_of(written: Path) -> None:
    import onnx

    graph = onnx.load(written).graph
    producer = {output: node for node in graph.node for output in node.output}

    def in_eight_bits(value: str) -> bool:
        return value in producer and producer[value].op_type == "DequantizeLinear"

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    exact = [node.name for node in convolutions if not in_eight_bits(node.input[1])]
    assert exact == [convolutions[0].name, convolutions[-1].name]
    assert "conv1" in exact[0]
    assert "dense" in exact[1]
    sums = [node for node in graph.node if node.op_type == "Add" and all(map(in_eight_bits, node.input))]
    assert len(sums) == 4
    masks = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(masks) == 2 * (12 + 24 + 16)
    assert not [node for node in masks if any(map(in_eight_bits, node.input))]
    # What is below zero is not told apart before a ReLU, and no shape is computed.
    assert not [node for node in graph.node if node.op_type == "Relu" and in_eight_bits(node.input[0])]
    assert not [node for node in graph.node if node.op_type == "Shape"]


@pytest.mark.parametrize("over_time", [True, False])
def test_masks_follow_from_means_around_a_step(over_time: bool) -> None:
    import torch

    from training.campplus_network import _Masked

    torch.manual_seed(0)
    masked = _Masked(1, over_time=over_time).double()
    # Six blocks of 15 steps; or a segment of 100 steps and one of what is left.
    x = torch.randn(2, 128, 90 if over_time else 125, dtype=torch.float64)
    if over_time:
        blocks = x.unflatten(-1, (6, 15)).mean(-1)
        around = [2 * blocks[..., max(0, at - 2) : at + 3].mean(-1) for at in range(6)]
        context = torch.stack(around, -1).repeat_interleave(15, -1)
    else:
        segments = [x[..., :100].mean(-1), x[..., 100:].mean(-1)]
        context = x.mean(-1, keepdim=True) + torch.stack(segments, -1).repeat_interleave(100, -1)[..., :125]
    with torch.no_grad():
        mask = torch.sigmoid(masked.linear2(torch.relu(masked.linear1(context))))
        assert torch.allclose(masked(x), masked.linear_local(x) * mask)


def test_a_change_of_shape_passes_gradients_on() -> None:
    import torch

    from training.campplus_network import _Reshape

    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    assert _Reshape.apply(x, (0, 0, -1, 4)).shape == (2, 3, 2, 4)
    assert torch.autograd.gradcheck(lambda x: _Reshape.apply(x, (0, 0, -1, 4)) ** 2, (x,))


def test_examples_are_four_utterances(lessons: Taught) -> None:
    found = examples_of(lessons, replace(TINY, examples=3))
    assert [part.shape for part in found] == [(1, 4 * TINY.frames, BANDS)] * 3


class Says:
    """In place of the network: the mean of the bands of each tenth of a second, and of overlap that of the first band."""

    def run(self, _: None, given: dict[str, Floats]) -> list[Floats]:
        tenths = given["bands"].reshape(len(given["bands"]), -1, 10, BANDS).mean(axis=2)
        return [np.pad(tenths, ((0, 0), (0, 0), (0, DIMENSIONS - BANDS))), tenths[..., 0]]


def test_stretches_are_heard_relative_to_the_call_and_at_one_level() -> None:
    noise = np.random.default_rng(2).normal(0.0, 0.02, 41_040).astype(np.float32)
    noise[:16_000] *= np.linspace(0.1, 1.0, 16_000, dtype=np.float32)
    campplus = CamPlus()
    vars(campplus)["_network"] = Says()
    found = np.empty((47, DIMENSIONS), dtype=np.float16)
    overlap = campplus.embed(noise, np.array([[0.0, 3.6], [4.1, 5.13]]), [36, 11], found)

    parts = [noise[:28_800], noise[32_800:]]
    level = np.sqrt(np.mean(np.concatenate(parts) ** 2))
    bands = [mel_bands(part * np.float32(0.1 / level)) for part in parts]
    mean = np.concatenate(bands).mean(axis=0)
    # 358 frames, filled up to 360 with the mean, and 101 up to 120, of which eleven tenths of a second are asked for.
    filled = [
        np.pad(part - mean, ((0, more), (0, 0))).reshape(-1, 10, 59).mean(axis=1)
        for part, more in zip(bands, (2, 19), strict=True)
    ]
    expected = np.concatenate((filled[0], filled[1][:11]))
    assert found[:, :59] == pytest.approx(expected, abs=0.01)
    assert overlap == pytest.approx(expected[:, 0], abs=0.01)
    assert np.abs(np.roll(expected, 1, axis=0) - expected).max() > 0.5
    assert not found[:, 59:].any()


def test_stretches_side_by_side_are_heard_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.concatenate([vowels(pitch, 4.0) for pitch in (110, 150, 240, 190)])
    stretches = np.array([[0.0, 1.5], [2.0, 3.4], [4.0, 7.9], [8.0, 9.45], [9.6, 9.7], [10.0, 15.9]])
    steps = [15, 14, 39, 15, 1, 59]

    def embedded() -> Floats:
        found = np.full((sum(steps), DIMENSIONS), np.nan, dtype=np.float16)
        overlap = CamPlus().embed(samples, stretches, steps, found)
        return np.column_stack((found, 10 * overlap)).astype(np.float32)

    together = embedded()
    monkeypatch.setattr(campplus, "_FRAMES_SIDE_BY_SIDE", 1)
    assert together == pytest.approx(embedded(), abs=0.01)
    assert np.abs(np.roll(together, 15, axis=0) - together).max() > 0.5


def test_a_front_for_the_telephone_learns_what_the_whole_one_says(lessons: Taught, start: Path) -> None:
    import torch

    from training.campplus_network import Front, telephone_front

    network = load(start, over_time=True).eval()
    bands = torch.tensor(draw_batch(lessons, TINY, 0)[0])
    with torch.no_grad():
        expected = Front(network.head, network.xvector.tdnn)(bands)
        before = telephone_front(network).eval()(bands)
    recipe = replace(TINY, front_steps=60, front_calls=2, front_learning_rate=1e-3)
    after = for_the_telephone(network, lessons, recipe)
    with torch.no_grad():
        found = Front(after.head, after.xvector.tdnn)(bands)
        said = after(bands[:3]).numpy()
    assert ((found - expected) ** 2).mean() < 0.7 * ((before - expected) ** 2).mean()

    (exact,) = onnx_session(exported(after).SerializeToString()).run(None, {"bands": bands.numpy()[:3]})
    assert exact == pytest.approx(said, abs=1e-3)


def test_a_front_loses_what_eight_bits_lose_and_is_exact_again_afterwards(
    lessons: Taught, start: Path
) -> None:
    import torch

    from training.campplus_network import telephone_front

    front = telephone_front(load(start, over_time=True)).eval()
    bands = torch.tensor(draw_batch(lessons, TINY, 0)[0])
    with torch.no_grad():
        exact = front(bands)
        with front.in_eight_bits():
            rounded = front(bands)
        again = front(bands)
    assert 0.001 < (rounded - exact).std() / exact.std() < 0.1
    assert torch.equal(again, exact)


def test_what_ships_lies_between_the_network_before_and_after(start: Path) -> None:
    import torch

    from training.campplus_network import CamPlusNetwork

    torch.manual_seed(1)
    after, before = CamPlusNetwork(over_time=True), load(start, over_time=True)
    name = "xvector.block1.tdnnd1.linear1.weight"
    expected = 0.75 * after.state_dict()[name] + 0.25 * before.state_dict()[name]
    found = mixed(after, before, kept=0.25).state_dict()
    assert torch.allclose(found[name], expected)


def test_what_is_no_checkpoint_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(CallmoodError, match=r"x\.pt: no checkpoint of CAM\+\+.*--start"):
        load(tmp_path / "x.pt", over_time=True)


def test_a_set_without_the_network_takes_that_of_the_default_set(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    record(tmp_path, {"notes": "a licence"})
    assert verified(CAMPPLUS, tmp_path) == models_folder() / CAMPPLUS
    assert [file.name for file in describe_models(tmp_path)] == ["notes", CAMPPLUS]


def test_a_set_with_one_of_its_own_takes_that(tmp_path: Path) -> None:
    (tmp_path / "speaker").mkdir()
    (tmp_path / CAMPPLUS).write_bytes(b"mine")
    record(tmp_path, {CAMPPLUS: "a licence"})
    assert verified(CAMPPLUS, tmp_path) == tmp_path / CAMPPLUS
    (tmp_path / CAMPPLUS).write_bytes(b"another")
    with pytest.raises(ModelError, match=r"campplus\.onnx"):
        verified(CAMPPLUS, tmp_path)


def test_ears_do_not_hear_how_loud_a_call_is() -> None:
    noise = np.random.default_rng(3).normal(0.0, 0.003, 32_000).astype(np.float32)
    samples = np.concatenate((vowels(110, 2.0), vowels(240, 2.0))) + noise
    stretches = np.array([[0.0, 2.0], [2.0, 4.0]])
    ears = Ears(device="cpu")
    found, fainter = (
        ears.embed(gain * samples, stretches).windows for gain in (np.float32(1.0), np.float32(0.2))
    )
    assert found.shape == (40, 128 + DIMENSIONS)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(40), abs=1e-4)
    assert np.sum(found * fainter, axis=1).min() > 0.98
    # Two voices, and what both have in common is taken out.
    assert found[5] @ found[10] > 0.5 > found[5] @ found[30]


@pytest.mark.parametrize("content", [b"nothing", "another"])
def test_what_is_recorded_and_not_the_network_is_refused(tmp_path: Path, content: bytes | str) -> None:
    from onnx import TensorProto, helper

    if content == "another":
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
        graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "other", [value], [other])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        content = model.SerializeToString()
    assert isinstance(content, bytes)
    (tmp_path / "speaker").mkdir()
    (tmp_path / CAMPPLUS).write_bytes(content)
    record(tmp_path, {CAMPPLUS: "a licence"})
    with pytest.raises(ModelError, match=r"campplus\.onnx: not this version's network"):
        CamPlus(tmp_path).embed(
            vowels(110, 1.0), np.array([[0.0, 1.0]]), [10], np.empty((10, DIMENSIONS), np.float16)
        )


def test_both_networks_have_their_share_of_a_cosine_and_campplus_is_kept_as_it_was() -> None:
    samples = np.concatenate((vowels(110, 2.0), vowels(240, 2.0)))
    stretches = np.array([[0.0, 2.0], [2.0, 4.0]])
    said = np.empty((40, DIMENSIONS), dtype=np.float16)
    CamPlus().embed(samples, stretches, [20, 20], said)
    heard = Ears(device="cpu").embed(samples, stretches)
    windows = heard.windows.astype(np.float32)
    assert np.sum(windows[:, :128] ** 2, axis=1) == pytest.approx(np.full(40, 0.4), abs=0.01)
    assert np.sum(windows[:, 128:] ** 2, axis=1) == pytest.approx(np.full(40, 0.6), abs=0.01)
    again = heard.middle + windows[:, 128:] * heard.apart[:, None]
    assert again == pytest.approx(said.astype(np.float32), abs=0.01)
    first, second = said[:20].astype(float).mean(axis=0), said[20:].astype(float).mean(axis=0)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert heard.likeness(np.arange(40) < 20) == pytest.approx(cosine, abs=0.01)


def test_nobody_is_heard_whose_calls_are_measured() -> None:
    def clip(speaker: str) -> Clip:
        return Clip(file=speaker, path=Path("x"), corpus="crema-d", speaker=speaker, emotion="sad")

    clips = [clip(speaker) for speaker in ("crema-d/1002", *sorted(HELD_OUT | DEVELOPMENT), "crema-d/1001")]
    assert [one.speaker for one in training_clips(clips)] == ["crema-d/1001", "crema-d/1002"]


def test_a_damaged_network_is_named_before_anything_is_heard(tmp_path: Path) -> None:
    shutil.copytree(models_folder(), tmp_path / "models")
    (tmp_path / "models" / CAMPPLUS).write_bytes(b"")
    with pytest.raises(ModelError, match=r"campplus\.onnx.*reinstall"):
        make_diarizer("builtin", speakers=2, models=tmp_path / "models")
