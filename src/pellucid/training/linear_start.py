"""Start a model with linear paths where the best linear model would end.

Shape letters: N samples, C channels, D latent channels, E elements of a patch, R rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.bottlenecks.gaussian import Gaussian
from pellucid.data.order import EpochOrder
from pellucid.errors import RecipeError

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder

SAMPLES = 512
"""Crops that are looked at: with hundreds of patches in each, more change little."""
_TINY, _RIDGE = 1e-6, 1e-2  # of the mean diagonal: components are nearly independent already


def has_linear_paths(autoencoder: Autoencoder) -> bool:
    """Whether encoder and decoder both have a linear map beside the network.

    Raises:
        RecipeError: when only one has.
    """
    paths = [
        getattr(autoencoder.encoder, "linear", None),
        getattr(autoencoder.decoder, "linear", None),
    ]
    if any(paths) and not all(paths):
        raise RecipeError(
            "a linear path leads from encoder to decoder",
            where="encoder.linear, decoder.linear",
            expected="both, or neither",
        )
    return all(paths)


@torch.no_grad()
def start_linear(autoencoder: Autoencoder, train_set: Any, *, seed: int = 0) -> None:
    """Set the linear paths to the optimum of linear models, and the networks beside them to zero.

    The encoder's map becomes the principal components of patches, scaled to unit variance; a
    Gaussian bottleneck that keeps the channels becomes the linear VAE's posterior at its own
    weight (mean √(1 − θ/λ)·u, variance θ/λ, θ = w·E/2 per patch); the decoder's map becomes the
    least-squares prediction of the pixels from 3×3 positions, so it smooths across patches. The
    first step of training then stands at the linear reference, and whatever the networks learn is
    on top of it.

    Args:
        autoencoder: with `linear` paths; changed in place.
        train_set: map-style dataset of {"x", "target"}, answering to (index, epoch).
        seed: chooses the crops.

    Source: Lucas et al. 2019, "Don't blame the ELBO!", section 4 (the linear VAE's optimum).
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    x_NCHW, target_NCHW = samples_to_start_from(train_set, seed)
    assert isinstance(encoder.linear, nn.Conv2d)
    for network in (encoder.out, decoder.out):
        for parameter in network.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    variances = _principal_components(encoder.linear, x_NCHW)
    bottleneck = autoencoder.bottleneck
    if isinstance(bottleneck, Gaussian) and bottleneck.channels == bottleneck.out_channels:
        elements = x_NCHW[0].numel()
        _linear_posterior(bottleneck, variances, threshold=bottleneck.weight * elements / 2)
    latent = autoencoder.encode(x_NCHW)
    z_NDHW = latent.mean if latent.quantized is None else latent.quantized
    _least_squares(decoder.linear, z_NDHW, target_NCHW)  # type: ignore[arg-type]


def samples_to_start_from(train_set: Any, seed: int) -> tuple[Tensor, Tensor]:
    """Return x and target of `SAMPLES` crops of the training split."""
    order = EpochOrder(len(train_set), 1, seed)
    items = [train_set[order.batch(step)[0]] for step in range(SAMPLES)]
    return torch.stack([i["x"] for i in items]), torch.stack([i["target"] for i in items])


def _principal_components(conv: nn.Conv2d, x_NCHW: Tensor) -> Tensor:
    """Set a patch convolution to whitened principal components; return their variances."""
    patch = conv.kernel_size[0]
    rows_RE = F.unfold(x_NCHW, patch, stride=patch).transpose(1, 2).flatten(0, 1).double()
    mean_E = rows_RE.mean(0)
    centred = rows_RE - mean_E
    covariance = centred.T @ centred / len(centred)
    values, vectors = torch.linalg.eigh(covariance)
    count = min(conv.out_channels, values.numel())
    variances = values.flip(0)[:count].clamp_min(1e-12)
    axes_DE = vectors.flip(1)[:, :count].T / variances.sqrt()[:, None]
    conv.weight.zero_()
    conv.weight[:count] = axes_DE.reshape(count, *conv.weight.shape[1:]).to(conv.weight)
    assert conv.bias is not None
    conv.bias.zero_()
    conv.bias[:count] = -(axes_DE @ mean_E).to(conv.bias)
    return variances


def _linear_posterior(bottleneck: Gaussian, variances: Tensor, *, threshold: float) -> None:
    """Let unit-variance channels pass with the linear VAE's shrinkage and noise."""
    share = (threshold / variances).clamp(math.exp(bottleneck.logvar_range[0]), 1.0)
    weight, bias = bottleneck.head.weight, bottleneck.head.bias
    weight.zero_()
    bias.zero_()
    dim, count = bottleneck.out_channels, len(share)
    weight[:count, :count] = torch.diag((1 - share).sqrt()).to(weight)
    bias[dim : dim + count] = share.log().to(bias)


def _least_squares(linear: nn.Module, z_NDHW: Tensor, target_NCHW: Tensor) -> None:
    """Set a sub-pixel convolution to predict the pixels: from each position, then from its 3×3.

    What the neighbours add to the position's own prediction is fitted with a ridge, so that a few
    images do not teach them to remember.
    """
    scale = target_NCHW.shape[-1] // z_NDHW.shape[-1]
    pixels = F.pixel_unshuffle(target_NCHW, scale).flatten(2).transpose(1, 2).flatten(0, 1).double()
    around = F.unfold(z_NDHW, 3, padding=1).transpose(1, 2).flatten(0, 1).double()
    own = around.unflatten(1, (-1, 9))[..., 4]
    own = torch.cat([own, own.new_ones(len(own), 1)], 1)
    from_own = _ridge(own, pixels, _TINY)
    kernel = _ridge(around, pixels - own @ from_own, _RIDGE).unflatten(0, (-1, 9))
    kernel[:, 4] += from_own[:-1]
    weight, bias = linear.weight, linear.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    weight.copy_(kernel.flatten(0, 1).T.reshape(weight.shape))
    bias.copy_(from_own[-1])


def _ridge(columns: Tensor, goal: Tensor, strength: float) -> Tensor:
    """Return argmin ‖columns·w − goal‖² + strength·mean diagonal·‖w‖².

    Columns of zeros (a rate so dear that no axis is worth its bits) get weights of zero.
    """
    gram = columns.T @ columns
    gram.diagonal().add_(strength * max(float(gram.diagonal().mean()), 1e-6))
    return torch.linalg.solve(gram, columns.T @ goal)
