"""Between channels-first features and rows of vectors.

Shape letters: B batch, C channels, P positions (zero or more axes), N = B·P rows, D dimensions.
"""

from __future__ import annotations

from torch import Tensor


def to_rows(h_BCP: Tensor) -> Tensor:
    """Return (N, C): one row per position; free of copies when memory is channels-last."""
    return h_BCP.movedim(1, -1).reshape(-1, h_BCP.shape[1])


def from_rows(rows_ND: Tensor, like_BCP: Tensor) -> Tensor:
    """Return (B, D, P...) with the batch and positions of `like_BCP`; a view of the rows."""
    positions = like_BCP.shape[2:]
    return rows_ND.reshape(like_BCP.shape[0], *positions, rows_ND.shape[1]).movedim(-1, 1)
