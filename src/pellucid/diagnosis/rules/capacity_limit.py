"""capacity-limit: even a few samples cannot be fitted: latent or decoder is too narrow."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.ladder import OVERFIT_SAMPLES, OVERFIT_STEPS, overfit
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.probes.training import continued, parameters


def missing(case: Case) -> str | None:
    """Parameters that can be trained on a few samples."""
    if not parameters(case) or not case.subject.modules:
        return "Subject.modules or optimizers, through which gradients flow"
    return None if case.measure(overfit) is not None else "time for an overfit of a few samples"


def examine(case: Case) -> Finding | None:
    """Assert when R5 stalls although it had its steps."""
    reached = case.measure(overfit)
    assert reached is not None
    fvu = reached[0] / case.variance
    fork = case.measure(continued) if case.subject.trainable else None
    flat = (
        0.99
        if fork is None
        else 1 - case.threshold("under-training.win_db").confidence(fork.win_db)
    )
    confidence = min(
        case.threshold("capacity-limit.fvu").confidence(fvu),
        0.99 if reached[1] >= OVERFIT_STEPS else 0.3,  # stopped by the clock: nothing is shown
        flat,
    )
    if confidence < 0.1:
        return None
    behind = case.db(case.measure(references).linear) - case.db(case.mse)
    return Finding(
        id="capacity-limit",
        confidence=confidence,
        severity=fvu,
        severity_unit="error / R1 on samples it was overfitted to",
        summary=f"{OVERFIT_SAMPLES} samples alone cannot be fitted below {fvu:.2g} of R1 in "
        f"{reached[1]} steps",
        evidence=(
            Evidence(f"error / R1 after overfitting {OVERFIT_SAMPLES} samples", fvu, "1", "< 0.01"),
            Evidence("PCA with as many numbers, ahead by", behind, "dB", "≤ 0"),
        ),
        ruled_out=(RuledOut("overfitting", "not even the samples trained on are fitted"),),
        treatment="widen the latent, or the decoder: try each alone and keep the one that helps",
        expects=("R5 falls below 0.01 of R1",),
    )
