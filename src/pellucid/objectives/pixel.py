"""Terms that compare value by value, for data of any shape."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.objectives.term import Term


class L1(Term):
    """Measure mean |x̂ − x|, in the unit of the values."""

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(x_hat, target)


class L2(Term):
    """Measure mean (x̂ − x)², in squared units of the values."""

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(x_hat, target)


class Charbonnier(Term):
    """Measure mean √((x̂ − x)² + ε²): L1 with a round tip, so its minimum is ε.

    Args:
        epsilon: radius of the tip, in the unit of the values.

    Raises:
        RecipeError: when `epsilon` is not a positive number.

    Source: Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for
    computed imaging", 1994.
    """

    def __init__(self, *, epsilon: float = 1e-3) -> None:
        super().__init__()
        if not 0 < epsilon < math.inf:
            raise RecipeError("a Charbonnier tip has a radius", expected="> 0", found=epsilon)
        self.epsilon = epsilon
        self.minimum = epsilon

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return ((x_hat - target).square() + self.epsilon**2).sqrt().mean()


class Huber(Term):
    """Measure the mean Huber distance: ½e² up to δ, δ(|e| − δ/2) beyond.

    Rare bright pixels then pull no harder than δ, while small errors are still squared.

    Args:
        delta: where it turns linear, in the unit of the values.

    Raises:
        RecipeError: when `delta` is not a positive number.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """

    def __init__(self, *, delta: float = 1.0) -> None:
        super().__init__()
        if not 0 < delta < math.inf:
            raise RecipeError("a Huber distance turns somewhere", expected="> 0", found=delta)
        self.delta = delta

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(x_hat, target, delta=self.delta)
