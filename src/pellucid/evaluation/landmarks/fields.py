"""Feature maps of whole images on one grid: a model's layers side by side, or PCA of patches.

Shape letters: B batch, C channels, D features, H, W pixels, R rows and Q columns of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import DataError
from pellucid.models.feature_maps import feature_maps
from pellucid.models.layers import FeatureExtractor
from pellucid.references.principal import PrincipalAxes, principal_axes

FINEST = 4
"""Pixels per cell at least: finer maps are averaged to it."""
PATCH = 32
_ROWS = 4096

MapOf = Callable[[Tensor], Tensor]
"""(1, C, H, W) → (D, R, Q)."""


def grid_of(extractor: FeatureExtractor) -> int:
    """Return the pixels per cell: the finest layer's, at least `FINEST`.

    Raises:
        DataError: for a layer that is no grid over the image.
    """
    reductions = [layer.reduction for layer in extractor.feature_info]
    if None in reductions:
        raise DataError(
            "landmarks need maps over the image",
            where="layers",
            expected="layers with a reduction",
            found=", ".join(i.name for i in extractor.feature_info if i.reduction is None),
        )
    return max(FINEST, min(reduction for reduction in reductions if reduction))


def encoder_maps(extractor: FeatureExtractor, cell: int) -> MapOf:
    """Return x → its layers, averaged or interpolated to one grid, one below the other."""

    def maps(x_BCHW: Tensor) -> Tensor:
        rows, columns = (-(-side // cell) for side in x_BCHW.shape[-2:])
        parts = []
        for y_BCHW in feature_maps(extractor, x_BCHW).values():
            if y_BCHW.shape[-2] > rows:
                y_BCHW = F.adaptive_avg_pool2d(y_BCHW, (rows, columns))
            elif y_BCHW.shape[-2] < rows:
                size = (rows, columns)
                y_BCHW = F.interpolate(y_BCHW, size, mode="bilinear", align_corners=False)
            parts.append(y_BCHW[0])
        return torch.cat(parts)

    return maps


def patch_pca_maps(images: Sequence[Tensor], cell: int, keep: int) -> MapOf:
    """Return x → coordinates of the patch around every cell on the axes of all images' patches.

    Args:
        images: (1, C, H, W) each; no labels are needed.
        cell: pixels per cell.
        keep: D, at most as many axes as the patches span.
    """
    generator = torch.Generator().manual_seed(0)
    share = max(1, _ROWS // len(images))
    rows = []
    for x_BCHW in images:
        every = _patches(x_BCHW, cell)[0].flatten(1).T
        rows.append(every[torch.randperm(len(every), generator=generator)[:share]])
    axes: PrincipalAxes = principal_axes(torch.cat(rows), keep)

    def maps(x_BCHW: Tensor) -> Tensor:
        patches_DRQ, grid = _patches(x_BCHW, cell)
        return axes.coordinates(patches_DRQ.flatten(1).T).T.unflatten(1, grid)

    return maps


def _patches(x_BCHW: Tensor, cell: int) -> tuple[Tensor, tuple[int, int]]:
    """Return (C·PATCH², R, Q): the patch around the centre of every cell, mirrored at borders."""
    rows, columns = (-(-side // cell) for side in x_BCHW.shape[-2:])
    before = (PATCH - cell) // 2
    down = (rows - 1) * cell + PATCH - before - x_BCHW.shape[-2]
    across = (columns - 1) * cell + PATCH - before - x_BCHW.shape[-1]
    padded = F.pad(x_BCHW, (before, across, before, down), mode="replicate")
    return F.unfold(padded, PATCH, stride=cell)[0].unflatten(1, (rows, columns)), (rows, columns)
