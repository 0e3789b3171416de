"""Fréchet distance between two sets of features, each taken as a Gaussian.

Shape letters: N samples, D features.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.errors import DataError

LEAST_SAMPLES = 2048
"""Below this the bias of the estimate, about D²/(4N) of a unit-variance feature, is no longer
small beside the distances that matter; kernel distance is unbiased at any N."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set of features.

    Args:
        mean: (D,) float64.
        covariance: (D, D) float64, divided by N − 1.
        count: N.
    """

    mean: Tensor
    covariance: Tensor
    count: int


def moments(features_ND: Tensor) -> Moments:
    """Measure mean and covariance in float64.

    Raises:
        DataError: for fewer than two samples, or values that are not finite.
    """
    check_features(features_ND, least=2)
    x_ND = features_ND.double()
    return Moments(x_ND.mean(0), torch.cov(x_ND.T).reshape(x_ND.shape[1], -1), len(x_ND))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2·(Σ_a^½ Σ_b Σ_a^½)^½).

    The squared 2-Wasserstein distance of two Gaussians, in squared units of the features. The
    square roots are taken of symmetric matrices by eigenvalues, so that singular covariances need
    no offset and no complex part is dropped. Source: Dowson & Landau 1982; Heusel et al. 2017, §1.

    Raises:
        DataError: when the features differ in number.
    """
    if a.mean.shape != b.mean.shape:
        raise DataError(
            "features of different networks cannot be compared",
            expected=f"{a.mean.numel()} features",
            found=b.mean.numel(),
        )
    values, vectors = torch.linalg.eigh(a.covariance)
    root_DD = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root_DD @ b.covariance @ root_DD).clamp(min=0).sqrt().sum()
    gap = (a.mean - b.mean).square().sum()
    total = gap + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float(total))  # equal sets leave rounding of either sign


def frechet_of_samples(a_ND: Tensor, b_ND: Tensor) -> float:
    """Return the Fréchet distance of two sets of features.

    Raises:
        DataError: when either set has fewer than `LEAST_SAMPLES` samples.
    """
    for features_ND in (a_ND, b_ND):
        if len(features_ND) < LEAST_SAMPLES:
            raise DataError(
                "too few samples for a Fréchet distance",
                expected=f"at least {LEAST_SAMPLES} on both sides",
                found=f"{len(a_ND)} and {len(b_ND)}",
                hint="the kernel distance is unbiased and serves small sets",
            )
    return frechet_distance(moments(a_ND), moments(b_ND))


def check_features(features_ND: Tensor, *, least: int) -> None:
    """Refuse features that no distance can be taken of.

    Raises:
        DataError: for another shape, fewer than `least` samples, NaN or infinity.
    """
    if features_ND.ndim != 2 or len(features_ND) < least:
        raise DataError(
            "these features cannot be compared",
            expected=f"(samples, features) with at least {least} samples",
            found=tuple(features_ND.shape),
        )
    bad = int((~torch.isfinite(features_ND)).any(1).sum())
    if bad:
        raise DataError("features are not finite", found=f"{bad} of {len(features_ND)} samples")
