"""Spatial gradients.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from torch import Tensor

from pellucid.functional.shapes import check_images


def spatial_gradient(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return forward differences x[i+1] − x[i] down and across, in value per pixel.

    Unlike Sobel's [−1, 0, 1] they respond to the finest pattern, a one-pixel checkerboard.

    Returns:
        (B, C, H−1, W) and (B, C, H, W−1).

    Raises:
        PellucidError: when `x` is not an image batch or has a side of one pixel.
    """
    check_images(x_BCHW, smallest=2, where="spatial_gradient")
    return x_BCHW.diff(dim=-2), x_BCHW.diff(dim=-1)
