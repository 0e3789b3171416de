"""Structural similarity, single- and multi-scale, per image.

Shape letters: B batch, C channels, H height, W width.

Conventions, which change the number: Gaussian window of 11 pixels with σ = 1.5, K₁ = 0.01,
K₂ = 0.03, population (not sample) moments, valid positions only (no padding), each channel
measured alone and all channels and positions averaged with equal weight. Black must be 0:
SSIM's luminance factor is not invariant to an offset.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.precision import float32_island
from pellucid.functional.shapes import check_images, check_pair

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest first


@float32_island
def ssim(
    x_hat_BCHW: Tensor,
    x_BCHW: Tensor,
    *,
    data_range: float,
    window: int = 11,
    sigma: float = 1.5,
) -> Tensor:
    """Measure SSIM = mean over channels and positions of luminance · contrast-structure.

    Args:
        x_hat_BCHW: reconstructions, black at 0.
        x_BCHW: originals, black at 0.
        data_range: white minus black, in the unit of the values.
        window: side of the Gaussian window in pixels, odd.
        sigma: its standard deviation in pixels.

    Returns:
        (B,) in [−1, 1]; 1 exactly when the images are equal.

    Raises:
        PellucidError: when the shapes differ, or an image is smaller than the window.

    Source: Wang et al., "Image quality assessment: from error visibility to structural
    similarity", 2004; equal to scikit-image with `gaussian_weights=True,
    use_sample_covariance=False`, and to torchmetrics' map without its mirrored borders.
    """
    check_pair(x_hat_BCHW, x_BCHW, where="ssim")
    _check_size(x_BCHW, window, "ssim")
    luminance, contrast = _similarity(x_hat_BCHW, x_BCHW, data_range, window, sigma)
    return (luminance * contrast).flatten(1).mean(1)


@float32_island
def ms_ssim(
    x_hat_BCHW: Tensor,
    x_BCHW: Tensor,
    *,
    data_range: float,
    scales: int | None = None,
    window: int = 11,
    sigma: float = 1.5,
    floor: float = 0.0,
) -> Tensor:
    """Measure MS-SSIM = SSIM_M^β_M · Π_{s<M} contrast_s^β_s over M dyadic scales.

    Each scale halves the image by 2×2 averaging. The published five scales need 176 pixels;
    smaller images use the scales that fit, their weights β renormalised to sum to 1, so numbers
    at different image sizes are not comparable: report `scales_that_fit` beside them.

    Args:
        x_hat_BCHW: reconstructions, black at 0.
        x_BCHW: originals, black at 0.
        data_range: white minus black, in the unit of the values.
        scales: how many scales; None takes `scales_that_fit`.
        window: side of the Gaussian window in pixels, odd.
        sigma: its standard deviation in pixels.
        floor: similarities below it are raised to it. 0 measures; a loss takes a small positive
            number, because c^β has an infinite slope at 0.

    Returns:
        (B,) in [0, 1]; 1 exactly when the images are equal.

    Raises:
        PellucidError: when the shapes differ, or the images are too small for `scales`.

    Source: Wang et al., "Multi-scale structural similarity for image quality assessment", 2003;
    torchmetrics (`normalize="relu"`) differs in the coarsest scale alone, whose border it mirrors.
    """
    check_pair(x_hat_BCHW, x_BCHW, where="ms_ssim")
    _check_size(x_BCHW, window, "ms_ssim")
    fitting = scales_that_fit(x_BCHW.shape[-2], x_BCHW.shape[-1], window)
    scales = fitting if scales is None else scales
    if not 1 <= scales <= fitting:
        raise PellucidError(
            "MS-SSIM cannot use so many scales at this image size",
            where="scales",
            expected=f"1 to {fitting} for {x_BCHW.shape[-2]}×{x_BCHW.shape[-1]} pixels",
            found=scales,
        )
    total = sum(SCALE_WEIGHTS[:scales])
    product_B = torch.ones_like(x_BCHW[:, 0, 0, 0])
    for scale, weight in enumerate(SCALE_WEIGHTS[:scales]):
        if scale:
            x_hat_BCHW, x_BCHW = F.avg_pool2d(x_hat_BCHW, 2), F.avg_pool2d(x_BCHW, 2)
        luminance, contrast = _similarity(x_hat_BCHW, x_BCHW, data_range, window, sigma)
        similarity = luminance * contrast if scale == scales - 1 else contrast
        similarity_B = similarity.flatten(1).mean(1).clamp_min(floor)
        product_B = product_B * similarity_B ** (weight / total)
    return product_B


def scales_that_fit(height: int, width: int, window: int = 11) -> int:
    """Return how many of the five MS-SSIM scales keep at least one whole window (0 to 5)."""
    side = min(height, width)
    return sum(side >> scale >= window for scale in range(len(SCALE_WEIGHTS)))


def _similarity(
    x_hat_BCHW: Tensor, x_BCHW: Tensor, data_range: float, window: int, sigma: float
) -> tuple[Tensor, Tensor]:
    """Return the luminance and contrast-structure maps at the valid positions.

    With s = x + x̂ and d = x − x̂: 4·cov = var s − var d and 2·(var x + var x̂) = var s + var d,
    so four blurred maps do the work of five, and equal images give exactly 1.
    """
    two_c1, two_c2 = 2 * (0.01 * data_range) ** 2, 2 * (0.03 * data_range) ** 2
    s, d = x_BCHW + x_hat_BCHW, x_BCHW - x_hat_BCHW
    maps = torch.cat([s, d, s.square(), d.square()], dim=1)
    mean_s, mean_d, square_s, square_d = _blur(maps, window, sigma).chunk(4, dim=1)
    mean_s2, mean_d2 = mean_s.square(), mean_d.square()
    var_s, var_d = square_s - mean_s2, square_d - mean_d2
    luminance = (mean_s2 - mean_d2 + two_c1) / (mean_s2 + mean_d2 + two_c1)
    contrast = (var_s - var_d + two_c2) / (var_s + var_d + two_c2)
    return luminance, contrast


def _blur(maps_BCHW: Tensor, window: int, sigma: float) -> Tensor:
    """Blur every map alone: two depthwise passes with the batch folded into the channels."""
    B, C, H, W = maps_BCHW.shape
    offset = torch.arange(window, dtype=maps_BCHW.dtype, device=maps_BCHW.device) - window // 2
    kernel = torch.exp(-offset.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(B * C, 1, window)
    folded = maps_BCHW.reshape(1, B * C, H, W)
    folded = F.conv2d(folded, kernel[..., :, None], groups=B * C)
    folded = F.conv2d(folded, kernel[..., None, :], groups=B * C)
    return folded.reshape(B, C, *folded.shape[-2:])


def _check_size(x_BCHW: Tensor, window: int, where: str) -> None:
    if window < 1 or window % 2 == 0:
        raise PellucidError(
            "an SSIM window is odd", where=where, expected="3, 5, 7 …", found=window
        )
    check_images(x_BCHW, smallest=window, where=where, hint=f"the window is {window} pixels wide")
