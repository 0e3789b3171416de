"""Terms that look at fine detail: spatial gradients and the Fourier spectrum.

Shape letters: B batch, R rings of spatial frequency.
"""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.focal_frequency import focal_frequency
from pellucid.functional.spatial_gradient import spatial_gradient
from pellucid.functional.spectrum import radial_spectra
from pellucid.functional.value_range import ValueRange
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


class Spectrum(Term):
    """Measure mean (ln P̂ᵣ − ln Pᵣ)² over rings of spatial frequency: detail that lost its power.

    The smallest squared error is a conditional mean, which shows uncertain detail too softly: where
    it has coherence γ² with the original it has γ² of its power. Giving that back multiplies the
    squared error at that frequency by 2/(1 + γ). The term is blind to place, and noise would please
    it too: use it beside a pixel term, and judge it with the coherence. Powers have one grey level
    of noise added (σ = 1/255), so that flat images count for nothing.

    Args:
        lowest: cycles per pixel below which power is left to the other terms.
        rings: between 0 and half a cycle per pixel.

    Raises:
        RecipeError: when no ring is left.
    """

    expects: ClassVar[ValueRange | None] = ValueRange(0.0, 1.0)

    def __init__(self, *, lowest: float = 0.0625, rings: int = 16) -> None:
        super().__init__()
        if rings < 1 or not 0 <= lowest < 0.5 - 0.25 / max(rings, 1):
            raise RecipeError(
                "a spectrum needs rings between its lowest frequency and half a cycle per pixel",
                where="objective.spectrum",
                found=f"lowest {lowest}, rings {rings}",
            )
        self.lowest, self.rings = lowest, rings

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        found = radial_spectra(x_hat, target, rings=self.rings)
        # White noise has the same power at every coefficient, and a ring has as many as its radius.
        share_R = 2 * math.pi * found.frequency * (0.5 / self.rings)
        noise_R = share_R * x_hat.shape[1] / 255.0**2
        ratio_BR = (found.power_hat + noise_R) / (found.power + noise_R)
        counted_R = (found.frequency >= self.lowest) & (found.power.sum(0) > 0)
        level_BR = ratio_BR.log().square() * counted_R
        return level_BR.sum() / (counted_R.sum().clamp_min(1) * len(level_BR))
