"""R0–R3 on the user's own data, measured on the samples the model is measured on."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.probes.weight import kl_weight
from pellucid.references.linear import LinearVAEReference, PCAReference, random_sample


@dataclasses.dataclass(frozen=True)
class References:
    """Mean squared errors of trivial and linear models.

    Args:
        random: R0.
        mean: R1.
        linear: R2, with as many numbers per sample as the latent.
        linear_vae: R3 at the model's weight (decoded from the mean), or None without a weight.
        linear_vae_sampled: its error with sampled z.
        kl: KL*, nats per sample, or None.
        active: dimensions with λ > θ, or None.
        pca: the fitted reference, for reuse.
    """

    random: float
    mean: float
    linear: float
    linear_vae: float | None
    linear_vae_sampled: float | None
    kl: float | None
    active: int | None
    pca: PCAReference


def references(case: Case) -> References:
    """Fit on `case.fit`, judge on `case.x`."""
    pca = PCAReference.fit(
        case.fit, max(1, min(case.latent_size, case.elements)), stride=_stride(case)
    )
    linear_error = mean_square(pca.reconstruct(case.x) - case.x)
    weight = case.measure(kl_weight)
    common = {
        "random": mean_square(random_sample(case.x) - case.x),
        "mean": case.variance,
        "linear": linear_error,
        "pca": pca,
    }
    if weight is None or weight.value <= 0:
        return References(**common, linear_vae=None, linear_vae_sampled=None, kl=None, active=None)
    vae = LinearVAEReference.fit(pca, kl_weight=weight.value)
    error = mean_square(vae.reconstruct(case.x) - case.x)
    return References(
        **common,
        linear_vae=error,
        linear_vae_sampled=error + vae.sampling_error(),
        kl=float(vae.kl(case.x).mean()),
        active=vae.prediction.active,
    )


def worthwhile_weight(case: Case) -> float:
    """Return w = 2·MSE/D, the KL weight whose noise is the error a good model would make.

    MSE is the smaller of the model's own and R2, but at least a hundredth of R1: a linear model of
    as many numbers as the data loses nothing and would ask for no noise at all.
    """
    found = case.measure(references)
    error = min(case.mse, max(found.linear, found.mean / 100))
    return 2 * error / case.elements


def _stride(case: Case) -> int | None:
    """Return the stride for a patch-PCA: the model's own, or one that keeps it well posed."""
    if case.stride is not None:
        return case.stride
    return 8 if case.x.ndim == 4 and case.x.shape[-1] >= 16 else (64 if case.is_audio else None)


def standardised_r2(case: Case, patch: int | None) -> Tensor:
    """Return (C,) R² per channel of a linear model fitted on per-channel standardised data.

    It spends as many numbers as the latent, on the same samples.
    """
    axes = (0, *range(2, case.fit.ndim))
    mean, std = case.fit.mean(axes, keepdim=True), case.fit.std(axes, keepdim=True).clamp_min(1e-8)
    fit, x = (case.fit - mean) / std, (case.x - mean) / std
    pca = PCAReference.fit(fit, max(1, min(case.latent_size, case.elements)), stride=patch)
    error = (pca.reconstruct(x) - x).transpose(0, 1).flatten(1).double().square().mean(1)
    centred = (x - fit.mean(0, keepdim=True)).transpose(0, 1).flatten(1).double().square().mean(1)
    return 1 - error / centred.clamp_min(1e-12)
