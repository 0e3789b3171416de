"""Snake: an activation with a rhythm, for signals that repeat.

Shape letters: B batch, C channels, T samples.
"""

from __future__ import annotations

from typing import Any

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
        alpha_C1 = self.log_alpha.exp()[:, None]
        # In eval mode it stays open to forward-mode derivatives and to torch.func.
        return _Learnt.apply(x_BCT, alpha_C1) if self.training else _snake(x_BCT, alpha_C1)


def _snake(x_BCT: Tensor, alpha_C1: Tensor) -> Tensor:
    """Return x + (1 − cos 2αx)/(2α): 2·sin² = 1 − cos saves a square."""
    half_C1 = 0.5 / alpha_C1
    return torch.addcmul(x_BCT + half_C1, torch.cos((2 * alpha_C1) * x_BCT), half_C1, value=-1)


class _Learnt(torch.autograd.Function):
    """The same with its derivatives written out, in half the passes over memory.

    ∂y/∂x = 1 + sin 2αx, and ∂y/∂α = (x·∂y/∂x − y)/α.
    """

    @staticmethod
    def forward(ctx: Any, x_BCT: Tensor, alpha_C1: Tensor) -> Tensor:
        y_BCT = _snake(x_BCT, alpha_C1)
        ctx.save_for_backward(x_BCT, alpha_C1, y_BCT)
        return y_BCT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_BCT: Tensor) -> tuple[Tensor, Tensor]:
        x_BCT, alpha_C1, y_BCT = ctx.saved_tensors
        to_x_BCT = torch.addcmul(gradient_BCT, gradient_BCT, torch.sin((2 * alpha_C1) * x_BCT))
        product_BCT = torch.addcmul(x_BCT * to_x_BCT, y_BCT, gradient_BCT, value=-1)
        to_alpha_C1 = product_BCT.sum((0, 2))[:, None] / alpha_C1
        return to_x_BCT.to(x_BCT.dtype), to_alpha_C1
