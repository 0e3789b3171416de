"""A perceptual distance without learned weights: do oriented bands agree in structure and strength?

Images are read as the eye's first stages read them: in opponent colours, at several scales, by
quadrature pairs of oriented band-pass filters. In every neighbourhood and band two things are
compared. *Structure* is the complex wavelet SSIM: how much of the band's content is shared up to a
common phase, so a shift of a fraction of a wavelength costs little and noise costs all of itself.
*Strength* compares only how much content there is, so a texture of the right contrast is nearer
than its blur, as people and deep-feature distances (LPIPS, DISTS) judge it and squared error
does not.

Shape letters: B batch, C channels (opponent colours), K orientations, H height, W width.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.functional.precision import float32_island
from pellucid.functional.shapes import check_images, check_pair

SMALLEST_SIDE = 8  # pixels a scale must have; 8 is also the smallest image
_KERNEL, _WAVELENGTH, _WIDTH = 9, 4.0, 1.8  # pixels; the band of a scale is centred on half Nyquist
_STRIDE = 2  # pixels between responses: an analytic band of one octave needs no more of them
_WINDOW = 5  # responses along a side of a neighbourhood
_TINY = 1e-10  # rounds the tip of |z|; squared it is still a float32
# Rows: luma, blue–yellow, red–green. Equal RGB has no chroma.
_OPPONENT = ((0.299, 0.587, 0.114), (-0.25, -0.25, 0.5), (0.5, -0.5, 0.0))
_CHROMA_WEIGHT = 0.25


@float32_island
def steerable_distance(
    x_hat_BCHW: Tensor,
    x_BCHW: Tensor,
    *,
    scales: int | None = None,
    orientations: int = 4,
    strength: float = 0.5,
    contrast: float = 0.02,
) -> Tensor:
    """Measure 1 − similarity of each pair of images in [0, 1]: (B,), 0 equal, below 1.

    Per scale, colour, orientation and neighbourhood ⟨·⟩, with responses r, r̂ ∈ ℂ:
    structure = (2|⟨r r̂*⟩| + c) / (⟨|r|²⟩ + ⟨|r̂|²⟩ + c),
    strength  = (2 √(⟨|r|²⟩⟨|r̂|²⟩) + c) / (⟨|r|²⟩ + ⟨|r̂|²⟩ + c);
    their mixture is averaged over everything, each chroma weighing a quarter of luma. It is blind
    to what is smoother than the coarsest scale, an offset for one: use it beside a pixel term.

    Args:
        x_hat_BCHW: reconstructions.
        x_BCHW: originals.
        scales: octaves below half Nyquist; None takes up to four, while a side has 8 pixels.
        orientations: filters per scale.
        strength: share of the strength comparison, the rest is structure.
        contrast: amplitude of a grating that is barely seen; c is its square.

    Raises:
        PellucidError: when the shapes differ, or an image is smaller than 8 pixels.

    Source: Sampat et al. 2009, "Complex wavelet structural similarity"; the mixture follows Ding
    et al. 2020, "Image quality assessment: unifying structure and texture similarity" (DISTS).
    """
    check_pair(x_hat_BCHW, x_BCHW, where="steerable_distance")
    check_images(x_BCHW, smallest=SMALLEST_SIDE, where="steerable_distance")
    count = scales_that_fit(*x_BCHW.shape[-2:]) if scales is None else scales
    y_hat, y = _opponent(x_hat_BCHW), _opponent(x_BCHW)
    coloured = x_BCHW.shape[1] == 3
    distances, weights = [], []
    for scale in range(count):
        if scale:
            y_hat, y = _halve(y_hat), _halve(y)
        # the eye resolves chroma half as finely: the finest scale is luma alone
        seen = slice(0, 1) if coloured and scale == 0 else slice(None)
        response_hat = _responses(y_hat[:, seen], orientations)
        response = _responses(y[:, seen], orientations)
        distances.append(_dissimilarity(response_hat, response, strength, contrast**2))
        weights.append(_channel_weights(distances[-1]))
    distance_BN, weight_N = torch.cat(distances, 1), torch.cat(weights)
    return distance_BN @ (weight_N / weight_N.sum())


def _channel_weights(distance_BC: Tensor) -> Tensor:
    chroma = [_CHROMA_WEIGHT] * 2 if distance_BC.shape[1] == 3 else []
    luma = [1.0] * (distance_BC.shape[1] - len(chroma))
    return distance_BC.new_tensor([*luma, *chroma])


def scales_that_fit(height: int, width: int) -> int:
    """Return how many of four octaves an image has room for, at least one."""
    octaves = int(math.log2(max(1, min(height, width) / SMALLEST_SIDE))) + 1
    return max(1, min(4, octaves))


def quadrature_pairs(orientations: int) -> Tensor:
    """Return (2K, 9, 9) even filters, then odd ones, without response to a constant.

    A grating of unit amplitude at the filter's own frequency and orientation has |response| 1.
    """
    axis = torch.arange(_KERNEL, dtype=torch.float64) - _KERNEL // 2
    down, across = torch.meshgrid(axis, axis, indexing="ij")
    bump = torch.exp(-(down.square() + across.square()) / (2 * _WIDTH**2))
    even, odd = [], []
    for k in range(orientations):
        angle = math.pi * k / orientations
        phase = (across * math.cos(angle) + down * math.sin(angle)) * 2 * math.pi / _WAVELENGTH
        real = bump * phase.cos()
        real = real - bump * (real.sum() / bump.sum())
        imaginary = bump * phase.sin()
        even.append(real / (real * phase.cos()).sum())
        odd.append(imaginary / (imaginary * phase.sin()).sum())
    return torch.stack(even + odd)


def _opponent(x_BCHW: Tensor) -> Tensor:
    if x_BCHW.shape[1] != 3:
        return x_BCHW
    return torch.einsum("oc,bchw->bohw", x_BCHW.new_tensor(_OPPONENT), x_BCHW)


def _halve(x_BCHW: Tensor) -> Tensor:
    """Blur with a binomial of five taps and keep every second pixel."""
    taps = x_BCHW.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    C = x_BCHW.shape[1]
    kernel = torch.outer(taps, taps).expand(C, 1, 5, 5)
    padded = F.pad(x_BCHW, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(padded, kernel, stride=2, groups=C)


@functools.lru_cache(maxsize=8)
def _bank(orientations: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return quadrature_pairs(orientations).to(device, dtype)[:, None]


def _responses(x_BCHW: Tensor, orientations: int) -> Tensor:
    """Return even and odd responses (B, C, 2, K, H/2, W/2) to every orientation."""
    rim = _KERNEL // 2
    padded_NHW = F.pad(x_BCHW, (rim,) * 4, mode="reflect").flatten(0, 1)
    bank = _bank(orientations, x_BCHW.dtype, x_BCHW.device)
    flat = F.conv2d(padded_NHW[:, None], bank, stride=_STRIDE)
    return flat.unflatten(1, (2, orientations)).unflatten(0, x_BCHW.shape[:2])


def _dissimilarity(response_hat: Tensor, response: Tensor, strength: float, c: float) -> Tensor:
    """Return (B, C): 1 − similarity, averaged over orientations and neighbourhoods."""
    even_hat, odd_hat = response_hat.unbind(2)
    even, odd = response.unbind(2)
    energy_hat = _neighbourhood(even_hat.square() + odd_hat.square())
    energy = _neighbourhood(even.square() + odd.square())
    real = _neighbourhood(even * even_hat + odd * odd_hat)
    imaginary = _neighbourhood(odd * even_hat - even * odd_hat)
    shared = _rounded_root(real.square() + imaginary.square())
    product = _rounded_root(energy * energy_hat)
    alike = 2 * ((1 - strength) * shared + strength * product)
    similarity = (alike + c) / (energy + energy_hat + c)
    return 1 - similarity.flatten(2).mean(2)


def _neighbourhood(x_BCKHW: Tensor) -> Tensor:
    """Return means over 5×5 responses, every second one, smaller windows at the border."""
    flat = x_BCKHW.flatten(0, 1)
    mean = F.avg_pool2d(flat, _WINDOW, 2, _WINDOW // 2, count_include_pad=False)
    return mean.unflatten(0, x_BCKHW.shape[:2])


def _rounded_root(x: Tensor) -> Tensor:
    """Return √x with a finite slope at 0, and 0 there."""
    return (x + _TINY**2).sqrt() - _TINY
