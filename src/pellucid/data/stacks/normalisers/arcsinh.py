"""Inverse hyperbolic sine: linear near 0, logarithmic far from it."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.data.stacks.normalisers.contract import Normaliser
from pellucid.errors import RecipeError


class Arcsinh(Normaliser):
    """y = arcsinh(x / cofactor).

    Args:
        cofactor: counts at which it turns from linear to logarithmic; 1 for imaging mass cytometry
            and ion counts, 5 for suspension cytometry.

    Raises:
        RecipeError: when the cofactor is not positive.
    """

    def __init__(self, *, cofactor: float = 1.0) -> None:
        if not cofactor > 0:
            raise RecipeError("a cofactor is positive", where="arcsinh.cofactor", found=cofactor)
        self.cofactor = cofactor

    def forward(self, x_BCP: Tensor) -> Tensor:
        return torch.asinh(x_BCP.float() / self.cofactor)

    def inverse(self, y_BCP: Tensor) -> Tensor:
        return torch.sinh(y_BCP) * self.cofactor
