"""The eight symmetries of the square, acting on images.

Element g < 4 turns by g quarter turns; g ≥ 4 mirrors left-right first. Shape letters: B batch,
C channels, H height, W width, G the eight elements.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import PellucidError

ORDER = 8
INVERSE = (0, 3, 2, 1, 4, 5, 6, 7)
"""Element g undoes INVERSE[g]: mirrored ones undo themselves."""


def turned(x_BCHW: Tensor, element: int) -> Tensor:
    """Return g·x for one element, same shape.

    Raises:
        PellucidError: when the images are not square.
    """
    check_square(x_BCHW)
    mirrored = x_BCHW.flip(-1) if element >= 4 else x_BCHW
    return torch.rot90(mirrored, element % 4, (-2, -1))


def orbit(x_BCHW: Tensor) -> Tensor:
    """Return (B, G, C, H, W): every image in its eight orientations."""
    return torch.stack([turned(x_BCHW, g) for g in range(ORDER)], 1)


def turn_by(x_BCHW: Tensor, weights_BG: Tensor) -> Tensor:
    """Return Σ_g w_g · (g·x); one-hot weights turn every image by its own element."""
    return torch.einsum("bg,bgchw->bchw", weights_BG.to(x_BCHW.dtype), orbit(x_BCHW))


def turn_back(x_BCHW: Tensor, weights_BG: Tensor) -> Tensor:
    """Return Σ_g w_g · (g⁻¹·x), which undoes `turn_by` for one-hot weights."""
    return turn_by(x_BCHW, weights_BG[:, list(INVERSE)])


def check_square(x_BCHW: Tensor) -> None:
    """Refuse images whose sides differ: a quarter turn would change their shape.

    Raises:
        PellucidError: when they do.
    """
    if x_BCHW.ndim != 4 or x_BCHW.shape[-1] != x_BCHW.shape[-2]:
        raise PellucidError(
            "only squares have eight symmetries",
            expected="(B, C, side, side)",
            found=tuple(x_BCHW.shape),
        )
