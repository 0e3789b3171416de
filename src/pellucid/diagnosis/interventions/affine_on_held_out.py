"""Apply the best affine map, fitted on training samples, to held-out ones."""

from __future__ import annotations

from pellucid.diagnosis.case import Case, decibels, per_sample
from pellucid.diagnosis.evidence import Confirmation, Evidence, Finding
from pellucid.diagnosis.probes.affine import affine_refit, bootstrap_db, fit_affine
from pellucid.diagnosis.rules.range_mismatch import reach


def intervene(case: Case, finding: Finding) -> Confirmation:
    """Predict that the map wins decibels; measure them with an interval."""
    fit = case.fit[:128]
    gain, offset = fit_affine(case.runner.roundtrip(fit)[1], fit)
    before = per_sample(case.x_hat - case.x)
    after = per_sample(gain * case.x_hat + offset - case.x)
    low, high = bootstrap_db(before, after)
    win = decibels(float(before.mean() / after.mean()))
    threshold = case.threshold("range-mismatch.refit_gain_db").value
    effect = Evidence("held-out win of the map", win, "dB", "0", low, high)
    hard_bound = (
        case.measure(reach).outside > 0.05 and case.measure(affine_refit).win_db < threshold
    )
    if low > threshold:
        verdict = "confirmed"
    elif high < threshold and not hard_bound:
        verdict = "refuted"
    else:
        verdict = "undecided"  # a hard bound of the head is not undone by an affine map
    return Confirmation(
        f"x̂ ↦ {gain:.3g}·x̂ {offset:+.3g}, fitted on {len(fit)} training samples",
        "the error on held-out samples falls",
        effect,
        verdict,
    )
