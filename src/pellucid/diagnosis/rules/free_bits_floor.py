"""free-bits-floor: dimensions sit at the free-bits floor, carrying what is allowed, no more."""

from __future__ import annotations

from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.latent_use import latent_use
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.diagnosis.probes.references import worthwhile_weight
from pellucid.diagnosis.probes.weight import implied_weight, kl_weight
from pellucid.diagnosis.rules.access import posterior as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when many dimensions share one positive KL."""
    measured, use = case.measure(posterior), case.measure(latent_use)
    assert measured is not None
    kl = measured.kl_d.sort().values
    if len(kl) < 4 or float(kl.max()) < 0.02:
        return None
    # The floor is where most dimensions crowd within ± 10 %.
    crowd = [((kl > 0.9 * k) & (kl < 1.1 * k)).double().mean() for k in kl]
    best = max(range(len(kl)), key=lambda i: float(crowd[i]) if float(kl[i]) > 0.02 else -1.0)
    floor, share = float(kl[best]), float(crowd[best])
    declared = (case.subject.recipe or {}).get("free_bits")
    slack, witness = _slack(case, kl, floor, declared)
    known = "share" if declared is None else "declared_share"
    confidence = min(
        case.threshold(f"free-bits-floor.{known}").confidence(share),
        case.threshold("free-bits-floor.floor").confidence(floor),
        slack,
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="free-bits-floor",
        confidence=confidence,
        severity=share,
        severity_unit="share of dimensions at the floor",
        summary=f"{share:.0%} of {len(kl)} dimensions carry the same {floor:.3g} nats: the floor "
        "decides, not the data",
        evidence=(
            Evidence("share of dimensions within 10 % of one KL", share, "1", "spread: below 0.4"),
            Evidence("that KL", floor, "nats", "none" if declared is None else f"floor {declared}"),
            witness,
            Evidence("KL", measured.kl, "nats per sample", "set by the data, not the floor"),
        ),
        ruled_out=(
            RuledOut(
                "posterior-collapse",
                f"{measured.kl:.3g} nats, exchanging latents costs {use.shuffle_cost_db:.1f} dB",
            ),
        ),
        treatment="fix the KL weight first (towards 2·MSE/D), then lower the floor; apply it after "
        "the batch mean and log the raw KL beside the penalised one",
        expects=("per-dimension KLs spread out", "raw KL moves with its weight again"),
        suggests={"kl_weight": worthwhile_weight(case)},
    )


def _slack(case: Case, kl: Tensor, floor: float, declared: object) -> tuple[float, Evidence]:
    """Return how sure it is that a floor, not the data, made the crowd, and the number behind it.

    Dimensions that happen to be equally useful crowd too, but their posterior is stationary under
    the KL weight; at a floor the KL has no gradient, and the weight implied by the posterior's own
    noise falls far below the real one.
    """
    if declared is not None:
        ratio = floor / max(float(str(declared)), 1e-9)
        return (0.99 if 0.8 < ratio < 1.25 else 0.2), Evidence(
            "that KL / the declared floor", ratio, "1", "no dimension at the floor"
        )
    weight, implied = case.measure(kl_weight), case.measure(implied_weight)
    if weight is not None and weight.known and implied is not None and weight.value > 0:
        ratio = implied / weight.value
        return case.threshold("free-bits-floor.implied").confidence(ratio), Evidence(
            "weight implied by the posterior's noise / real weight", ratio, "1", "about 1"
        )
    crowd = kl[(kl > 0.9 * floor) & (kl < 1.1 * floor)]
    width = float(crowd.std() / floor) if len(crowd) > 1 else 1.0
    tight = case.threshold("free-bits-floor.width").confidence(width)
    return min(tight, 0.6 if len(kl) >= 12 else 0.3), Evidence(
        "relative width of the crowd", width, "1", "a few per cent at least"
    )
