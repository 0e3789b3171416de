"""posterior-collapse: the KL has gone to zero and the decoder answers with the mean sample."""

from __future__ import annotations

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.latent_use import LatentUse, latent_use
from pellucid.diagnosis.probes.posterior import Posterior, posterior
from pellucid.diagnosis.probes.references import references, worthwhile_weight
from pellucid.diagnosis.probes.training import Fork, continued
from pellucid.diagnosis.probes.weight import sampled_output
from pellucid.diagnosis.rules.access import posterior as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when KL ≈ 0, exchanging latents costs nothing, and the output is the mean sample."""
    measured, use = case.measure(posterior), case.measure(latent_use)
    assert measured is not None
    confidence = _confidence(case, measured, use)
    if confidence < 0.1:
        return None
    evidence = [
        Evidence("KL per dimension", measured.kl / measured.size, "nats", "> 0.01 where λ > θ"),
        Evidence("KL", measured.kl, "nats per sample", _healthy_kl(case)),
        Evidence("active units", measured.active, "1", _healthy_units(case)),
        Evidence("cost of exchanging latents", use.shuffle_cost_db, "dB", "several dB"),
        Evidence("error / R1", use.fvu, "1", "well below 1"),
    ]
    ruled_out = [
        RuledOut(
            "rate-starvation",
            "a starved latent is still used; this one is not: "
            f"{measured.kl:.2g} nats, {use.shuffle_cost_db:.2g} dB",
        )
    ]
    fork = case.measure(continued) if case.subject.trainable else None
    if fork is not None and _only_young(case, fork):
        confidence = min(confidence, 0.4)
        evidence.append(Evidence(f"gain of {fork.steps} more steps", fork.win_db, "dB", "0"))
    elif fork is not None:
        why = f"{fork.steps} more steps change the error by {fork.win_db:+.2f} dB"
        ruled_out.append(RuledOut("under-training", why))
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


def _confidence(case: Case, measured: Posterior, use: LatentUse) -> float:
    """Return the weakest of what a collapse must show."""
    shown = {
        "kl_per_dimension": measured.kl / measured.size,
        "kl": measured.kl,
        "shuffle_cost_db": use.shuffle_cost_db,
        "fvu": use.fvu,
        "distance_to_mean": _distance_to_mean(case),
    }
    return min(
        case.threshold(f"posterior-collapse.{name}").confidence(value)
        for name, value in shown.items()
    )


def _only_young(case: Case, fork: Fork) -> bool:
    """Say whether more steps win much, at a weight that does not mean every unit to be off."""
    wins = fork.win_db > case.threshold("under-training.win_db").value
    return wins and case.measure(references).active != 0


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
