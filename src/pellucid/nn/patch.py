"""Patch encoder and decoder: one vector per patch, patches blended into the image.

Shape letters: B batch, C channels, H height, W width, N patches (row by row), S side of a patch
with its overlap.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.blend import overlap_add
from pellucid.functional.padding import check_sides
from pellucid.nn.head import Head, apply_head, check_head


class PatchEncoder(nn.Module):
    """Map every patch, with a rim of context, to one vector.

    A tree of strided convolutions: the first sees `overlap` pixels around its field, the others
    merge neighbours inside a patch (one layer per prime factor of `patch`); each is followed by a
    residual 1×1 block. A vector depends on its patch and the rim, on nothing else.

    Args:
        in_channels: channels of x.
        channels: channels of h, one vector per patch.
        patch: side of a patch in pixels; the stride.
        width: channels after the first layer; they double with every merge up to 4·width.
        overlap: pixels of context around every patch.

    Raises:
        RecipeError: when a size is not positive, or the rim is wider than a patch.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 256,
        patch: int = 8,
        width: int = 64,
        overlap: int = 0,
    ) -> None:
        super().__init__()
        _check_patch(patch, overlap, widest=patch)
        self.in_channels = in_channels
        self.channels = channels
        self.stride = patch
        factors = _prime_factors(patch)
        widths = [min(width * 2**level, 4 * width) for level in range(len(factors))]
        strides = [1, *factors]
        for level in range(1, len(strides)):
            strides[level] *= strides[level - 1]
        self.intermediates = (*(f"stride_{stride}" for stride in strides[1:]), "h")

        layers = []
        for level, (factor, wide) in enumerate(zip(factors, widths, strict=True)):
            rim = overlap if level == 0 else 0
            before = widths[level - 1] if level else in_channels
            merge = nn.Conv2d(before, wide, factor + 2 * rim, stride=factor, padding=rim)
            layers.append(nn.Sequential(merge, _PointwiseBlock(wide)))
        self.layers = nn.ModuleList(layers)
        self.out = nn.Conv2d(widths[-1], channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, channels, H/patch, W/patch).

        Raises:
            PellucidError: when the sides are not multiples of the patch.
        """
        return self.features(x_BCHW)["h"]

    def features(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the output of every layer by the names in `intermediates`; the last is h."""
        check_sides(x_BCHW, self.stride, channels=self.in_channels)
        found = []
        y = x_BCHW
        for layer in self.layers:
            y = layer(y)
            found.append(y)
        found.append(self.out(F.silu(y)))
        return dict(zip(self.intermediates, found, strict=True))


class PatchDecoder(nn.Module):
    """Draw every token as an extended patch and blend the patches.

    patch_n = W₂ · SiLU(W₁ z_n + b₁) + b₂, then overlap-add with windows that sum to one, so that
    the borders of neighbours fade into each other. `overlap=0` lays plain tiles.

    Args:
        in_channels: channels of z, one vector per patch.
        out_channels: channels of x_hat.
        patch: side of a patch in pixels; the stride.
        hidden: width of the hidden layer.
        overlap: pixels by which a patch reaches into its neighbours, at most patch/2.
        head: what the blended numbers become; see `nn.head`.

    Raises:
        RecipeError: when a size is not positive, the overlap too wide, or there is no such head.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int = 3,
        patch: int = 8,
        hidden: int = 512,
        overlap: int = 2,
        head: Head = "none",
    ) -> None:
        super().__init__()
        _check_patch(patch, overlap, widest=patch // 2)
        check_head(head)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = patch
        self.overlap = overlap
        self.head: Head = head
        self.hidden = nn.Linear(in_channels, hidden)
        self.out = nn.Linear(hidden, out_channels * (patch + 2 * overlap) ** 2)

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight every output value passes through last."""
        return cast(nn.Parameter, self.out.weight)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        """Return (B, out_channels, patch·H, patch·W), float32."""
        check_sides(z_BCHW, 1, channels=self.in_channels)
        rows, columns = z_BCHW.shape[-2:]
        tokens_BNC = z_BCHW.flatten(2).transpose(1, 2)
        patches_BNS = self.out(F.silu(self.hidden(tokens_BNC)))
        x_hat = overlap_add(
            patches_BNS, grid=(rows, columns), stride=self.stride, overlap=self.overlap
        )
        return apply_head(x_hat, self.head)


class _PointwiseBlock(nn.Module):
    """x + W₂ · SiLU(W₁ · SiLU(x)) at every position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 1)
        self.conv_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.conv_2(F.silu(self.conv_1(F.silu(x_BCHW))))


def _prime_factors(number: int) -> list[int]:
    factors, candidate = [], 2
    while number > 1:
        while number % candidate == 0:
            factors.append(candidate)
            number //= candidate
        candidate += 1
    return factors or [1]


def _check_patch(patch: int, overlap: int, *, widest: int) -> None:
    if patch < 1:
        raise RecipeError("a patch needs a side", where="patch", expected="≥ 1", found=patch)
    if not 0 <= overlap <= widest:
        raise RecipeError(
            "the overlap does not fit the patch",
            where="overlap",
            expected=f"0 … {widest} for patch {patch}",
            found=overlap,
        )
