"""Add overlapping patches so that no seam shows: windows that sum to one.

Shape letters: B batch, C channels, H height, W width, N patches (row by row), S side of a patch
with its overlap.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import PellucidError


def blend_ramp(length: int, *, device: torch.device | None = None) -> Tensor:
    """Return `length` weights that rise from 0 to 1 with r(t) + r(length − 1 − t) = 1.

    r(t) = sin²(π/2 · (t + ½)/length), the ramp of a Hann window.
    """
    offsets = torch.arange(length, device=device) + 0.5
    return torch.sin(math.pi / 2 * offsets / max(length, 1)) ** 2


def blend_window(
    count: int, stride: int, overlap: int, *, device: torch.device | None = None
) -> Tensor:
    """Return (count, stride + 2·overlap) weights of `count` patches along one axis.

    Patch i covers [i·stride − overlap, (i+1)·stride + overlap). Neighbours share 2·overlap samples
    where one ramp falls as the other rises, so the weights on every sample inside the image sum to
    one; the outer sides of the first and the last patch do not fall, because nothing joins them.

    Raises:
        PellucidError: when more than two patches would meet in one sample.
    """
    if not 0 <= 2 * overlap <= stride:
        raise PellucidError(
            "patches may overlap by at most half their side",
            where="overlap",
            expected=f"0 … {stride // 2}",
            found=overlap,
        )
    window = torch.ones(count, stride + 2 * overlap, device=device)
    ramp = blend_ramp(2 * overlap, device=device)
    window[1:, : 2 * overlap] = ramp
    window[:-1, stride:] = ramp.flip(0)
    return window


def overlap_add(patches_BNS: Tensor, *, grid: tuple[int, int], stride: int, overlap: int) -> Tensor:
    """Blend extended patches into one image.

    x̂(p) = Σᵢ wᵢ(p) · patchᵢ(p) with Σᵢ wᵢ(p) = 1; computed in float32.

    Args:
        patches_BNS: (B, N, C·S·S) with N = rows · columns, S = stride + 2·overlap.
        grid: (rows, columns).
        stride: side of a patch without its overlap, in pixels.
        overlap: pixels by which a patch reaches beyond each of its sides.

    Returns:
        (B, C, rows·stride, columns·stride), float32.

    Raises:
        PellucidError: when `overlap` exceeds half the stride.
    """
    rows, columns = grid
    side = stride + 2 * overlap
    patches_BNCSS = patches_BNS.float().unflatten(-1, (-1, side, side))
    if overlap == 0:
        blocks = patches_BNCSS.unflatten(1, grid)  # B, rows, columns, C, S, S
        return blocks.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    down = blend_window(rows, stride, overlap, device=patches_BNS.device)
    across = blend_window(columns, stride, overlap, device=patches_BNS.device)
    window = (down[:, None, :, None] * across[None, :, None, :]).reshape(-1, 1, side, side)
    blended = (patches_BNCSS * window).flatten(2).transpose(1, 2)
    size = (rows * stride, columns * stride)
    return F.fold(blended, size, kernel_size=side, stride=stride, padding=overlap)
