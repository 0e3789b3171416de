"""output-saturation: far more of the output sits at its rails than of the data."""

from __future__ import annotations

from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.head import head_gradient
from pellucid.diagnosis.rules.access import nothing as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Compare the shares of output and data at the output's own extremes."""
    low, high = float(case.x_hat.min()), float(case.x_hat.max())
    if high - low < 1e-6:
        return None
    at_rails = share_at(case.x_hat, low, high)
    data = float(
        ((case.x <= low + 0.01 * (high - low)) | (case.x >= high - 0.01 * (high - low)))
        .double()
        .mean()
    )
    excess = at_rails - data
    confidence = min(
        case.threshold("output-saturation.excess").confidence(excess),
        case.threshold("output-saturation.fvu").confidence(case.fvu),
    )
    if confidence < 0.1:
        return None
    alive = case.measure(head_gradient)
    evidence = [
        Evidence("share of outputs at the rails", at_rails, "1", f"{data:.3g}, the data's"),
        Evidence("error / R1", case.fvu, "1", "well below 1"),
    ]
    if alive is not None:
        evidence.append(Evidence("share of outputs whose gradient dies in the head", alive.dead,
                                 "1", "< 0.1"))  # fmt: skip
        dead = case.threshold("output-saturation.dead").confidence(alive.dead)
        # A head that passes its gradient is on its way back; one that does not, stays.
        confidence = max(confidence, min(dead, confidence + 0.2)) if dead > 0.5 else confidence
    return Finding(
        id="output-saturation",
        confidence=confidence,
        severity=excess,
        severity_unit="share of outputs",
        summary=f"{at_rails:.0%} of outputs sit at the rails [{low:.3g}, {high:.3g}], "
        f"{data:.0%} of the data do",
        evidence=tuple(evidence),
        treatment="match the head to the data: a linear head (clamped only for display), or data "
        "scaled into the head's range; lower the learning rate if the head died during training",
        expects=("the share at the rails falls to the data's", "gradients before the head return"),
    )


def share_at(x: Tensor, low: float, high: float) -> float:
    """Return the share of values within 1 % of the extremes."""
    width = high - low
    return float(((x <= low + 0.01 * width) | (x >= high - 0.01 * width)).double().mean())
