"""What permuters check alike.

Shape letters: B batch, C channels, H height, W width, S side of the grid.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import PellucidError, RecipeError


def check_sizes(*, channels: int, side: int, decay: float) -> None:
    """Refuse sizes that no permuter can have.

    Raises:
        RecipeError: for no channel, a grid without a second node, or a decay outside [0, 1].
    """
    if channels < 1 or side < 2 or not 0 <= decay <= 1:
        raise RecipeError(
            "a permuter has nothing to permute, or forgets everything",
            where="permuter",
            expected="channels ≥ 1, side ≥ 2, decay in [0, 1]",
            found=f"channels {channels}, side {side}, decay {decay}",
        )


def patch_of(x_BCHW: Tensor, side: int) -> int:
    """Return the pixels per node of square tiles of `side` nodes.

    Raises:
        PellucidError: when the tiles are not square or do not divide.
    """
    height, width = x_BCHW.shape[-2:]
    if height != width or height % side:
        raise PellucidError(
            "tiles do not divide into the permuter's grid",
            expected=f"square tiles, a multiple of {side} pixels",
            found=f"{height} × {width}",
        )
    return height // side


def grid_means(x_BCHW: Tensor, side: int) -> Tensor:
    """Return (B, C, S, S) means over the patches of a tile, without gradient.

    Raises:
        PellucidError: see `patch_of`.
    """
    return F.avg_pool2d(x_BCHW.detach().float(), patch_of(x_BCHW, side))
