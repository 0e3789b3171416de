"""Cut samples of any dimension into square patches and put them back.

Shape letters: B batch, C channels, S spatial axes (one for audio, two for images, three for
volumes), P patches, E elements of a patch.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def patch_count(spatial: tuple[int, ...], patch: int) -> int:
    """Return how many patches of side `patch` cover a sample of size `spatial`."""
    return math.prod(math.ceil(size / patch) for size in spatial)


def to_patches(x_BCS: Tensor, patch: int) -> Tensor:
    """Return (B, P, E) patches, E = C·patchˢ; the far borders are padded by repeating the edge.

    Args:
        x_BCS: (B, C, S...) with one to three spatial axes.
        patch: side in elements.
    """
    spatial = x_BCS.shape[2:]
    padding: list[int] = []
    for size in reversed(spatial):
        padding += [0, -size % patch]
    if any(padding):
        x_BCS = F.pad(x_BCS, padding, mode="replicate")
    grid = [size // patch for size in x_BCS.shape[2:]]
    split = x_BCS.reshape(*x_BCS.shape[:2], *(n for g in grid for n in (g, patch)))
    axes = len(grid)
    outer = [2 + 2 * axis for axis in range(axes)]
    inner = [3 + 2 * axis for axis in range(axes)]
    return split.permute(0, *outer, 1, *inner).reshape(len(x_BCS), math.prod(grid), -1)


def from_patches(patches_BPE: Tensor, shape: tuple[int, ...], patch: int) -> Tensor:
    """Undo `to_patches`, cutting the padding off.

    Args:
        patches_BPE: (B, P, E).
        shape: (C, S...) of one sample.
        patch: side in elements.
    """
    channels, *spatial = shape
    grid = [math.ceil(size / patch) for size in spatial]
    axes = len(grid)
    split = patches_BPE.reshape(len(patches_BPE), *grid, channels, *[patch] * axes)
    order = [n for axis in range(axes) for n in (1 + axis, 2 + axes + axis)]
    whole = split.permute(0, 1 + axes, *order)
    whole = whole.reshape(len(patches_BPE), channels, *(g * patch for g in grid))
    return whole[(..., *(slice(size) for size in spatial))]
