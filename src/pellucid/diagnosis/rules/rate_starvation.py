"""rate-starvation: the latent is used, but the KL weight pays for too few nats.

β_eff = w·D/(2·MSE_sampled) compares the weight with the one a learned noise variance would choose;
for an absolute error, β_eff = w·D/MAE.
"""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import affine_refit
from pellucid.diagnosis.probes.latent_use import latent_use
from pellucid.diagnosis.probes.posterior import Posterior, posterior
from pellucid.diagnosis.probes.references import References, references, worthwhile_weight
from pellucid.diagnosis.probes.weight import (
    KLWeight,
    implied_agreement,
    implied_weight,
    kl_weight,
    sampled_output,
)
from pellucid.references.linear import LinearVAEReference


def missing(case: Case) -> str | None:
    """A posterior and a weight that is known or implied."""
    if case.latent.logvar is None:
        return "a Gaussian posterior (Latent.logvar)"
    if case.measure(kl_weight) is None:
        return "Subject.kl_weight, or loss_terms it can be measured from"
    return None


def effective_beta(case: Case, weight: KLWeight) -> float:
    """Return β_eff: above 1 the prior is paid more than the error is worth."""
    x_hat, refit = case.measure(sampled_output), case.measure(affine_refit)
    if case.threshold("range-mismatch.refit_gain_db").passed(refit.win_db):
        x_hat = refit.gain * x_hat + refit.offset  # wrong units are an error of their own
    sampled = x_hat - case.x
    if weight.error == "absolute":
        return weight.value * case.elements / max(float(sampled.abs().double().mean()), 1e-12)
    return weight.value * case.elements / (2 * max(mean_square(sampled), 1e-20))


def examine(case: Case) -> Finding | None:
    """Assert when used, β_eff > 1, the KL is what theory says, and R3 loses to R2."""
    measured, weight = case.measure(posterior), case.measure(kl_weight)
    found, use = case.measure(references), case.measure(latent_use)
    assert measured is not None
    assert weight is not None
    if found.linear_vae is None or found.kl is None:
        return None
    beta = effective_beta(case, weight)
    loss_db = case.db(found.linear) - case.db(found.linear_vae)
    factor = math.exp(abs(math.log(max(measured.kl, 1e-6) / max(found.kl, 1e-6))))
    confidence = min(
        case.threshold("rate-starvation.beta_eff").confidence(beta),
        case.threshold("rate-starvation.linear_loss_db").confidence(loss_db + _leniency(beta)),
        case.threshold("rate-starvation.kl_factor").confidence(factor),
        case.threshold("rate-starvation.used_db").confidence(use.shuffle_cost_db),
    )
    if not weight.known:
        settled = case.threshold("rate-starvation.implied_agreement")
        confidence = min(confidence, 0.7, settled.confidence(case.measure(implied_agreement)))
    if confidence < 0.1:
        return None
    target = worthwhile_weight(case)
    return Finding(
        id="rate-starvation",
        confidence=confidence,
        severity=_gain_db(case, found, weight),
        severity_unit="dB",
        summary=f"the KL weight {weight.value:.3g} ({weight.origin}) is {beta:.3g} times what the "
        f"error is worth: {measured.kl:.3g} nats are spent where the data hold more",
        evidence=_evidence(case, measured, found, beta, loss_db, use.shuffle_cost_db, weight),
        ruled_out=(
            RuledOut(
                "posterior-collapse",
                f"{measured.active} of {measured.size} units active, {measured.kl:.3g} nats, "
                f"exchanging z costs {use.shuffle_cost_db:.1f} dB",
            ),
            RuledOut(
                "under-training",
                f"the linear VAE at this weight also loses {loss_db:.1f} dB "
                "to PCA: the weight, not the training, sets the error",
            ),
        ),
        treatment=f"lower the KL weight from {weight.value:.3g} towards 2·MSE/D ≈ {target:.2g} "
        "(multiplier of the summed KL beside a mean-reduced error), or learn the noise variance",
        expects=("KL rises", "PSNR/SNR rises", "active units rise"),
        suggests={"kl_weight": target},
    )


def _leniency(beta: float) -> float:
    """Return dB that a weight far too heavy need not cost the linear VAE.

    What a linear model loses is a lower estimate: it has little to spend nats on. From five times
    what the error is worth every doubling counts half a decibel, 0.6 at most, so that a weight that
    costs nothing at all (a latent of two numbers) is still no fault.
    """
    return min(0.6, 0.5 * math.log2(max(beta / 5, 1.0)))


def _evidence(
    case: Case,
    measured: Posterior,
    found: References,
    beta: float,
    loss_db: float,
    shuffle_db: float,
    weight: KLWeight,
) -> tuple[Evidence, ...]:
    evidence = [
        Evidence("β_eff", beta, "1", "≤ 1"),
        Evidence(
            "KL",
            measured.kl,
            "nats per sample",
            f"{found.kl:.3g} predicted for the linear VAE at this weight",
        ),
        Evidence("PCA minus linear VAE at this weight", loss_db, "dB", "< 1"),
        Evidence("active units", measured.active, "1", f"{found.active} predicted at this weight"),
        Evidence("cost of exchanging latents", shuffle_db, "dB", "several dB: the latent is used"),
    ]
    implied = case.measure(implied_weight)
    if implied is not None and weight.known:
        evidence.append(
            Evidence(
                "weight implied by the posterior's own noise",
                implied,
                "1",
                f"{weight.value:.3g}, the weight {weight.origin}",
            )
        )
    return tuple(evidence)


def _gain_db(case: Case, found: References, weight: KLWeight) -> float:
    """Return the dB a linear VAE would win from a ten times lower weight."""
    lower = LinearVAEReference.fit(found.pca, kl_weight=weight.value / 10)
    assert found.linear_vae is not None
    return case.db(mean_square(lower.reconstruct(case.x) - case.x)) - case.db(found.linear_vae)
