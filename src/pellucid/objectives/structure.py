"""Terms that compare local structure: one minus SSIM, single- and multi-scale."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.ssim import SCALE_WEIGHTS, ms_ssim, ssim
from pellucid.functional.value_range import ValueRange
from pellucid.objectives.term import Term


class SSIMLoss(Term):
    """Measure 1 − SSIM on images (B, C, H, W) in [0, 1], so between 0 and 2.

    Args:
        window: side of the Gaussian window in pixels, odd; no image may be smaller.
        sigma: its standard deviation in pixels.

    Raises:
        RecipeError: for an even window or a σ that is not positive.

    Source: see `pellucid.functional.ssim`, which states the conventions.
    """

    expects: ClassVar[ValueRange | None] = ValueRange(0.0, 1.0)

    def __init__(self, *, window: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        _check_window(window, sigma)
        self.window = window
        self.sigma = sigma

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return 1 - ssim(x_hat, target, data_range=1.0, window=self.window, sigma=self.sigma).mean()


class MSSSIMLoss(Term):
    """Measure 1 − MS-SSIM on images (B, C, H, W) in [0, 1], so between 0 and 1.

    A scale's similarity below 0.01 counts as 0.01: its slope stays bounded, and one scale
    without any similarity does not silence the others.

    Args:
        scales: how many dyadic scales; None takes as many of five as the image size allows
            (five from 176 pixels, three at 64), with their weights renormalised.
        window: side of the Gaussian window in pixels, odd.
        sigma: its standard deviation in pixels.

    Raises:
        RecipeError: for an even window, a σ that is not positive, or scales outside 1 to 5.

    Source: see `pellucid.functional.ssim`, which states the conventions.
    """

    expects: ClassVar[ValueRange | None] = ValueRange(0.0, 1.0)
    floor: ClassVar[float] = 0.01

    def __init__(self, *, scales: int | None = None, window: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        _check_window(window, sigma)
        if scales is not None and not 1 <= scales <= len(SCALE_WEIGHTS):
            raise RecipeError(
                "MS-SSIM has one to five scales", expected="1 to 5, or none", found=scales
            )
        self.scales = scales
        self.window = window
        self.sigma = sigma

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        similarity_B = ms_ssim(
            x_hat,
            target,
            data_range=1.0,
            scales=self.scales,
            window=self.window,
            sigma=self.sigma,
            floor=self.floor,
        )
        return 1 - similarity_B.mean()


def _check_window(window: int, sigma: float) -> None:
    if window < 3 or window % 2 == 0:
        raise RecipeError("an SSIM window is odd", expected="3, 5, 7, …", found=window)
    if not sigma > 0:
        raise RecipeError("an SSIM window has a width", expected="sigma > 0", found=sigma)
