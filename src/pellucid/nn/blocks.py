"""The parts of the residual networks: normalisation, residual block, two ways to enlarge.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS_PER_GROUP = 16


def group_norm(channels: int) -> nn.GroupNorm:
    """Build a GroupNorm with 16 channels per group, or the nearest split that divides evenly.

    Sixteen is the best setting in Wu & He 2018, table 3, and the smallest for which the
    channels-last kernels of PyTorch on a CPU are vectorised (five times faster than with 8).
    """
    return nn.GroupNorm(math.gcd(channels, max(1, channels // _CHANNELS_PER_GROUP)), channels)


class ResidualBlock(nn.Module):
    """Add what two normalised 3×3 convolutions see: x + conv(σ(norm(conv(σ(norm(x)))))).

    Pre-activation, σ = SiLU. Source: He et al. 2016, "Identity mappings", §4.

    Args:
        channels: C, of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_1 = group_norm(channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_2 = group_norm(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        y = self.conv_1(F.silu(self.norm_1(x_BCHW)))
        return x_BCHW + self.conv_2(F.silu(self.norm_2(y)))


class ResizeConv(nn.Module):
    """Enlarge by repeating every pixel, then convolve; no position is treated differently.

    y = conv(nearest(x, scale), weight) + bias. A free transposed convolution may learn a different
    kernel for each of the scale² output phases, which shows as a checkerboard; this cannot on a
    constant input. Source: Odena et al. 2016, "Deconvolution and checkerboard artifacts".

    It is *computed* as a transposed convolution whose kernel is the weight convolved with a
    scale × scale box. That is the same sum with (scale+2)²/(3·scale)² of the multiplications
    (0.44 at scale 2) and without the enlarged map in memory.

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        scale: enlargement; 1 makes a plain convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        like = nn.Conv2d(in_channels, out_channels, 3, padding=1)  # its initialisation is the usual
        self.weight = like.weight
        self.bias = like.bias
        # spread[t, a] = 1 where tap a of the weight touches offset t of the transposed kernel
        offsets = torch.arange(scale + 2)[:, None] + torch.arange(3) - 2
        spread = ((offsets >= 0) & (offsets < scale)).float()
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, out_channels, scale·H, scale·W)."""
        if self.scale == 1:
            return F.conv2d(x_BCHW, self.weight, self.bias, padding=1)
        kernel = torch.einsum("ta,oiab,ub->iotu", self.spread, self.weight, self.spread)
        return F.conv_transpose2d(x_BCHW, kernel, self.bias, stride=self.scale, padding=1)


class SubpixelConv(nn.Module):
    """Convolve, then spend scale² channels on the scale × scale pixels of each position.

    Unlike `ResizeConv`, whose pixels within a position repeat each other, every pixel has a kernel
    of its own: detail finer than the grid can be written in one step. All phases start from the
    same kernel (ICNR), so no checkerboard is there at the beginning; only the loss can put one in.

    Source: Shi et al. 2016, "Real-time single image and video super-resolution"; Aitken et al.
    2017, "Checkerboard artifact free sub-pixel convolution".

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        scale: enlargement; 1 makes a plain convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        like = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        assert like.bias is not None
        self.weight = nn.Parameter(like.weight.detach().repeat_interleave(scale**2, 0))
        self.bias = nn.Parameter(like.bias.detach().repeat_interleave(scale**2, 0))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, out_channels, scale·H, scale·W)."""
        return F.pixel_shuffle(F.conv2d(x_BCHW, self.weight, self.bias, padding=1), self.scale)
