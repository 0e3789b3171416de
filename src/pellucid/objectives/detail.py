"""Terms that look at fine detail: spatial gradients and the Fourier spectrum."""

from __future__ import annotations

import math

from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.focal_frequency import focal_frequency
from pellucid.functional.spatial_gradient import spatial_gradient
from pellucid.objectives.term import Term


class Edge(Term):
    """Measure ½ (mean |∂ᵥ(x̂ − x)| + mean |∂ₕ(x̂ − x)|) with forward differences on images.

    It is blind to a constant offset of an image: use it beside a pixel term. In the unit of the
    values per pixel.
    """

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        down, across = spatial_gradient(x_hat - target)
        return (down.abs().mean() + across.abs().mean()) / 2


class FocalFrequency(Term):
    """Measure the spectral error with the worst frequencies of each image weighing most.

    In squared units of the values; with α = 0 it is L2.

    Args:
        alpha: how strongly the worst frequencies dominate, ≥ 0.

    Raises:
        RecipeError: when `alpha` is negative or not finite.

    Source: Jiang et al., "Focal Frequency Loss for Image Reconstruction and Synthesis", 2021.
    """

    def __init__(self, *, alpha: float = 1.0) -> None:
        super().__init__()
        if not 0 <= alpha < math.inf:
            raise RecipeError("a focal exponent is not negative", expected="≥ 0", found=alpha)
        self.alpha = alpha

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return focal_frequency(x_hat, target, alpha=self.alpha).mean()
