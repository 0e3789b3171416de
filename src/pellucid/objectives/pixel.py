"""Terms that compare value by value, for data of any shape, all pixels alike or some more.

Every one takes `focal` (hard pixels count more) and `centre` (pixels of an image near its middle
count more); see `functional.pixel_weights`. Weights have mean one: the unit stays.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.pixel_weights import check_weighting, weighted_mean
from pellucid.objectives.term import Term


class L1(Term):
    """Measure mean |x̂ − x|, in the unit of the values.

    Args:
        focal: exponent γ ≥ 0 of the weights |x̂ − x|^γ; 0 weighs all alike.
        centre: standard deviation of a Gaussian over an image in half sides, or None.

    Raises:
        RecipeError: for weights without a meaning.
    """

    def __init__(self, *, focal: float = 0.0, centre: float | None = None) -> None:
        super().__init__()
        check_weighting(focal, centre)
        self.focal, self.centre = focal, centre

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        error = x_hat - target
        return weighted_mean(error.abs(), error, focal=self.focal, centre=self.centre)


class L2(Term):
    """Measure mean (x̂ − x)², in squared units of the values.

    Args:
        focal: see `L1`.
        centre: see `L1`.

    Raises:
        RecipeError: for weights without a meaning.
    """

    def __init__(self, *, focal: float = 0.0, centre: float | None = None) -> None:
        super().__init__()
        check_weighting(focal, centre)
        self.focal, self.centre = focal, centre

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        error = x_hat - target
        return weighted_mean(error.square(), error, focal=self.focal, centre=self.centre)


class Charbonnier(Term):
    """Measure mean √((x̂ − x)² + ε²): L1 with a round tip, so its minimum is ε.

    Args:
        epsilon: radius of the tip, in the unit of the values.
        focal: see `L1`.
        centre: see `L1`.

    Raises:
        RecipeError: when `epsilon` is not a positive number, or for weights without a meaning.

    Source: Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for
    computed imaging", 1994.
    """

    def __init__(
        self, *, epsilon: float = 1e-3, focal: float = 0.0, centre: float | None = None
    ) -> None:
        super().__init__()
        if not 0 < epsilon < math.inf:
            raise RecipeError("a Charbonnier tip has a radius", expected="> 0", found=epsilon)
        check_weighting(focal, centre)
        self.epsilon = epsilon
        self.minimum = epsilon
        self.focal, self.centre = focal, centre

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        error = x_hat - target
        rounded = (error.square() + self.epsilon**2).sqrt()
        return weighted_mean(rounded, error, focal=self.focal, centre=self.centre)


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


class GaussianNLL(Term):
    """Measure (E/2)·ln(1 + MSE/σ₀²): the negative log-likelihood at the best common σ, in nats.

    Up to a constant it is E/2·ln(2πe·σ²) with σ² = MSE + σ₀², the σ that a Gaussian decoder would
    learn. Beside it a KL in nats per sample has weight 1, whatever the number of pixels: as the
    error falls, the pull of the error rises, so the exchange rate of the two follows the model
    (w = 2·MSE/E beside a mean squared error) instead of being guessed. Gradients are as large as
    E; AdamW does not mind, `training.clip_norm` then sets their length.

    Args:
        floor: σ₀ as a share of the unit of the values; below it more precision is worth nothing.
            The default is half a level of 8-bit images in [−1, 1].

    Raises:
        RecipeError: when the floor is not a positive number.

    Source: Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders" (the
    σ-VAE with optimal σ), section 3.2.
    """

    def __init__(self, *, floor: float = 1 / 255) -> None:
        super().__init__()
        if not 0 < floor < math.inf:
            raise RecipeError("a σ has a floor", where="floor", expected="> 0", found=floor)
        self.floor = floor

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        error = (x_hat - target).square().mean()
        return target[0].numel() / 2 * (error / self.floor**2).log1p()
