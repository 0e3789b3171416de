"""under-training: nothing is wrong but time; a few more steps still help. Never called a bug.

Three witnesses, the best one first: a fork that goes on training; the history's own slope; and,
from outside alone, an error that is high, behind PCA, and shrunk as a young regressor's is.
"""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import affine_refit
from pellucid.diagnosis.probes.history import Slope, loss_slope
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.probes.training import continued
from pellucid.diagnosis.rules.access import nothing as missing

__all__ = ["examine", "missing"]

_OUTSIDE = 0.6
"""Ceiling of what can be said without a fork or a history: other causes look alike."""


def examine(case: Case) -> Finding | None:
    """Assert when continuing wins decibels, the history still falls, or all of the outside fits."""
    if any(f.asserted for f in case.findings):
        return None  # "all else as expected" is part of the definition
    behind = case.db(case.measure(references).linear) - case.db(case.mse)
    evidence = [Evidence("PCA with as many numbers, ahead by", behind, "dB", "≤ 0 when trained")]
    fork = case.measure(continued) if case.subject.trainable else None
    slope = case.measure(loss_slope)
    severity = behind
    if fork is not None:
        confidence = case.threshold("under-training.win_db").confidence(fork.win_db)
        evidence.insert(
            0, Evidence(f"won by {fork.steps} more steps of training", fork.win_db, "dB", "0")
        )
        severity = max(fork.win_db, behind)
        # A schedule at its end hides from the fork what the history shows, but it ends a fall too.
        confidence = max(confidence, min(0.45, _falling(case, slope)))
    else:
        confidence = max(min(0.8, _falling(case, slope)), _from_outside(case, behind, evidence))
    if slope is not None:
        evidence.append(
            Evidence(
                f"change of '{slope.name}' over the last third of the history",
                slope.change,
                "1",
                "about 0: flat",
                slope.low,
                slope.high,
            )
        )
    if confidence < 0.1:
        return None
    return Finding(
        id="under-training",
        confidence=confidence,
        severity=severity,
        severity_unit="dB",
        summary="the error is still falling and nothing else stands out: train on"
        if fork is not None or _falling(case, slope) >= 0.5
        else "the error is high and behind a linear model, and nothing else stands out: train on",
        evidence=tuple(evidence),
        ruled_out=(RuledOut("capacity-limit", "more steps are the cheaper test, and come first"),),
        treatment="train longer (or with a higher learning rate, if the loss falls only slowly)",
        expects=("the error falls with further steps", "the lead of PCA disappears"),
    )


def _falling(case: Case, slope: Slope | None) -> float:
    """Return the confidence that the loss still falls at the end of the history."""
    if slope is None:
        return 0.0
    confidence = case.threshold("under-training.history_fall").confidence(slope.change)
    return confidence if slope.high < 0 else min(confidence, 0.3)


def _from_outside(case: Case, behind: float, evidence: list[Evidence]) -> float:
    """Return the confidence from encode, decode and data alone.

    PCA with as many numbers as a large latent is nearly perfect, so that losing to it says little
    by itself. A young regressor is calibrated, its output shrunk to √(1 − 10^(−SNR/10)) of the
    input's spread, and its error is high.
    """
    refit = case.measure(affine_refit)
    spread = float((case.x_hat - case.x_hat.mean(0, keepdim=True)).double().std())
    whole = float((case.x - case.x.mean(0, keepdim=True)).double().std())
    expected = math.sqrt(max(1 - case.fvu, 0.0))
    off_curve = abs(spread / max(whole, 1e-12) - expected)
    evidence += [
        Evidence("error / R1", case.fvu, "1", "< 0.1"),
        Evidence("win of an affine map", refit.win_db, "dB", "< 0.5: a calibrated regressor"),
        Evidence("spread of x_hat / x", spread / max(whole, 1e-12), "1",
                 f"{expected:.2g}, a regressor's at this error"),
    ]  # fmt: skip
    lags = case.threshold("under-training.behind_pca_db").confidence(behind)
    sure = min(
        lags,
        case.threshold("under-training.high_fvu").confidence(case.fvu),
        case.threshold("under-training.far_behind_db").confidence(behind),
        case.threshold("under-training.off_curve").confidence(off_curve),
    )
    return min(_OUTSIDE, max(sure, min(lags, 0.4)))
