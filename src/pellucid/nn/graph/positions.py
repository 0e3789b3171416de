"""Where a node is, as numbers a network can read.

Shape letters: B graphs, N nodes, W width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OCTAVES = 6
_LONGEST = 32.0  # in the unit of the positions


class PositionEmbedding(nn.Module):
    """Turn places into vectors: mlp(sin, cos of 2π·p/λ for λ = 32, 16, … 1).

    Any place has one, so graphs of any size and nodes off a grid are read alike.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        wavelengths = _LONGEST / 2.0 ** torch.arange(_OCTAVES)
        self.register_buffer("frequency", 2 * math.pi / wavelengths, persistent=False)
        self.hidden = nn.Linear(4 * _OCTAVES, width)
        self.out = nn.Linear(width, width)

    def forward(self, positions_BN2: Tensor) -> Tensor:
        """Return (B, N, W)."""
        frequency: Tensor = self.frequency  # type: ignore[assignment]
        phase = (positions_BN2[..., None] * frequency).flatten(-2)
        return self.out(F.silu(self.hidden(torch.cat([phase.sin(), phase.cos()], -1))))
