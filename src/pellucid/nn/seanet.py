"""Convolutional encoder and decoder for waveforms, causal or not, whole or chunk by chunk.

Source: Tagliasacchi et al. 2020 (SEANet); Défossez et al. 2022, "High fidelity neural audio
compression", section 3.1; Kumar et al. 2023 (Snake instead of ELU, deeper residual units).

Shape letters: B batch, C channels, T samples, F = T / stride frames.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from pellucid.errors import PellucidError, RecipeError
from pellucid.functional.padding import check_length
from pellucid.nn.head import Head, apply_head, check_head
from pellucid.nn.seanet_layers import (
    Activation,
    Chain,
    ChainState,
    build_activation,
    residual_units,
    stream_through,
)
from pellucid.nn.streaming_conv import Conv1d, ConvTranspose1d

_END_KERNEL = 7
_PATCH_OVERLAP = 4
"""Kernel of a patch layer, in patches: each sample is written by as many frames."""


class SEANetEncoder(nn.Module):
    """Turn a waveform into frames: (B, in_channels, T) → (B, channels, T / (patch·Π strides)).

    Args:
        in_channels: audio channels.
        patch: samples that the first layer merges. Layers at the full rate cost most and learn
            least; a patch of 4 makes a model of equal size about three times as fast.
        strides: of the stages; samples per frame are their product times `patch`.
        channels: of the frames.
        width: channels of the first layer; they double with every stride up to `widest`.
        widest: most channels of a layer.
        dilations: residual units per stage.
        kernel: taps of the residual units.
        activation: "elu" or "snake".
        causal: look only back.
        weight_norm: on every convolution.
        rms: root mean square of the recordings; inside, it is the unit. An optimiser's steps have
            one size, and shake weights whose outputs are a twentieth.
        linear: add a linear map of each frame's own samples, which training starts at the
            principal components of the data (`training.linear_waves`).

    Raises:
        RecipeError: for sizes that make no network.
    """

    axes = 1
    intermediates: tuple[str, ...]

    def __init__(
        self,
        in_channels: int = 1,
        *,
        patch: int = 1,
        strides: tuple[int, ...] = (2, 4, 5, 8),
        channels: int = 128,
        width: int = 32,
        widest: int = 512,
        dilations: tuple[int, ...] = (1, 3),
        kernel: int = 3,
        activation: Activation = "elu",
        causal: bool = True,
        weight_norm: bool = True,
        rms: float = 1.0,
        linear: bool = False,
    ) -> None:
        super().__init__()
        _check(patch, strides, dilations, kernel, width, widest, channels)
        _check_rms(rms)
        self.in_channels, self.channels, self.rms = in_channels, channels, rms
        self.stride, self.causal = patch * math.prod(strides), causal
        self.stem = Conv1d(
            in_channels,
            width,
            _end_kernel(patch),
            stride=patch,
            causal=causal,
            weight_norm=weight_norm,
        )
        stages, now = [], width
        for stride in strides:
            wider = min(2 * now, widest)
            units = residual_units(
                now,
                dilations,
                kernel,
                causal=causal,
                activation=activation,
                weight_norm=weight_norm,
            )
            down = Conv1d(
                now, wider, 2 * stride, stride=stride, causal=causal, weight_norm=weight_norm
            )
            stages.append(Chain(*units, build_activation(activation, now), down))
            now = wider
        self.stages = Chain(*stages)
        self.end = Chain(
            build_activation(activation, now),
            Conv1d(now, channels, 3, causal=causal, weight_norm=weight_norm),
        )
        self.linear = (
            Conv1d(in_channels, channels, self.stride, stride=self.stride, weight_norm=False)
            if linear
            else None
        )
        self.intermediates = (*(f"stage_{n}" for n in range(1, len(strides) + 1)), "frames")

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return (B, channels, F).

        Raises:
            PellucidError: when T is not a multiple of the stride, or C is another.
        """
        return self.features(x_BCT)["frames"]

    def features(self, x_BCT: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage, coarser and coarser, and the frames."""
        check_length(x_BCT, self.stride, channels=self.in_channels)
        x_BCT = x_BCT / self.rms
        y, found = self.stem(x_BCT), {}
        for name, stage in zip(self.intermediates, self.stages, strict=False):
            y = found[name] = stage(y)
        frames = self.end(y)
        return {**found, "frames": frames if self.linear is None else frames + self.linear(x_BCT)}

    def stream(self, x_BCT: Tensor, state: ChainState) -> tuple[Tensor, ChainState]:
        """Return the frames of the next chunk, a multiple of the stride long, and the state.

        Raises:
            PellucidError: for another length, or when the network is not causal.
        """
        _check_causal(self.causal)
        check_length(x_BCT, self.stride, channels=self.in_channels)
        x_BCT = x_BCT / self.rms
        y, state = stream_through((self.stem, self.stages, self.end), x_BCT, state)
        return (y if self.linear is None else y + self.linear(x_BCT)), state


class SEANetDecoder(nn.Module):
    """Turn frames into a waveform: (B, in_channels, F) → (B, out_channels, F·patch·Π strides).

    The mirror of `SEANetEncoder`. Its last convolution has no bias, so that it cannot add a
    constant (HILCodec, Ahn et al. 2024, section III.B).

    Args:
        in_channels: of the frames.
        out_channels: audio channels.
        patch: samples that the last layer writes for each of its inputs, overlapping.
        strides: as the encoder's, in the same order.
        width, widest, dilations, kernel, activation, causal, weight_norm: as the encoder's.
        head: what follows the last convolution.
        rms: as the encoder's.
        linear: add a linear map of each frame to its own and the next frame's samples, which
            training starts at the least squares of the data (`training.linear_waves`).

    Raises:
        RecipeError: for sizes that make no network.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        patch: int = 1,
        strides: tuple[int, ...] = (2, 4, 5, 8),
        width: int = 32,
        widest: int = 512,
        dilations: tuple[int, ...] = (1, 3),
        kernel: int = 3,
        activation: Activation = "elu",
        causal: bool = True,
        weight_norm: bool = True,
        head: Head = "none",
        rms: float = 1.0,
        linear: bool = False,
    ) -> None:
        super().__init__()
        _check(patch, strides, dilations, kernel, width, widest, in_channels)
        check_head(head)
        _check_rms(rms)
        self.in_channels, self.out_channels, self.rms = in_channels, out_channels, rms
        self.head: Head = head
        self.stride, self.causal = patch * math.prod(strides), causal
        widths = [min(width * 2**n, widest) for n in range(len(strides) + 1)]
        self.stem = Conv1d(
            in_channels, widths[-1], _END_KERNEL, causal=causal, weight_norm=weight_norm
        )
        stages = []
        for index in reversed(range(len(strides))):
            now = widths[index]
            up = ConvTranspose1d(
                widths[index + 1],
                now,
                2 * strides[index],
                stride=strides[index],
                causal=causal,
                weight_norm=weight_norm,
            )
            units = residual_units(
                now,
                dilations,
                kernel,
                causal=causal,
                activation=activation,
                weight_norm=weight_norm,
            )
            stages.append(Chain(build_activation(activation, widths[index + 1]), up, *units))
        self.stages = Chain(*stages)
        self.final = _last_layer(width, out_channels, patch, causal, weight_norm)
        self.end = build_activation(activation, width)
        self.linear = (
            ConvTranspose1d(
                in_channels,
                out_channels,
                2 * self.stride,
                stride=self.stride,
                bias=False,
                weight_norm=False,
            )
            if linear
            else None
        )

    @property
    def last_layer(self) -> nn.Parameter:
        """The parameter at which gradients of terms are compared."""
        return next(p for p in reversed(list(self.final.parameters())) if p.ndim == 3)

    def forward(self, z_BCF: Tensor) -> Tensor:
        """Return (B, out_channels, T), float32.

        Raises:
            PellucidError: when there are no frames, or they have other channels.
        """
        check_length(z_BCF, 1, channels=self.in_channels)
        y = self.final(self.end(self.stages(self.stem(z_BCF))))
        y = y if self.linear is None else y + self.linear(z_BCF)
        return apply_head(self.rms * y, self.head)

    def stream(self, z_BCF: Tensor, state: ChainState) -> tuple[Tensor, ChainState]:
        """Return the samples of the next frames, and the state.

        Raises:
            PellucidError: when the network is not causal.
        """
        _check_causal(self.causal)
        network, straight = (None, None) if state is None else state
        y, network = stream_through((self.stem, self.stages, self.end, self.final), z_BCF, network)
        if self.linear is not None:
            own, straight = self.linear.stream(z_BCF, straight)
            y = y + own
        return apply_head(self.rms * y, self.head), [network, straight]


def _end_kernel(patch: int) -> int:
    return _END_KERNEL if patch == 1 else _PATCH_OVERLAP * patch


def _last_layer(
    width: int, out_channels: int, patch: int, causal: bool, weight_norm: bool
) -> Conv1d | ConvTranspose1d:
    kernel = _end_kernel(patch)
    if patch == 1:
        return Conv1d(
            width, out_channels, kernel, causal=causal, bias=False, weight_norm=weight_norm
        )
    return ConvTranspose1d(
        width,
        out_channels,
        kernel,
        stride=patch,
        causal=causal,
        bias=False,
        weight_norm=weight_norm,
    )


def _check(
    patch: int,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    kernel: int,
    width: int,
    widest: int,
    channels: int,
) -> None:
    good = strides and min(strides) >= 1 and min(dilations, default=1) >= 1 and kernel >= 1
    if not good or min(patch, width, channels) < 1 or widest < width:
        raise RecipeError(
            "these sizes make no network",
            where="seanet",
            expected="patch, strides, dilations, kernel and channels ≥ 1, width ≤ widest",
            found=f"patch {patch}, strides {strides}, dilations {dilations}, kernel {kernel}, "
            f"width {width}, widest {widest}, channels {channels}",
        )


def _check_rms(rms: float) -> None:
    if not rms > 0:
        raise RecipeError(
            "a root mean square is the unit of the network",
            where="seanet",
            expected="rms > 0",
            found=rms,
        )


def _check_causal(causal: bool) -> None:
    if not causal:
        raise PellucidError(
            "only a causal network can stream",
            expected="encoder.causal: true and decoder.causal: true",
            found="false",
        )
