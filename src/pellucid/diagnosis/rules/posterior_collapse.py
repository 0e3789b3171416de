"""posterior-collapse: the KL has gone to zero and the decoder answers with the mean sample."""

from __future__ import annotations

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.latent_use import latent_use
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.diagnosis.probes.references import references, worthwhile_weight
from pellucid.diagnosis.probes.training import continued
from pellucid.diagnosis.probes.weight import sampled_output
from pellucid.diagnosis.rules.access import posterior as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when KL ≈ 0, exchanging latents costs nothing, and the output is the mean sample."""
    measured, use = case.measure(posterior), case.measure(latent_use)
    assert measured is not None
    per_dimension = measured.kl / measured.size
    evidence = [
        Evidence("KL per dimension", per_dimension, "nats", "> 0.01 where λ > θ"),
        Evidence("KL", measured.kl, "nats per sample", _healthy_kl(case)),
        Evidence("active units", measured.active, "1", _healthy_units(case)),
        Evidence("cost of exchanging latents", use.shuffle_cost_db, "dB", "several dB"),
        Evidence("error / R1", use.fvu, "1", "well below 1"),
    ]
    confidence = min(
        case.threshold("posterior-collapse.kl_per_dimension").confidence(per_dimension),
        case.threshold("posterior-collapse.kl").confidence(measured.kl),
        case.threshold("posterior-collapse.shuffle_cost_db").confidence(use.shuffle_cost_db),
        case.threshold("posterior-collapse.fvu").confidence(use.fvu),
        case.threshold("posterior-collapse.distance_to_mean").confidence(_distance_to_mean(case)),
    )
    if confidence < 0.1:
        return None
    ruled_out = [
        RuledOut(
            "rate-starvation",
            "a starved latent is still used; this one is not: "
            f"{measured.kl:.2g} nats, {use.shuffle_cost_db:.2g} dB",
        )
    ]
    fork = case.measure(continued) if case.subject.trainable else None
    expected = case.measure(references).active  # 0: at this weight every unit is meant to be off
    if (
        fork is not None
        and fork.win_db > case.threshold("under-training.win_db").value
        and expected != 0
    ):
        confidence = min(confidence, 0.4)
        evidence.append(Evidence(f"gain of {fork.steps} more steps", fork.win_db, "dB", "0"))
    elif fork is not None:
        ruled_out.append(
            RuledOut(
                "under-training",
                f"{fork.steps} more steps change the error by {fork.win_db:+.2f} dB",
            )
        )
    return Finding(
        id="posterior-collapse",
        confidence=confidence,
        severity=max(0.0, case.db(case.measure(references).linear) - case.db(case.mse)),
        severity_unit="dB",
        summary=f"the latent carries {measured.kl:.2g} nats and {measured.active} of "
        f"{measured.size} units are active: the decoder answers with the mean sample",
        evidence=tuple(evidence),
        ruled_out=tuple(ruled_out),
        treatment="lower or anneal the KL weight, give every dimension free bits after the batch "
        "mean, or weaken a decoder that does without the latent",
        expects=(
            "KL rises",
            "active units rise towards the number of directions with λ > θ",
            "exchanging latents costs dB",
        ),
        suggests={"kl_weight": worthwhile_weight(case)},
    )


def _distance_to_mean(case: Case) -> float:
    """Return how far the output is from the mean sample, / R1, decoded from means or samples.

    A decoder trained on samples alone may never have seen a mean.
    """
    sampled = case.measure(sampled_output)
    distances = [mean_square(x_hat - case.mean_sample) for x_hat in (case.x_hat, sampled)]
    return min(distances) / case.variance


def _healthy_kl(case: Case) -> str:
    found = case.measure(references)
    return "> 0" if found.kl is None else f"{found.kl:.3g} for the linear VAE at this weight"


def _healthy_units(case: Case) -> str:
    found = case.measure(references)
    return "> 0" if found.active is None else f"about {found.active} (directions with λ > θ)"
