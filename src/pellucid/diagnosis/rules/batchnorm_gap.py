"""batchnorm-gap: batch statistics and running statistics give different reconstructions."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import ASSERTED, Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.training import outlearned
from pellucid.diagnosis.snapshot import Snapshot


def missing(case: Case) -> str | None:
    """There must be batch norms within reach."""
    norms = [m for m in case.reachable.modules if isinstance(m, _BatchNorm)]
    return None if norms else "modules with batch normalisation"


def examine(case: Case) -> Finding | None:
    """Assert when running statistics lose to the batch's own, or to themselves recalibrated.

    The statistics of a small batch are poor ones; recalibrated, they are those of all samples.
    """
    train_error, eval_error, repaired = case.measure(batch_norm_errors)
    best = max(min(train_error, repaired), 1e-20)
    gap = eval_error / best - 1
    # Statistics always trail the weights of a model still in motion, so that recalibration wins a
    # little there: where it alone speaks, it counts half.
    told = max(eval_error / max(train_error, 1e-20) - 1, gap / 2)
    confidence = case.threshold("batchnorm-gap.gap").confidence(told)
    lost_db = decibels(eval_error / best)
    if confidence >= ASSERTED:
        confidence = min(confidence, 1 - outlearned(case, lost_db))
    regain = 1 - (repaired - best) / max(eval_error - best, 1e-20)
    if confidence < 0.1:
        return None
    return Finding(
        id="batchnorm-gap",
        confidence=confidence,
        severity=lost_db,
        severity_unit="dB",
        summary=f"eval mode is {gap:.0%} worse than it could be on the same samples; recalibrating "
        f"the running statistics regains {max(0.0, min(1.0, regain)):.0%} of it",
        evidence=(
            Evidence(
                "error in eval mode / train mode − 1",
                eval_error / max(train_error, 1e-20) - 1,
                "1",
                "< 0.05",
            ),
            Evidence(
                "error in eval mode / after recalibration − 1",
                eval_error / max(repaired, 1e-20) - 1,
                "1",
                "about 0",
            ),
        ),
        ruled_out=(RuledOut("overfitting", "the same held-out samples were used in both modes"),),
        treatment="recalibrate running statistics (some hundred forward passes in train mode), use "
        "larger batches, or GroupNorm; evaluate and deploy in eval mode",
        expects=("the gap closes",),
    )


def batch_norm_errors(case: Case) -> tuple[float, float, float]:
    """Return errors with batch statistics, running statistics, and recalibrated ones."""
    norms = [m for m in case.reachable.modules if isinstance(m, _BatchNorm)]
    x = case.x[: max(64, case.runner.batch)]
    eval_error = mean_square(case.runner.roundtrip(x)[1] - x)
    with Snapshot(case.reachable):
        for norm in norms:
            norm.train()
        train_error = mean_square(case.runner.roundtrip(x)[1] - x)
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over all batches
        case.runner.roundtrip(case.fit[:512])
        for norm in norms:
            norm.eval()
        repaired = mean_square(case.runner.roundtrip(x)[1] - x)
    assert torch.isfinite(torch.tensor(repaired))
    return train_error, eval_error, repaired
