"""under-training: nothing is wrong but time; a few more steps still help. Never called a bug."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import affine_refit
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.probes.training import continued
from pellucid.diagnosis.rules.access import nothing as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when continuing wins decibels; without a training step, hint at a loss to PCA."""
    if any(f.asserted for f in case.findings):
        return None  # "all else as expected" is part of the definition
    behind = case.db(case.measure(references).linear) - case.db(case.mse)
    fork = case.measure(continued) if case.subject.trainable else None
    behind_pca = Evidence("PCA with as many numbers, ahead by", behind, "dB", "≤ 0 when trained")
    if fork is not None:
        confidence = case.threshold("under-training.win_db").confidence(fork.win_db)
        gain = Evidence(f"won by {fork.steps} more steps of training", fork.win_db, "dB", "0")
        evidence, severity = (gain, behind_pca), max(fork.win_db, behind)
    else:
        refit = case.measure(affine_refit)
        confidence = min(0.6, case.threshold("under-training.behind_pca_db").confidence(behind))
        on_curve = Evidence(
            "win of an affine map", refit.win_db, "dB", "< 0.5: a calibrated regressor"
        )
        evidence, severity = (behind_pca, on_curve), behind
    if confidence < 0.1:
        return None
    return Finding(
        id="under-training",
        confidence=confidence,
        severity=severity,
        severity_unit="dB",
        summary="the error is still falling and nothing else stands out: train on",
        evidence=evidence,
        ruled_out=(RuledOut("capacity-limit", "more steps are the cheaper test, and come first"),),
        treatment="train longer (or with a higher learning rate, if the loss falls only slowly)",
        expects=("the error falls with further steps", "the lead of PCA disappears"),
    )
