"""stale-ema: the averaged weights reconstruct worse than the raw ones."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case, mean_square, per_sample
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.affine import bootstrap_db
from pellucid.diagnosis.snapshot import Snapshot


def missing(case: Case) -> str | None:
    """Averaged twins of the modules."""
    twins = case.subject.ema or {}
    return None if set(twins) & set(case.subject.modules) else "Subject.ema with Subject.modules"


def examine(case: Case) -> Finding | None:
    """Load the averaged weights in place, under a snapshot, and compare."""
    averaged = case.measure(ema_output)
    raw, ema = per_sample(case.x_hat - case.x), per_sample(averaged - case.x)
    low, high = bootstrap_db(ema, raw)
    lost = case.db(case.mse) - case.db(mean_square(averaged - case.x))
    confidence = case.threshold("stale-ema.lost_db").confidence(lost)
    if confidence < 0.1:
        return None
    return Finding(
        id="stale-ema",
        confidence=confidence,
        severity=lost,
        severity_unit="dB",
        summary=f"the averaged weights are {lost:.1f} dB worse than the raw ones",
        evidence=(Evidence("raw weights against averaged ones", lost, "dB", "≤ 0", low, high),),
        treatment="warm the average up (decay = min(decay, (1 + step)/(10 + step))), update after "
        "every step, copy buffers too, and load the averaged weights of the right checkpoint",
        expects=("averaged weights become at least as good as raw ones",),
    )


def ema_output(case: Case) -> torch.Tensor:
    """Return decode(encode(x)) with the averaged weights."""
    twins = case.subject.ema
    assert twins is not None
    with Snapshot(case.reachable), torch.no_grad():
        for name, twin in twins.items():
            if name in case.subject.modules:
                case.subject.modules[name].load_state_dict(twin.state_dict())
        return case.runner.roundtrip(case.x)[1]
