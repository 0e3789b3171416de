"""Residual convolutional encoder and decoder for images and channel stacks.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import itertools
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.padding import check_sides
from pellucid.nn.attention import SelfAttention
from pellucid.nn.blocks import ResidualBlock, ResizeConv, SubpixelConv, group_norm
from pellucid.nn.head import Head, apply_head, check_head


class ResidualEncoder(nn.Module):
    """Turn images into features on a coarser grid.

    stem (one strided convolution to stride/2^(stages−1)) → stages of residual blocks, halved in
    between → optional self-attention → norm, SiLU, 1×1 convolution. The expensive full-resolution
    stage exists only when `stride` is 2^(stages−1).

    Args:
        in_channels: channels of x.
        channels: channels of h.
        stride: pixels per position of h along one side.
        width: channels of the first stage.
        multipliers: channels of each stage as multiples of `width`; its length is the number of
            stages.
        blocks: residual blocks per stage.
        attention: self-attention after the last stage; makes the receptive field global.
        linear: add a linear map of each position's own pixels to h, which training starts at the
            principal components of the data (`training.linear_start`).

    Raises:
        RecipeError: when `stride` is not a multiple of 2^(stages−1), or a size is not positive.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 128,
        stride: int = 8,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 4),
        blocks: int = 1,
        attention: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * multiplier for multiplier in multipliers]
        stem_stride = _outer_stride(stride, len(widths))
        _check_positive(
            in_channels=in_channels, channels=channels, blocks=blocks, width=min(widths)
        )
        self.in_channels = in_channels
        self.channels = channels
        self.stride = stride
        strides = [stem_stride * 2**level for level in range(len(widths))]
        self.intermediates = (*(f"stride_{level_stride}" for level_stride in strides), "h")

        # one pixel of context on each side, so that neighbouring positions share what lies between
        self.stem = nn.Conv2d(in_channels, widths[0], stem_stride + 2, stem_stride, padding=1)
        self.stages = nn.ModuleList(_stage(channels, blocks) for channels in widths)
        self.downs = nn.ModuleList(
            nn.Conv2d(wide, wider, 3, stride=2, padding=1)
            for wide, wider in itertools.pairwise(widths)
        )
        self.attention = SelfAttention(widths[-1]) if attention else nn.Identity()
        self.norm = group_norm(widths[-1])
        self.out = nn.Conv2d(widths[-1], channels, 1)
        self.linear = nn.Conv2d(in_channels, channels, stride, stride) if linear else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, channels, H/stride, W/stride).

        Raises:
            PellucidError: when the sides are not multiples of the stride.
        """
        return self.features(x_BCHW)["h"]

    def features(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage by the names in `intermediates`; the last is h."""
        check_sides(x_BCHW, self.stride, channels=self.in_channels)
        y = self.stem(x_BCHW)
        found = []
        for level, stage in enumerate(self.stages):
            y = stage(self.downs[level - 1](y) if level else y)
            found.append(y)
        h = self.out(F.silu(self.norm(self.attention(y))))
        found.append(h if self.linear is None else h + self.linear(x_BCHW))
        return dict(zip(self.intermediates, found, strict=True))


class ResidualDecoder(nn.Module):
    """Turn latents on a coarse grid back into images, without checkerboards.

    3×3 convolution → optional self-attention → stages of residual blocks, doubled in between by
    resize-convolutions → norm, SiLU, the last enlargement by stride/2^(stages−1) → head.

    Args:
        in_channels: channels of z.
        out_channels: channels of x_hat.
        stride: pixels per position of z along one side.
        width: channels of the last (finest) stage.
        multipliers: channels of each stage, finest first, as multiples of `width`.
        blocks: residual blocks per stage.
        attention: self-attention before the first stage; makes the receptive field global.
        head: what the last numbers become; see `nn.head`.
        last: how the finest stage becomes pixels. "resize" cannot draw a checkerboard, nor detail
            finer than that stage's grid; "subpixel" can, so prefer it where the last enlargement
            is more than 2.
        linear: add a linear map of 3×3 positions of z to the pixels, which training starts at the
            least squares of the data (`training.linear_start`).

    Raises:
        RecipeError: when `stride` is not a multiple of 2^(stages−1), a size is not positive, or
            there is no such head.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int = 128,
        out_channels: int = 3,
        stride: int = 8,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 4),
        blocks: int = 1,
        attention: bool = False,
        head: Head = "none",
        last: Literal["resize", "subpixel"] = "resize",
        linear: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * multiplier for multiplier in reversed(multipliers)]
        outer_stride = _outer_stride(stride, len(widths))
        _check_positive(
            in_channels=in_channels, out_channels=out_channels, blocks=blocks, width=min(widths)
        )
        check_head(head)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        self.head: Head = head

        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(_stage(channels, blocks) for channels in widths)
        self.attention = SelfAttention(widths[0]) if attention else nn.Identity()
        self.ups = nn.ModuleList(
            ResizeConv(wider, wide, scale=2) for wider, wide in itertools.pairwise(widths)
        )
        self.norm = group_norm(widths[-1])
        enlarge = {"resize": ResizeConv, "subpixel": SubpixelConv}[last]
        self.out = enlarge(widths[-1], out_channels, scale=outer_stride)
        self.linear = SubpixelConv(in_channels, out_channels, scale=stride) if linear else None

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight every output value of the network passes through last."""
        return cast(nn.Parameter, self.out.weight)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        """Return (B, out_channels, stride·H, stride·W), float32."""
        check_sides(z_BCHW, 1, channels=self.in_channels)
        y = self.attention(self.stem(z_BCHW))
        for level, stage in enumerate(self.stages):
            y = stage(self.ups[level - 1](y) if level else y)
        x_hat = self.out(F.silu(self.norm(y)))
        if self.linear is not None:
            x_hat = x_hat + self.linear(z_BCHW)
        return apply_head(x_hat, self.head)


def _stage(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))


def _outer_stride(stride: int, stages: int) -> int:
    """Return the stride left for the layer nearest the image: stride / 2^(stages−1)."""
    if stages < 1:
        raise RecipeError(
            "a network needs at least one stage", where="multipliers", expected="e.g. [1, 2, 4]"
        )
    inner = 2 ** (stages - 1)
    if stride < 1 or stride % inner:
        raise RecipeError(
            f"{stages} stages halve the image {stages - 1} times, which does not fit the stride",
            where="stride",
            expected=f"a multiple of {inner}, e.g. {inner} or {2 * inner}",
            found=stride,
            hint="change stride, or the number of multipliers",
        )
    return stride // inner


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise RecipeError(f"{name} must be positive", where=name, expected="≥ 1", found=size)
