"""Which pixels count more: the hard ones (focal) and those near the middle (centre).

Weights have mean one, so a weighted mean keeps the unit and the size of the plain one.

Shape letters: B batch, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.shapes import check_images


def weighted_mean(cost: Tensor, error: Tensor, *, focal: float, centre: float | None) -> Tensor:
    """Return the mean of `cost` under focal and centre weights: a scalar.

    Args:
        cost: (B, ...) what is averaged, one number per element.
        error: (B, ...) x̂ − x, whose size focal weights follow.
        focal: γ of `focal_weights`; 0 weighs all alike.
        centre: σ of `centre_weights`, for images; None weighs all alike.

    Raises:
        PellucidError: when `centre` is given and the data are not images.
    """
    if centre is not None:
        check_images(cost, smallest=1, where="centre weights")
        cost = cost * centre_weights(*cost.shape[-2:], sigma=centre, like=cost)
    if focal > 0:
        cost = cost * focal_weights(error, focal)
    return cost.mean()


def focal_weights(error: Tensor, gamma: float) -> Tensor:
    """Return |e|^γ over its mean per sample, held constant: same shape, mean one per sample.

    They are weights, not part of what is differentiated: γ = 1 over an L1 pulls each pixel in
    proportion to its error, and doubling all errors doubles the loss. (A root or power of the loss
    itself would change the term instead of weighing it.) An all-zero error weighs 1.

    Source: Lin et al. 2017, "Focal loss for dense object detection", the modulating factor; Jiang
    et al. 2021 hold it constant as here.
    """
    power = error.detach().abs() ** gamma
    mean = power.flatten(1).mean(1).view(-1, *[1] * (error.ndim - 1))
    return torch.where(mean > 0, power / mean, torch.ones_like(power))


def centre_weights(height: int, width: int, *, sigma: float, like: Tensor) -> Tensor:
    """Return (H, W) of exp(−r²/2σ²) over its mean; r is 1 at the middle of each edge."""
    down = _axis(height, like)[:, None]
    across = _axis(width, like)[None, :]
    bump = torch.exp(-(down.square() + across.square()) / (2 * sigma**2))
    return bump / bump.mean()


def check_weighting(focal: float, centre: float | None) -> None:
    """Refuse weights without a meaning.

    Raises:
        RecipeError: for a negative γ or a σ that is not positive.
    """
    if not 0 <= focal < float("inf"):
        raise RecipeError("a focal exponent is not negative", expected="≥ 0", found=focal)
    if centre is not None and not 0 < centre < float("inf"):
        raise RecipeError(
            "a centre weight has a width",
            where="centre",
            expected="a standard deviation > 0 in half sides, e.g. 0.5",
            found=centre,
        )


def _axis(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) * 2 / count - 1
