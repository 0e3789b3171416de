"""PCA of whole tiles, or of their patches, at a stated count of numbers per tile.

Shape letters: N tiles, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from pellucid.references.patches import from_patches, patch_count, to_patches
from pellucid.references.principal import PrincipalAxes, principal_axes
from pellucid.references.samples import spaced

MAX_ROWS = 8192
"""Tiles or patches that axes are computed from, evenly spaced: more change little."""


@dataclasses.dataclass(frozen=True)
class TilePCA:
    """Reconstruct tiles linearly.

    Args:
        principal: axes of tiles or patches.
        shape: (C, H, W) of a tile.
        patch: side of the patches; the tile's own side for a PCA of whole tiles.
        note: what it is and what it was fitted on.
    """

    principal: PrincipalAxes
    shape: tuple[int, ...]
    patch: int
    note: str

    @classmethod
    def fit(cls, train_NCHW: Tensor, numbers: int, patch: int | None = None) -> TilePCA:
        """Fit with `numbers` per tile, spread evenly over its patches.

        Args:
            train_NCHW: training tiles, normalised per channel.
            numbers: per tile.
            patch: side of the patches in pixels; None takes whole tiles.
        """
        shape = tuple(train_NCHW.shape[1:])
        side = shape[1] if patch is None else patch
        count = patch_count(shape[1:], side)
        rows = to_patches(train_NCHW, side).flatten(0, 1)
        rows = rows[spaced(len(rows), MAX_ROWS)]
        axes = principal_axes(rows, max(1, numbers // count))
        kept = len(axes.axes)
        what = "whole tiles" if count == 1 else f"{side}×{side} patches, {kept} numbers each"
        note = f"PCA of {what}: {kept * count} numbers per tile, fitted on {len(rows)} of train"
        return cls(axes, shape, side, note)

    @property
    def numbers(self) -> int:
        """Numbers per tile that are really used."""
        return len(self.principal.axes) * patch_count(self.shape[1:], self.patch)

    def reconstruct(self, x_NCHW: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        patches_NPE = to_patches(x_NCHW, self.patch)
        flat = self.principal.reconstruct(patches_NPE.flatten(0, 1))
        return from_patches(flat.view_as(patches_NPE), self.shape, self.patch)
