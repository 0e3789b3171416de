"""Peak signal-to-noise ratio, per image, with the data range spelt out."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.functional.precision import float32_island
from pellucid.functional.shapes import check_pair


@float32_island
def psnr(x_hat: Tensor, x: Tensor, *, data_range: float, smallest_error: float = 0.0) -> Tensor:
    """Measure PSNR = 10·log₁₀(range² / max(MSE, smallest_error)) of each sample.

    Args:
        x_hat: (B, ...) reconstructions.
        x: (B, ...) originals.
        data_range: distance between black and white, in the unit of the values. There is no
            default: a wrong 2 for a 1 lifts PSNR by 6 dB.
        smallest_error: floor of the MSE, so that equal images get a finite number; 0 gives them
            infinity.

    Returns:
        (B,) in dB. Averaging these is the mean of per-image PSNR, not the PSNR of the mean error.

    Raises:
        PellucidError: when the shapes differ.
    """
    check_pair(x_hat, x, where="psnr")
    error_B = (x_hat - x).square().flatten(1).mean(1).clamp_min(smallest_error)
    return 10 * torch.log10(data_range**2 / error_B)
