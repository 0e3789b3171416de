"""Focal frequency loss: a spectral error that turns to the frequencies it is worst at.

Shape letters: B batch, C channels, H height, W width, V = W//2 + 1 one-sided width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.functional.precision import float32_island
from pellucid.functional.shapes import check_images, check_pair
from pellucid.functional.spectrum import one_sided_multiplicity


@float32_island
def focal_frequency(x_hat_BCHW: Tensor, x_BCHW: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Measure mean over (u, v) of w·|F̂ − F|², w = (|F̂ − F| / max|F̂ − F|)^α held constant.

    F is the orthonormal 2-D Fourier transform; the maximum is over each image and channel, and
    no gradient flows through w. With α = 0 this is the mean squared error (Parseval).

    Args:
        x_hat_BCHW: reconstructions.
        x_BCHW: originals.
        alpha: how strongly the worst frequencies dominate.

    Returns:
        (B,) in squared units of the values.

    Raises:
        PellucidError: when the shapes differ or they are not images.

    Source: Jiang et al., "Focal Frequency Loss for Image Reconstruction and Synthesis", 2021,
    equations 5–8, without patches.
    """
    check_pair(x_hat_BCHW, x_BCHW, where="focal_frequency")
    check_images(x_BCHW, smallest=1, where="focal_frequency")
    difference = torch.fft.rfft2(x_hat_BCHW - x_BCHW, norm="ortho")
    distance_BCHV = difference.real.square() + difference.imag.square()
    weight_BCHV = focal_weights(distance_BCHV.detach(), alpha)
    width = x_BCHW.shape[-1]
    weighted = distance_BCHV * weight_BCHV * one_sided_multiplicity(width, like=distance_BCHV)
    return weighted.sum((-2, -1)).mean(1) / (x_BCHW.shape[-2] * width)


def focal_weights(distance_BCHV: Tensor, alpha: float) -> Tensor:
    """Return w = (d / max d)^(α/2) in [0, 1] for squared distances d; 0 where all d are 0."""
    largest = distance_BCHV.amax((-2, -1), keepdim=True)
    smallest_normal = torch.finfo(distance_BCHV.dtype).tiny
    return (distance_BCHV / largest.clamp_min(smallest_normal)) ** (alpha / 2)
