"""prior-hole: the decoder is sampled from N(0, I), but the encoder does not fill N(0, I).

Not a reconstruction fault. A low-weight VAE (the first stage of latent diffusion) has an aggregate
posterior far from N(0, I) on purpose, and its latents are rescaled or modelled before anything is
sampled. So the row is asserted only where sampling from the prior was declared
(`Subject.recipe = {"sampling": "prior"}` or `{"prior": "normal"}`); otherwise it is a hint.
Symbols: aggregate q(z) = E_x[N(μ(x), σ²(x))], its variance per dimension Var(μ) + E[σ²].
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.latent_use import latent_use
from pellucid.diagnosis.probes.weight import decoded_samples
from pellucid.diagnosis.rules.access import posterior as missing
from pellucid.references.linear import PCAReference
from pellucid.references.principal import PrincipalAxes

__all__ = ["Hole", "examine", "hole", "missing"]

HINT = 0.3
AXES = 16


@dataclasses.dataclass(frozen=True)
class Hole:
    """Samples of the prior against reconstructions.

    Args:
        mismatch: KL of the Gaussian with the aggregate's mean and covariance (strongest axes) from
            N(0, I), nats per dimension.
        std: root mean square over dimensions of the aggregate's std.
        prior: Fréchet distance of decoded prior samples to the data / Var(x), on 16 axes.
        own: the same for decoded samples of the posterior.
        fitted: the same for samples of a Gaussian fitted to the aggregate.
    """

    mismatch: float
    std: float
    prior: float
    own: float
    fitted: float


def hole(case: Case) -> Hole:
    """Decode samples of N(0, I) and of a Gaussian fitted to the aggregate, and compare with x."""
    latent = case.latent
    assert latent.logvar is not None
    generator = torch.Generator().manual_seed(0)
    std = (0.5 * latent.logvar).exp()
    z = (latent.mean + std * torch.randn(std.shape, generator=generator)).flatten(1).double()
    centre = z.mean(0)
    _, scale, axes = torch.linalg.svd(z - centre, full_matrices=False)
    scale = scale / max(len(z) - 1, 1) ** 0.5
    strength = torch.randn(len(z), len(scale), generator=generator).double() * scale
    fitted = (centre + strength @ axes).float().view_as(latent.mean)
    prior = torch.randn(latent.mean.shape, generator=generator)
    variance = z.var(0)
    used = variance.clamp_min(1e-12)
    mismatch = 0.5 * (used + centre.square() - 1 - used.log())
    pca = PCAReference.fit(case.fit, min(AXES, case.elements))
    basis = pca.principal

    def distance(x_hat: Tensor) -> float:
        return frechet(_scores(case, basis, case.x), _scores(case, basis, x_hat)) / float(
            basis.eigenvalues[:AXES].sum()
        )

    return Hole(
        mismatch=float(mismatch.mean()),
        std=float(variance.mean().sqrt()),
        prior=distance(case.runner.decode(prior, case.x)),
        own=distance(decoded_samples(case, case.x)),
        fitted=distance(case.runner.decode(fitted, case.x)),
    )


def examine(case: Case) -> Finding | None:
    """Assert when prior samples are bad, reconstructions good, and the prior is sampled."""
    if case.measure(latent_use).shuffle_cost_db < 0.5:
        return None  # an unused latent has no hole
    found = case.measure(hole)
    confidence = min(
        case.threshold("prior-hole.mismatch").confidence(found.mismatch),
        case.threshold("prior-hole.distance").confidence(found.prior - found.own),
        case.threshold("prior-hole.own").confidence(found.own),
    )
    declared = _declared(case)
    if not declared:
        confidence = min(confidence, HINT)
    if confidence < 0.1:
        return None
    return Finding(
        id="prior-hole",
        confidence=confidence,
        severity=found.mismatch,
        severity_unit="nats per dimension",
        summary=f"latents have std {found.std:.2g} and stand {found.mismatch:.2g} nats per "
        "dimension from N(0, I); decoded prior samples are "
        f"{found.prior / max(found.own, 1e-6):.3g} times as far from the data as reconstructions"
        + ("" if declared else " (no fault unless the prior is sampled, which was not declared)"),
        evidence=(
            Evidence("aggregate posterior from N(0, I)", found.mismatch, "nats per dim", "< 0.1"),
            Evidence("Fréchet distance of prior samples / Var(x)", found.prior, "1", "about own"),
            Evidence("the same for reconstructions", found.own, "1", "small"),
            Evidence("the same for a Gaussian fitted to the latents", found.fitted, "1", "smaller"),
        ),
        ruled_out=(
            RuledOut(
                "posterior-collapse",
                f"the latent is used: exchanging it costs "
                f"{case.measure(latent_use).shuffle_cost_db:.1f} dB",
            ),
        ),
        treatment="rescale latents by their std, or fit a prior (Gaussian mixture, flow, "
        "diffusion) to them and sample that; raising the KL weight would cost reconstruction",
        expects=("samples of the fitted prior come as near to the data as reconstructions",),
        suggests={"latent_scale": 1 / max(found.std, 1e-6)},
    )


def frechet(a_Nd: Tensor, b_Nd: Tensor) -> float:
    """Return ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) (Dowson and Landau 1982)."""
    first, second = torch.atleast_2d(a_Nd.T.cov()), torch.atleast_2d(b_Nd.T.cov())
    values, vectors = torch.linalg.eigh(first)
    root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    shift = (a_Nd.mean(0) - b_Nd.mean(0)).square().sum()
    return float(shift + first.trace() + second.trace() - 2 * cross)


def _scores(case: Case, basis: PrincipalAxes, x: Tensor) -> Tensor:
    axes = basis.axes[:AXES].double()
    return (x - case.mean_sample).flatten(1).double() @ axes.T


def _declared(case: Case) -> bool:
    recipe = case.subject.recipe or {}
    wanted = str(recipe.get("prior", "")).lower() in ("normal", "gaussian", "standard")
    return wanted or str(recipe.get("sampling", "")).lower() == "prior"
