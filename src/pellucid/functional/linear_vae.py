"""What the best linear VAE would do on this data at this weight, in closed form.

Symbols: D elements of a sample, d latent dimensions, λᵢ eigenvalues of the data covariance
(largest first), w the multiplier of ΣKL (sum over dimensions, mean over batch) beside a
mean-reduced squared error, θ = w·D/2 the threshold below which a direction is not worth its nats.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from pellucid.errors import PellucidError


@dataclasses.dataclass(frozen=True)
class LinearVAE:
    """Describe the optimum of mean((x − x̂)²) + w·ΣKL over linear encoders and decoders.

    Args:
        threshold: θ = w·D/2, in squared data units.
        kl: KL*, nats per sample, summed over latent dimensions.
        mse_sampled: mean squared error per element when z is sampled from the posterior.
        mse_mean: mean squared error per element when z is the posterior mean.
        active: latent dimensions with λ > θ; the others are meant to be switched off.
    """

    threshold: float
    kl: float
    mse_sampled: float
    mse_mean: float
    active: int


def linear_vae(
    eigenvalues: Tensor,
    *,
    kl_weight: float,
    elements: int,
    latent_size: int,
    copies: int = 1,
    total_variance: float | None = None,
) -> LinearVAE:
    """Predict the optimal linear VAE.

    KL* = Σ_{i≤d} ½·ln(λᵢ/θ)₊
    D·MSE(sampled z) = Σ_{i≤d} min(λᵢ, θ) + Σ_{i>d} λᵢ
    D·MSE(mean z) = Σ_{i≤d, λᵢ>θ} θ²/λᵢ + Σ_{i≤d, λᵢ≤θ} λᵢ + Σ_{i>d} λᵢ

    Args:
        eigenvalues: (any number,) of the data covariance, largest first; for a model applied to
            patches, those of the patch covariance.
        kl_weight: w ≥ 0.
        elements: D, of the whole sample.
        latent_size: d; per patch when `copies` > 1.
        copies: patches per sample that share this linear model.
        total_variance: trace of the covariance when `eigenvalues` is truncated; else their sum.

    Raises:
        PellucidError: when an argument is out of range.

    Source: Lucas et al. 2019, "Don't blame the ELBO!", section 4 (the optimum of linear VAEs).
    """
    if kl_weight < 0 or elements < 1 or latent_size < 0 or copies < 1:
        raise PellucidError(
            "no linear VAE has these sizes",
            expected="kl_weight ≥ 0, elements ≥ 1, latent_size ≥ 0, copies ≥ 1",
            found=(kl_weight, elements, latent_size, copies),
        )
    lam = eigenvalues.double().clamp_min(0)
    if lam.numel() > 1 and bool((lam[1:] > lam[:-1] * (1 + 1e-6) + 1e-30).any()):
        raise PellucidError("eigenvalues must come largest first", where="eigenvalues")
    total = float(lam.sum()) if total_variance is None else total_variance
    coded = lam[:latent_size]
    left_out = max(0.0, total - float(coded.sum()))
    theta = kl_weight * elements / 2
    active = coded[coded > theta]
    silent = float(coded[coded <= theta].sum())
    kl = 0.5 * float((active / theta).log().sum()) if theta > 0 else math.inf
    sampled = theta * active.numel() + silent + left_out
    mean = float((theta * theta / active).sum()) + silent + left_out
    return LinearVAE(
        threshold=theta,
        kl=copies * kl if active.numel() else 0.0,
        mse_sampled=copies * sampled / elements,
        mse_mean=copies * mean / elements,
        active=copies * active.numel(),
    )


def weight_at_rate(
    eigenvalues: Tensor, *, nats: float, elements: int, latent_size: int, copies: int = 1
) -> float:
    """Return the weight w at which the optimal linear VAE spends KL* = `nats` per sample.

    At that weight the error with sampled z is the Gaussian rate–distortion function of the data
    (reverse water-filling, θ the water level), as far as `latent_size` dimensions carry it.

    Args:
        eigenvalues: as in `linear_vae`.
        nats: KL* > 0, summed over latent dimensions and copies.
        elements: D.
        latent_size: d ≥ 1; per patch when `copies` > 1.
        copies: patches per sample.

    Raises:
        PellucidError: when the data does not vary or `nats` is not positive.

    Source: Cover and Thomas, "Elements of Information Theory", section 10.3.3.
    """
    coded = eigenvalues[:latent_size].double()
    coded = coded[coded > 0]
    if not (nats > 0 and coded.numel()):
        raise PellucidError(
            "no weight spends this rate",
            expected="nats > 0, and data that varies",
            found=f"{nats} nats, {coded.numel()} varying dimensions",
        )
    # With the k largest active, ln θ = mean ln λ − 2·nats/k; the first k whose next λ ≤ θ is it.
    mean_log = coded.log().cumsum(0) / torch.arange(1, coded.numel() + 1, dtype=torch.float64)
    level = mean_log - 2 * nats / copies / torch.arange(1, coded.numel() + 1, dtype=torch.float64)
    below = torch.cat([coded[1:].log(), coded.new_tensor([-math.inf])])
    k = int((below <= level).nonzero()[0])
    return 2 * math.exp(float(level[k])) / elements


def posterior_gain(eigenvalues: Tensor, threshold: float) -> Tensor:
    """Return the factor (1 − θ/λ)₊ by which the mean reconstruction shrinks each direction.

    Args:
        eigenvalues: (d,) λ, any order.
        threshold: θ.
    """
    lam = eigenvalues.double()
    return torch.where(lam > threshold, 1 - threshold / lam.clamp_min(1e-300), 0.0)
