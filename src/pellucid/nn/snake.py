"""Snake: an activation with a rhythm, for signals that repeat.

Shape letters: B batch, C channels, T samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Snake(nn.Module):
    """Return x + sin²(αx)/α with one learned α > 0 per channel.

    α is learned as its logarithm, so that it cannot reach 0.
    Source: Ziyin et al. 2020, "Neural networks fail to learn periodic functions", equation 3.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Return (B, C, T)."""
        alpha = self.log_alpha.exp()[:, None]
        # 2·sin² = 1 − cos saves a square on the way forth and back.
        return x_BCT + (1 - torch.cos(2 * alpha * x_BCT)) / (2 * alpha)
