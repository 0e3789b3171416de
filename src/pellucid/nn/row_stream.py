"""A causal SEANet that works through a waveform as it arrives, one frame at a time and cheaply.

A frame is a few rows at every layer, and PyTorch's convolutions take longer to prepare for so few
than to compute them. Here time comes first, so that a convolution is one product of a window of
rows with a matrix that was laid out beforehand; a transposed one, whose kernel is a multiple of
its stride, is the same with as many outputs per row as its stride. The numbers are those of the
network up to rounding; `stream` of the network itself is the plain version.

Shape letters: T rows in time, C channels, F = T / hop windows, M taps · C, N outputs per window.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.nn.head import Head, apply_head
from pellucid.nn.seanet import SEANetDecoder, SEANetEncoder
from pellucid.nn.seanet_layers import ResidualUnit
from pellucid.nn.snake import Snake
from pellucid.nn.streaming_conv import Conv1d, ConvTranspose1d


class RowStream:
    """Push one waveform, or its frames, through a network; every push continues the last.

    Args:
        network: causal; used with the weights it has now.

    Raises:
        PellucidError: when the network is not causal, or has a layer that is not known here.
    """

    @torch.inference_mode()
    def __init__(self, network: SEANetEncoder | SEANetDecoder) -> None:
        if not network.causal:
            raise PellucidError("only a causal network can stream", found="causal: false")
        parts: list[nn.Module] = [network.stem, network.stages, network.end]
        self._head: Head | None = None
        if isinstance(network, SEANetDecoder):
            parts.append(network.final)
            self._head = network.head
        self._layers = [_in_rows(layer) for part in parts for layer in _flat(part)]

    @torch.inference_mode()
    def push(self, x_TC: Tensor) -> Tensor:
        """Return the next rows of output.

        Args:
            x_TC: samples, a multiple of the encoder's stride, or frames of a decoder.
        """
        for layer in self._layers:
            x_TC = layer(x_TC)
        return x_TC if self._head is None else apply_head(x_TC, self._head)


class _Convolution:
    """Multiply windows of rows by a matrix, and keep the rows that later windows reach back to."""

    def __init__(self, weight_kCN: Tensor, bias_N: Tensor | None, *, hop: int, dilation: int):
        self.taps, channels, outputs = weight_kCN.shape
        self.hop, self.dilation = hop, dilation
        self.matrix_MN = weight_kCN.flatten(0, 1).clone(memory_format=torch.contiguous_format)
        self.bias_N = weight_kCN.new_zeros(outputs) if bias_N is None else bias_N.clone()
        # What lies before the first row is silence, which is what zero padding is.
        before = (self.taps - 1) * dilation + 1 - hop
        self.memory_TC = weight_kCN.new_zeros(before, channels) if before else None

    def __call__(self, x_TC: Tensor) -> Tensor:
        windows = x_TC.shape[0] // self.hop
        if self.memory_TC is not None:
            x_TC = torch.cat([self.memory_TC, x_TC])
            self.memory_TC = x_TC[-len(self.memory_TC) :].clone()  # a view would keep all of x
        row = x_TC.shape[1]
        size, stride = (windows, self.taps, row), (self.hop * row, self.dilation * row, 1)
        windows_FM = x_TC.as_strided(size, stride).reshape(windows, -1)
        return torch.addmm(self.bias_N, windows_FM, self.matrix_MN)


class _Upsampling(_Convolution):
    """Write `factor` rows for every row."""

    def __init__(self, weight_kCN: Tensor, bias_N: Tensor, *, factor: int):
        super().__init__(weight_kCN, bias_N, hop=1, dilation=1)
        self.factor = factor

    def __call__(self, x_TC: Tensor) -> Tensor:
        return super().__call__(x_TC).view(x_TC.shape[0] * self.factor, -1)


class _Snake:
    """x + (1 − cos 2αx)/2α, with what depends on α alone computed once."""

    def __init__(self, snake: Snake) -> None:
        self.twice_C = 2 * snake.log_alpha.exp()
        self.inverse_C = 1 / self.twice_C

    def __call__(self, x_TC: Tensor) -> Tensor:
        wave_TC = (x_TC * self.twice_C).cos_()
        return torch.addcmul(x_TC, torch.rsub(wave_TC, 1), self.inverse_C)


class _Residual:
    """Add what a chain of layers makes of x."""

    def __init__(self, unit: ResidualUnit) -> None:
        self.layers = [_in_rows(layer) for layer in unit.layers]

    def __call__(self, x_TC: Tensor) -> Tensor:
        y_TC = x_TC
        for layer in self.layers:
            y_TC = layer(y_TC)
        return y_TC.add_(x_TC)


Layer = _Convolution | _Snake | _Residual | nn.ELU


def _flat(part: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of nested chains in order."""
    if isinstance(part, nn.Sequential):
        for inner in part:
            yield from _flat(inner)
    else:
        yield part


def _in_rows(layer: nn.Module) -> Layer:
    if isinstance(layer, Conv1d):
        conv = layer.conv
        assert isinstance(conv, nn.Conv1d)
        weight_kCN = conv.weight.permute(2, 1, 0)
        return _Convolution(weight_kCN, conv.bias, hop=conv.stride[0], dilation=conv.dilation[0])
    if isinstance(layer, ConvTranspose1d):
        return _upsampling(layer)
    if isinstance(layer, ResidualUnit):
        return _Residual(layer)
    if isinstance(layer, Snake):
        return _Snake(layer)
    if isinstance(layer, nn.ELU):
        return layer
    raise PellucidError("this layer cannot work on rows", found=type(layer).__name__)


def _upsampling(layer: ConvTranspose1d) -> _Upsampling:
    """Turn "each row writes `kernel` samples" into "each `factor` samples read `taps` rows"."""
    conv = layer.conv
    assert isinstance(conv, nn.ConvTranspose1d)
    factor, kernel = conv.stride[0], conv.kernel_size[0]
    if kernel % factor:
        raise PellucidError(
            "a transposed convolution can stream when its kernel is a multiple of its stride",
            expected=f"a multiple of {factor}",
            found=kernel,
        )
    by_tap = conv.weight.unflatten(2, (kernel // factor, factor)).flip(2)  # C, outputs, taps, …
    weight_kCN = by_tap.permute(2, 0, 3, 1).flatten(2)  # N: the stride's samples, each all outputs
    bias = by_tap.new_zeros(conv.out_channels) if layer.bias is None else layer.bias
    return _Upsampling(weight_kCN, bias.repeat(factor), factor=factor)
