"""latent-bypass: the input reaches the output without passing the latent."""

from __future__ import annotations

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.latent_use import latent_use
from pellucid.diagnosis.rules.access import nothing as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when another sample's latent still gives this sample's reconstruction."""
    use = case.measure(latent_use)
    fvu_wrong = min(use.fvu_shuffled, use.fvu_zeroed)
    confidence = case.threshold("latent-bypass.fvu_shuffled").confidence(use.fvu_shuffled)
    if confidence < 0.1:
        return None
    return Finding(
        id="latent-bypass",
        confidence=confidence,
        severity=1 - fvu_wrong,
        severity_unit="share of variance explained without the latent",
        summary=f"with another sample's latent the error is still {use.fvu_shuffled:.2g} of R1: "
        "the decoder sees the input by another way",
        evidence=(
            Evidence("error / R1 with exchanged latents", use.fvu_shuffled, "1", "1 or more"),
            Evidence("error / R1 with zeroed latents", use.fvu_zeroed, "1", "about 1 or more"),
            Evidence("error / R1 with its own latent", use.fvu, "1", "well below 1"),
        ),
        ruled_out=(
            RuledOut(
                "posterior-collapse",
                "a collapsed model answers with the mean sample "
                f"(error {mean_square(case.x - case.mean_sample) / case.variance:.2g}·R1)",
            ),
        ),
        treatment="cut skip connections, cached encoder features or conditioning that carry x past "
        "the bottleneck",
        expects=("exchanging latents brings the error to R1 or above",),
    )
