"""What SEANet is made of: residual units, activations, and chains of layers that can stream.

Shape letters: B batch, C channels, T samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor, nn

from pellucid.nn.snake import Snake
from pellucid.nn.streaming_conv import Conv1d, ConvTranspose1d

Activation = Literal["elu", "snake"]
ChainState = list | None
"""One entry per layer: a tensor, a nested list, or None for layers without memory."""


class ResidualUnit(nn.Module):
    """Add what a dilated convolution sees: x + conv₁(σ(conv(σ(x)))).

    Args:
        channels: C.
        kernel: taps of the dilated convolution.
        dilation: samples between them.
        causal: look only back.
        activation: σ.
        weight_norm: as in `Conv1d`.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel: int,
        dilation: int,
        causal: bool,
        activation: Activation,
        weight_norm: bool,
    ) -> None:
        super().__init__()
        self.layers = Chain(
            build_activation(activation, channels),
            Conv1d(
                channels,
                channels,
                kernel,
                dilation=dilation,
                causal=causal,
                weight_norm=weight_norm,
            ),
            build_activation(activation, channels),
            Conv1d(channels, channels, 1, causal=causal, weight_norm=weight_norm),
        )

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return (B, C, T)."""
        return x_BCT + self.layers(x_BCT)

    def stream(self, x_BCT: Tensor, state: ChainState) -> tuple[Tensor, ChainState]:
        """Return the next (B, C, T), and the state."""
        y, state = self.layers.stream(x_BCT, state)
        return x_BCT + y, state


def residual_units(
    channels: int,
    dilations: Sequence[int],
    kernel: int,
    *,
    causal: bool,
    activation: Activation,
    weight_norm: bool,
) -> list[ResidualUnit]:
    """Return one unit per dilation; arguments as in `ResidualUnit`."""
    return [
        ResidualUnit(
            channels,
            kernel=kernel,
            dilation=dilation,
            causal=causal,
            activation=activation,
            weight_norm=weight_norm,
        )
        for dilation in dilations
    ]


class Chain(nn.Sequential):
    """Run layers one after another, each with its own state when streaming."""

    def stream(self, x: Tensor, state: ChainState) -> tuple[Tensor, ChainState]:
        """Return the next output, and the states of the layers."""
        return stream_through(self, x, state)


def stream_through(
    layers: Iterable[nn.Module], x: Tensor, state: ChainState
) -> tuple[Tensor, ChainState]:
    """Run layers one after another; return the output and one state per layer."""
    before = itertools.repeat(None) if state is None else state
    after: list = []
    for layer, own in zip(layers, before, strict=False):
        if isinstance(layer, Conv1d | ConvTranspose1d | ResidualUnit | Chain):
            x, own = layer.stream(x, own)
        else:
            x = layer(x)
        after.append(own)
    return x, after


def build_activation(name: Activation, channels: int) -> nn.Module:
    """Return a new activation by name."""
    return Snake(channels) if name == "snake" else nn.ELU()
