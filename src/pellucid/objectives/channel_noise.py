"""Gaussian likelihood with a noise level per channel, learned in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.objectives.term import Term


class ChannelNoise(Term):
    """Measure mean over channels of ½ ln(1 + MSE_c / σ₀²).

    It is the Gaussian negative log-likelihood at each channel's best noise level σ_c² = MSE_c
    (over batch and positions), offset to be 0 at x̂ = x. Channels of any scale pull alike: the
    gradient of one is divided by its own error.

    Args:
        floor: σ₀, the smallest noise level, in the unit of the values.

    Raises:
        RecipeError: when `floor` is not positive.

    Source: Rybkin et al., "Simple and Effective VAE Training with Calibrated Decoders", 2021
    (its optimal σ, here per channel).
    """

    def __init__(self, *, floor: float = 0.1) -> None:
        super().__init__()
        if not floor > 0:
            raise RecipeError("a noise level is positive", where="channel-noise", found=floor)
        self.floor = floor

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        error_C = (x_hat - target).square().transpose(0, 1).flatten(1).mean(1)
        return 0.5 * torch.log1p(error_C / self.floor**2).mean()
