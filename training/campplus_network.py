"""CAM++ in PyTorch: the network of 3D-Speaker, whose weights it loads, and as it runs over a stretch of speech.

Wang, Zheng, Chen, Cheng and Chen, "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking", Interspeech 2023. The parameters have the names of 3D-Speaker's, so that its checkpoints fit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from callmood.diarize.campplus import BANDS, DIMENSIONS

_CONTEXT_BLOCK, _CONTEXT_BLOCKS = 15, 5
"""The masks follow from means over five blocks of 15 steps of 20 ms, a block at a time."""
_HOP, _HOPS = 5, 11
"""The embeddings are of 1.1 s each 0.1 s, in steps of 20 ms."""
_WHOLE_SEGMENT = 100
"""The paper's masks follow from means over the whole recording and over segments of so many steps."""
_GROWTH, _BOTTLENECK, _CHANNELS = 32, 128, 32
_FRONT = 128
"""Channels that the dense blocks take."""
_TELEPHONE_BANDS = 64
"""Those that the telephone carries, and some more: a multiple of 8."""
_BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each."""


class CamPlusNetwork(nn.Module):  # type: ignore[misc]
    """Mel bands to embeddings: of each whole input, or (`over_time`) of windows of it."""

    def __init__(self, *, over_time: bool) -> None:
        super().__init__()
        self.over_time = over_time
        self.head = _Head()
        layers: OrderedDict[str, nn.Module] = OrderedDict(tdnn=_Tdnn(_CHANNELS * BANDS // 8, _FRONT))
        channels = _FRONT
        for number, (depth, dilation) in enumerate(_BLOCKS, start=1):
            layers[f"block{number}"] = _Block(depth, channels, dilation, over_time=over_time)
            channels += depth * _GROWTH
            layers[f"transit{number}"] = _Transit(channels)
            channels //= 2
        layers["out_nonlinear"] = _normalized(channels)
        layers["dense"] = _Last(2 * channels)
        self.xvector = nn.Sequential(layers)

    def forward(self, bands: Any) -> Any:
        """(batch, frames, `BANDS`), less their mean over the call, to (batch, `DIMENSIONS`); with `over_time` to (batch,
        frames / 10, `DIMENSIONS`), and frames a multiple of 30."""
        steps = self.steps(bands)
        if not self.over_time:
            return self.embedding(steps.mean(-1), steps.std(-1))
        mean, square = (
            functional.avg_pool1d(
                functional.avg_pool1d(each, _HOP, _HOP), _HOPS, 1, _HOPS // 2, count_include_pad=False
            )
            for each in (steps, steps * steps)
        )
        return self.embedding(mean, torch.sqrt(torch.clamp(square - mean * mean, min=1e-6))).transpose(1, 2)

    def steps(self, bands: Any) -> Any:
        """What is pooled: (batch, channels, frames / 2)."""
        x = self.head(bands.transpose(1, 2))
        for layer in self.xvector[:-1]:
            x = layer(x)
        return x

    def embedding(self, mean: Any, deviation: Any) -> Any:
        """From mean and standard deviation of `steps` over a window, (batch, channels) each, or over several."""
        pooled = torch.cat([mean, deviation], 1)
        return self.xvector.dense(pooled)


def telephone_front(network: CamPlusNetwork) -> Any:
    """The front of the network for the telephone's bands alone, with the same weights as far as it has them."""
    head = _Head(bands=_TELEPHONE_BANDS)
    head.load_state_dict(network.head.state_dict())
    own = network.xvector.tdnn
    tdnn = _Tdnn(_CHANNELS * _TELEPHONE_BANDS // 8, _FRONT)
    tdnn.nonlinear.load_state_dict(own.nonlinear.state_dict())
    with torch.no_grad():
        by_band = own.linear.weight.unflatten(1, (_CHANNELS, -1))
        tdnn.linear.weight.copy_(by_band[:, :, : _TELEPHONE_BANDS // 8].flatten(1, 2))
    return Front(head, tdnn)


class _InEightBits:
    """A hook on a module: what it says loses about what `training.campplus.write` will make it lose (`QUInt8`). The range is
    that of all that ever came, so wider than there, with coarser steps, and nothing is cut off."""

    def __init__(self) -> None:
        self._low, self._high = torch.zeros(()), torch.zeros(())

    def __call__(self, _module: nn.Module, _inputs: Any, said: Any) -> Any:
        said = said.float()
        self._low = torch.minimum(self._low, said.detach().min())
        self._high = torch.maximum(self._high, said.detach().max())
        scale = torch.clamp(self._high - self._low, min=1e-9) / 255
        zero = torch.round(-self._low / scale).int()
        return torch.fake_quantize_per_tensor_affine(said, scale, zero, 0, 255)


class _InSevenBits(nn.Module):  # type: ignore[misc]
    """What the weights of each channel of a convolution lose in `write` (`QInt8` with `reduce_range`)."""

    def forward(self, weight: Any) -> Any:
        scale = torch.clamp(weight.detach().abs().flatten(1).amax(1), min=1e-9) / 64
        zero = torch.zeros(len(weight), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -64, 64)


class Front(nn.Module):  # type: ignore[misc]
    """From mel bands, (batch, frames, `BANDS`), to what the dense blocks take, (batch, channels, frames / 2)."""

    def __init__(self, head: nn.Module, tdnn: nn.Module) -> None:
        super().__init__()
        self.head, self.tdnn = head, tdnn

    def forward(self, bands: Any) -> Any:
        return self.tdnn(self.head(bands.transpose(1, 2)))

    @contextmanager
    def in_eight_bits(self) -> Iterator[None]:
        """Meanwhile, its convolutions but the first and the sums of its residual blocks lose about what they will lose in numbers
        of 8 bits."""
        convolutions = [
            module
            for module in self.modules()
            if isinstance(module, nn.Conv1d | nn.Conv2d) and module is not self.head.conv1
        ]
        residual = [module for module in self.modules() if isinstance(module, _Residual)]
        rounded = [module for module in self.modules() if isinstance(module, nn.ReLU)]
        rounded += [module.bn2 for module in residual]
        rounded += [module.shortcut for module in residual if len(module.shortcut)]
        for convolution in convolutions:
            parametrize.register_parametrization(convolution, "weight", _InSevenBits())
        hooks = [module.register_forward_hook(_InEightBits()) for module in rounded]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for convolution in convolutions:
                parametrize.remove_parametrizations(convolution, "weight", leave_parametrized=False)


class _Reshape(torch.autograd.Function):  # type: ignore[misc]
    """To a shape in which 0 keeps a dimension and -1 follows from the others. In ONNX that shape is a constant; PyTorch's own
    would be computed from the input, in four operations each time."""

    @staticmethod
    def forward(ctx: Any, x: Any, shape: tuple[int, ...]) -> Any:
        ctx.before = x.shape
        return x.reshape([size or x.shape[axis] for axis, size in enumerate(shape)])

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient.reshape(ctx.before), None

    @staticmethod
    def symbolic(graph: Any, x: Any, shape: tuple[int, ...]) -> Any:
        return graph.op("Reshape", x, graph.op("Constant", value_t=torch.tensor(shape)))


def _normalized(channels: int) -> Any:
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))


class _Residual(nn.Module):  # type: ignore[misc]
    def __init__(self, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_CHANNELS, _CHANNELS, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_CHANNELS)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(_CHANNELS)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(_CHANNELS, _CHANNELS, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(_CHANNELS)
            )

    def forward(self, x: Any) -> Any:
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


class _Head(nn.Module):  # type: ignore[misc]
    """Two-dimensional convolutions over the first of the bands: (batch, `BANDS`, frames) to (batch, channels * bands / 8,
    frames)."""

    def __init__(self, *, bands: int = BANDS) -> None:
        super().__init__()
        self._bands = bands
        self.conv1 = nn.Conv2d(1, _CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_CHANNELS)
        self.relu1 = nn.ReLU()
        self.layer1 = nn.Sequential(_Residual(stride=2), _Residual(stride=1))
        self.layer2 = nn.Sequential(_Residual(stride=2), _Residual(stride=1))
        self.conv2 = nn.Conv2d(_CHANNELS, _CHANNELS, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(_CHANNELS)
        self.relu2 = nn.ReLU()

    def forward(self, x: Any) -> Any:
        x = self.relu1(self.bn1(self.conv1(x[:, None, : self._bands])))
        x = self.layer2(self.layer1(x))
        x = self.relu2(self.bn2(self.conv2(x)))
        return _Reshape.apply(x, (0, _CHANNELS * self._bands // 8, -1))


class _Tdnn(nn.Module):  # type: ignore[misc]
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _normalized(out)

    def forward(self, x: Any) -> Any:
        return self.nonlinear(self.linear(x))


class _Masked(nn.Module):  # type: ignore[misc]
    """Context-aware masking."""

    def __init__(self, dilation: int, *, over_time: bool) -> None:
        super().__init__()
        self.over_time = over_time
        self.linear_local = nn.Conv1d(
            _BOTTLENECK, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(_BOTTLENECK, _BOTTLENECK // 2, 1)
        self.linear2 = nn.Conv1d(_BOTTLENECK // 2, _GROWTH, 1)

    def forward(self, x: Any) -> Any:
        local = self.linear_local(x)
        # As onnxruntime has it after a convolution in 8 bits, so that nothing is moved there.
        x = x.transpose(1, 2)
        if self.over_time:
            blocks = _Reshape.apply(x, (0, -1, _CONTEXT_BLOCK, _BOTTLENECK)).mean(2)
            around = functional.avg_pool2d(
                blocks[:, None], (_CONTEXT_BLOCKS, 1), 1, (_CONTEXT_BLOCKS // 2, 0), count_include_pad=False
            ).squeeze(1)
            # The means over the recording and over a segment of it, which are the same here.
            mask = self._mask(2 * around)
            masked = _Reshape.apply(local, (0, 0, -1, _CONTEXT_BLOCK)) * mask[..., None]
            return _Reshape.apply(masked, (0, 0, -1))
        segments = [part.mean(1, keepdim=True).expand_as(part) for part in x.split(_WHOLE_SEGMENT, 1)]
        return local * self._mask(x.mean(1, keepdim=True) + torch.cat(segments, 1))

    def _mask(self, context: Any) -> Any:
        """(batch, steps, channels) to (batch, channels, steps)."""
        first, second = self.linear1, self.linear2
        y = functional.relu(functional.linear(context, first.weight[..., 0], first.bias))
        return torch.sigmoid(functional.linear(y, second.weight[..., 0], second.bias)).transpose(1, 2)


class _Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, channels: int, dilation: int, *, over_time: bool) -> None:
        super().__init__()
        self.nonlinear1 = _normalized(channels)
        self.linear1 = nn.Conv1d(channels, _BOTTLENECK, 1, bias=False)
        self.nonlinear2 = _normalized(_BOTTLENECK)
        self.cam_layer = _Masked(dilation, over_time=over_time)

    def forward(self, x: Any) -> Any:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class _Block(nn.Module):  # type: ignore[misc]
    """Layers of which each hears all before it."""

    def __init__(self, depth: int, channels: int, dilation: int, *, over_time: bool) -> None:
        super().__init__()
        for number in range(depth):
            layer = _Layer(channels + number * _GROWTH, dilation, over_time=over_time)
            self.add_module(f"tdnnd{number + 1}", layer)

    def forward(self, x: Any) -> Any:
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)
        return x


class _Transit(nn.Module):  # type: ignore[misc]
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _normalized(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Any) -> Any:
        return self.linear(self.nonlinear(x))


class _Last(nn.Module):  # type: ignore[misc]
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, DIMENSIONS, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(DIMENSIONS, affine=False)))

    def forward(self, x: Any) -> Any:
        y = self.nonlinear(self.linear(x if x.dim() == 3 else x[..., None]))
        return y if x.dim() == 3 else y[..., 0]
