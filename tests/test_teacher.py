"""What training learns from the activations of a larger network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audio import tone, write_wav

from callmood.errors import UsageError
from callmood.types import Floats
from training.activations import log_mel, main, open_encoder
from training.corpora import Clip, label_indices
from training.teacher import EMBEDDING_SIZE, Tracks, learn_teacher

WIDTH = 150
HEARD = ("happy", "sad")


def test_a_mean_over_part_of_a_track_is_that_of_its_steps() -> None:
    tracks = Tracks.of_steps([np.array([[1.0], [2.0], [6.0]], dtype=np.float32)], step_s=0.5)

    total, steps = tracks.total(0, 0.25, 1.25)

    assert steps == 2
    assert total.tolist() == [0.5 * 1 + 2 + 0.5 * 6]
    last, steps = tracks.total(0, 1.4, 9.0)
    assert (last.tolist(), steps) == (pytest.approx([0.2 * 6]), pytest.approx(0.2))


def clips_and_activations(clips: int = 400) -> tuple[list[Clip], Floats]:
    """Clips of eight speakers; happy lifts the first coordinate."""
    rng = np.random.default_rng(0)
    made = [
        Clip(
            file=f"{i}.wav",
            path=Path(f"{i}.wav"),
            corpus="c",
            speaker=f"s{i % 8}",
            emotion=HEARD[(i // 8) % 2],
        )
        for i in range(clips)
    ]
    activations = rng.normal(0, 1, (clips, WIDTH)).astype(np.float32)
    activations[:, 0] += [8.0 * (clip.emotion == "happy") for clip in made]
    return made, activations


def folds_of(clips: list[Clip]) -> np.ndarray:
    return np.array([int(clip.speaker[1]) % 4 for clip in clips])


def test_the_teacher_tells_emotions_of_speakers_that_it_was_not_fitted_to(tmp_path: Path) -> None:
    clips, activations = clips_and_activations()
    half = WIDTH // 2
    np.savez(
        tmp_path / "means.npz",
        clip=np.array([clip.file for clip in clips[1:]]),
        layer6_mean=activations[1:, :half].astype(np.float16),
        layer8_mean=activations[1:, half:].astype(np.float16),
    )

    teacher = learn_teacher(
        clips,
        tmp_path / "means.npz",
        speech_s=[(0.2, 1.0)] * len(clips),
        fold_of=folds_of(clips),
        cache=tmp_path,
    )

    assert np.isnan(teacher.probabilities[0]).all()
    right = teacher.probabilities[1:].argmax(axis=1) == label_indices(clips)[1:]
    assert right.mean() > 0.9
    assert teacher.embeddings.size == EMBEDDING_SIZE
    assert teacher.embeddings.total(0, 0.2, 1.0)[1] == 0
    total, steps = teacher.embeddings.total(1, 0.2, 1.0)
    other, others = teacher.embeddings.total(1, 0.7, 0.9)
    assert total / steps == pytest.approx(other / others, abs=1e-3)


def test_activations_step_by_step_are_told_apart_within_a_clip(tmp_path: Path) -> None:
    """The first second of each clip is the clip's own, what follows is another's; speech ends after a second."""
    clips, activations = clips_and_activations()
    rows = [
        np.repeat([own, other], 5, axis=0) for own, other in zip(activations, activations[::-1], strict=True)
    ]
    np.savez(
        tmp_path / "steps.npz",
        clip=np.array([clip.file for clip in clips]),
        steps=np.full(len(clips), 10),
        step_s=0.2,
        activations=np.concatenate(rows).astype(np.float16),
    )

    teacher = learn_teacher(
        clips,
        tmp_path / "steps.npz",
        speech_s=[(0.0, 1.0)] * len(clips),
        fold_of=folds_of(clips),
        cache=tmp_path,
    )

    assert (teacher.probabilities.argmax(axis=1) == label_indices(clips)).mean() > 0.9
    means = np.array([teacher.embeddings.total(clip, 0.0, 1.0)[0] / 5 for clip in range(len(clips))])
    assert means.std() == pytest.approx(1.0, abs=0.01)
    first, second = (teacher.embeddings.total(0, start, start + 1)[0] for start in (0.0, 1.0))
    assert np.abs(first - second).max() > 1.0


def encoder_of(path: Path, *, layers: int) -> Path:
    """A file with the names and shapes of Whisper's encoder, whose layers add up the mel frames and positions."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node(
            "Conv", ["input_features", "kernel"], ["convolved"], strides=[2], pads=[1, 1], kernel_shape=[3]
        ),
        helper.make_node("Transpose", ["convolved"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Add", ["turned", "embed_positions.weight"], ["layer0"]),
    ]
    for layer in range(layers):
        nodes.append(
            helper.make_node("Add", [nodes[-1].output[0], "turned"], [f"/layers.{layer}/Add_1_output_0"])
        )
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("input_features", TensorProto.FLOAT, [1, 80, "frames"])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(rng.normal(0, 0.1, (4, 80, 3)).astype(np.float32), "kernel"),
            numpy_helper.from_array(rng.normal(0, 1, (50, 4)).astype(np.float32), "embed_positions.weight"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_an_encoder_hears_clips_of_any_length_without_padding(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path / "encoder.onnx", layers=8)
    manifest = ["file,corpus,speaker,emotion"]
    for name, seconds in (("short", 0.45), ("long", 0.9)):
        write_wav(tmp_path / f"{name}.wav", tone(seconds=seconds, rate_hz=16_000), rate_hz=16_000)
        manifest.append(f"{name}.wav,savee,DC,angry")
    (tmp_path / "savee.csv").write_text("\n".join(manifest))

    main([str(encoder), "--corpora", str(tmp_path), "--jobs", "1", "--out", str(tmp_path / "out.npz")])

    with np.load(tmp_path / "out.npz") as found:
        assert found["clip"].tolist() == ["short.wav", "long.wav"]
        assert found["steps"].tolist() == [3, 5]
        assert found["activations"].shape == (8, 2 * 4)
        # Layer 8 is layer 6 plus two times what the first convolution gave.
        session, positions = open_encoder(encoder)
        mel = log_mel(tone(seconds=0.9, rate_hz=16_000))
        sixth, eighth = session.run(
            None, {"input_features": mel[None], "embed_positions.weight": positions[: mel.shape[1] // 2]}
        )
        assert found["activations"][3] == pytest.approx(
            np.concatenate([sixth[0, :10].mean(axis=0), eighth[0, :10].mean(axis=0)]), abs=0.02
        )


def test_a_file_that_is_no_such_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no Whisper encoder"):
        open_encoder(encoder_of(tmp_path / "encoder.onnx", layers=7))


def test_whispers_input_has_eighty_bands_every_ten_milliseconds() -> None:
    mel = log_mel(tone(seconds=1.0, rate_hz=16_000, hz=1000.0))

    assert mel.shape == (80, 100)
    assert np.ptp(mel) == pytest.approx(2.0, abs=0.01)
    # 1 kHz is 15 mel of Slaney's, of 37.2 up to 8 kHz: a third of the bands.
    assert mel[:, 50].argmax() == pytest.approx(80 * 15 / 45.2, abs=1)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_without_activations_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "teacher.npz"
    if content is None:
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes(content)
    clips = [Clip(file="a", path=tmp_path / "a", corpus="savee", speaker="savee/DC", emotion="sad")]
    with pytest.raises(UsageError, match=r"teacher\.npz: holds no activations"):
        learn_teacher(clips, path, speech_s=[(0.0, 1.0)], fold_of=np.zeros(1, dtype=np.int64), cache=tmp_path)


def test_a_file_that_is_no_encoder_is_named(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"no model at all")
    with pytest.raises(UsageError, match=r"encoder\.onnx: is no"):
        open_encoder(tmp_path / "encoder.onnx")
