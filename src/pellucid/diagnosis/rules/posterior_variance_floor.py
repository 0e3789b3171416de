"""posterior-variance-floor: σ cannot become small, so noise is forced on every latent."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.latent_use import latent_use
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.diagnosis.rules.access import posterior as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when σ never falls although the means spread far beyond the prior."""
    measured, use = case.measure(posterior), case.measure(latent_use)
    assert measured is not None
    lowest = float(measured.logvar.min())
    used = measured.mean_variance_d > 0.1
    if not bool(used.any()):
        return None
    aggregate = float((measured.mean_variance_d + measured.variance_d)[used].median())
    piled = float((measured.logvar[:, used] < lowest + 0.02).double().mean())
    one_sided = float((case.latent.mean.flatten(1)[:, used].amin(0) > -0.3).double().mean())
    structural = max(
        case.threshold("posterior-variance-floor.piled").confidence(piled),
        case.threshold("posterior-variance-floor.one_sided").confidence(one_sided),
        case.threshold("posterior-variance-floor.aggregate").confidence(aggregate),
    )
    confidence = min(
        case.threshold("posterior-variance-floor.lowest_logvar").confidence(lowest),
        case.threshold("posterior-variance-floor.used_db").confidence(use.shuffle_cost_db),
        structural,
    )
    if confidence < 0.1:
        return None
    sigma = 2.718281828 ** (lowest / 2)
    return Finding(
        id="posterior-variance-floor",
        confidence=confidence,
        severity=sigma,
        severity_unit="smallest σ",
        summary=f"σ never falls below {sigma:.2f} in {measured.logvar.numel()} numbers, while the "
        "means spread beyond the prior to be heard above that noise",
        evidence=(
            Evidence("smallest log-variance anywhere", lowest, "nats", "well below −1 when used"),
            Evidence("share of used log-variances at that floor", piled, "1", "about 0"),
            Evidence("Var(μ) + σ² of used units (median)", aggregate, "1", "about 1"),
            Evidence("used units whose mean is one-sided", one_sided, "1", "about 0"),
        ),
        ruled_out=(
            RuledOut(
                "posterior-collapse", f"exchanging latents costs {use.shuffle_cost_db:.1f} dB"
            ),
            RuledOut(
                "rate-starvation",
                f"a starved encoder keeps Var(μ) + σ² near 1; here it is {aggregate:.2g}",
            ),
        ),
        treatment="let the posterior layer be linear: no activation (ReLU, SiLU) and no lower "
        "clamp after the layer that writes mean and log-variance",
        expects=("σ falls well below 1", "KL rises", "sampled reconstructions sharpen"),
    )
