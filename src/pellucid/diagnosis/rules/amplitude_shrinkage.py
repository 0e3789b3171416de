"""amplitude-shrinkage: right content at the wrong level.

r = RMS(x̂)/RMS(x), ρ their correlation, α = ρ/r the gain that repairs the level. A regressor
trained on squared error has r ≈ √(1 − 10^(−SNR/10)) and α ≈ 1.
"""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import ASSERTED, Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import affine_refit, bootstrap_db, correlation, trained_refit
from pellucid.diagnosis.probes.training import outlearned
from pellucid.diagnosis.rules.access import audio as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert α far from 1 whose correction wins decibels, when the content correlates."""
    x, x_hat = case.x - case.x.mean(), case.x_hat - case.x_hat.mean()
    r = math.sqrt(mean_square(x_hat) / max(mean_square(x), 1e-20))
    rho = correlation(x_hat, x)
    alpha = rho / max(r, 1e-9)
    before = (x_hat - x).double().flatten(1).square().mean(1)
    after = (alpha * x_hat - x).double().flatten(1).square().mean(1)
    win = decibels(float(before.mean() / after.mean().clamp_min(1e-20)))
    low, high = bootstrap_db(before, after)
    confidence = min(
        case.threshold("amplitude-shrinkage.alpha").confidence(alpha),
        case.threshold("amplitude-shrinkage.win_db").confidence(
            min(win, case.measure(trained_refit).win_db)
        ),
        case.threshold("amplitude-shrinkage.correlation").confidence(rho),
    )
    if confidence >= ASSERTED:
        confidence = min(confidence, 1 - outlearned(case, win))
    if confidence < 0.1:
        return None
    snr = -decibels(min(case.fvu, 1 - 1e-9))
    band = math.sqrt(max(0.0, 1 - 10 ** (-max(snr, 0) / 10)))
    return Finding(
        id="amplitude-shrinkage",
        confidence=confidence,
        severity=win,
        severity_unit="dB",
        summary=f"the output is {r:.2g} times as loud as the input at correlation {rho:.2f}; gain "
        f"of {alpha:.2g} wins {win:.1f} dB",
        evidence=(
            Evidence("RMS ratio r", r, "1", f"between {band:.2f} and 1 at this SNR"),
            Evidence("α = ρ/r", alpha, "1", "≤ 1.1"),
            Evidence("win of the gain", win, "dB", "< 0.5", low, high),
            Evidence("correlation ρ", rho, "1", "near 1"),
        ),
        ruled_out=(
            RuledOut("under-training", "an untrained regressor is quiet but calibrated (α ≈ 1)"),
            RuledOut(
                "range-mismatch", f"offset {case.measure(affine_refit).offset:.2g}: a level alone"
            ),
        ),
        treatment="undo the scale once: the same normalisation at input and output, no second "
        "gain, and the transmitted level applied after decoding",
        expects=("r rises into its band", "SNR rises by the severity"),
    )
