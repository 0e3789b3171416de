"""Points as heat maps and back.

Shape letters: L landmarks, R rows and Q columns of cells, N cells. Points are (x, y) in pixels, x
to the right, y down; the centre of cell (r, q) is ((q + ½)·cell, (r + ½)·cell).
"""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_heatmaps(
    points_L2: Tensor, grid: tuple[int, int], *, cell: float, sigma: float
) -> Tensor:
    """Return (L, R, Q): exp(−‖centre − point‖² / 2σ²), 1 at the point; zeros where it is NaN.

    Args:
        points_L2: in pixels.
        grid: (R, Q).
        cell: pixels per cell.
        sigma: σ in cells.
    """
    rows, columns = grid
    x_L, y_L = (points_L2 / cell - 0.5).unbind(-1)
    across = torch.arange(columns, dtype=x_L.dtype) - x_L[:, None]
    down = torch.arange(rows, dtype=y_L.dtype) - y_L[:, None]
    squares = down.square()[:, :, None] + across.square()[:, None, :]
    return (-squares / (2 * sigma**2)).exp().nan_to_num(0.0)


def soft_argmax(heat_LRQ: Tensor, *, cell: float, radius: int) -> Tensor:
    """Return (L, 2) points in pixels: the mean of cell centres under softmax(heat) near its peak.

    Only cells within `radius` of the highest one count, so that distant background cannot pull.

    Args:
        heat_LRQ: logits.
        cell: pixels per cell.
        radius: cells on each side of the peak.

    Source: Levine et al. 2016, "End-to-end training of deep visuomotor policies", section 5.1.
    """
    rows, columns = heat_LRQ.shape[-2:]
    peak_L = heat_LRQ.flatten(1).argmax(-1)
    row_L, column_L = peak_L // columns, peak_L % columns
    offsets = torch.arange(-radius, radius + 1)
    near_rows, near_columns = row_L[:, None] + offsets, column_L[:, None] + offsets
    # At a border the window shrinks on both sides: half a window would pull inwards.
    down = torch.minimum(row_L, rows - 1 - row_L)[:, None] >= offsets.abs()
    across = torch.minimum(column_L, columns - 1 - column_L)[:, None] >= offsets.abs()
    inside = down[:, :, None] & across[:, None, :]
    places = near_rows.clamp(0, rows - 1)[:, :, None] * columns
    places = places + near_columns.clamp(0, columns - 1)[:, None, :]
    window = heat_LRQ.flatten(1).gather(1, places.flatten(1))
    weights = window.masked_fill(~inside.flatten(1), -torch.inf).softmax(-1)
    weights = weights.unflatten(1, inside.shape[-2:])
    x = (weights.sum(-2) * near_columns).sum(-1) + 0.5
    y = (weights.sum(-1) * near_rows).sum(-1) + 0.5
    return torch.stack([x, y], -1) * cell
