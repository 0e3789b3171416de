"""logvar-blow-up: the log-variance has left the range in which exp is harmless."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.diagnosis.rules.access import posterior as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when a log-variance lies outside [−30, 20]."""
    measured = case.measure(posterior)
    assert measured is not None
    low, high = float(measured.logvar.min()), float(measured.logvar.max())
    confidence = max(
        case.threshold("logvar-blow-up.high").confidence(high),
        case.threshold("logvar-blow-up.low").confidence(low),
    )
    if confidence < 0.1:
        return None
    worst = int(measured.kl_d.argmax())
    return Finding(
        id="logvar-blow-up",
        confidence=confidence,
        severity=float(measured.kl_d.max()),
        severity_unit="nats in one dimension",
        summary=f"log-variances span [{low:.3g}, {high:.3g}]; dimension {worst} alone costs "
        f"{float(measured.kl_d[worst]):.3g} nats",
        evidence=(
            Evidence("smallest log-variance", low, "nats", "≥ −30"),
            Evidence("largest log-variance", high, "nats", "≤ 20"),
            Evidence("largest KL of one dimension", float(measured.kl_d.max()), "nats", "a few"),
        ),
        treatment="clamp the log-variance to [−30, 20], or use a softplus for σ",
        expects=("log-variances stay in range", "sampled reconstructions become finite and stable"),
    )
