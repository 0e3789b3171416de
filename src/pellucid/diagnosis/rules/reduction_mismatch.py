"""reduction-mismatch: one term is summed over the batch (or the crop), the other is averaged."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.reductions import COPIES, Reductions, mixes_crops, reductions
from pellucid.diagnosis.rules.access import loss_terms

_SLACK = 0.35
"""A mean grows with power 0, a sum with 1. Beyond that something else moved: a codebook that learns
while it is measured draws closer to samples met again, and its commitment falls."""


def missing(case: Case) -> str | None:
    """A reconstruction term and a penalty whose gradients can be taken at several batch sizes."""
    if (needs := loss_terms(case)) is not None:
        return needs
    if case.measure(reductions) is None:
        return "a reconstruction term and a KL or commitment term that take any batch size"
    return None


def examine(case: Case) -> Finding | None:
    """Assert terms whose gradients grow differently when every sample is met twice."""
    found = case.measure(reductions)
    assert found is not None
    apart = found.by_batch[found.recon] - found.by_batch[found.penalty]
    reduces = all(-_SLACK <= slope <= 1 + _SLACK for slope in found.by_batch.values())
    by_batch = case.threshold("reduction-mismatch.slope").confidence(abs(apart)) if reduces else 0.0
    by_crop = 0.0
    # Over crops a constant reduction is a convention, unless training really mixes their sizes.
    if found.by_crop is not None and mixes_crops(case):
        by_crop = case.threshold("reduction-mismatch.slope").confidence(abs(found.by_crop))
    confidence = max(by_batch, by_crop)
    if confidence < 0.1:
        return None
    what = "batch" if by_batch >= by_crop else "crop"
    return _finding(found, apart if what == "batch" else found.by_crop or 0.0, what, confidence)


def _finding(found: Reductions, slope: float, what: str, confidence: float) -> Finding:
    summed, averaged = (found.recon, found.penalty) if slope > 0 else (found.penalty, found.recon)
    return Finding(
        id="reduction-mismatch",
        confidence=confidence,
        severity=abs(slope),
        severity_unit=f"power of the {what} size",
        summary=f"'{summed}' is summed over the {what} while '{averaged}' is averaged: their "
        f"gradients' ratio moves with the {what} size to the power {slope:.2f}",
        evidence=(
            *(
                Evidence(
                    f"‖∇{found.recon}‖ / ‖∇{found.penalty}‖, every sample met {n} times",
                    ratio,
                    "1",
                    f"{found.ratios[0]:.3g}, whatever the batch",
                )
                for n, ratio in zip(COPIES, found.ratios, strict=True)
            ),
            *(
                Evidence(f"growth of ‖∇{n}‖ with the batch", s, "power", "0, or equal for all")
                for n, s in found.by_batch.items()
            ),
        ),
        ruled_out=(
            RuledOut(
                "rate-starvation",
                "the same samples met twice change the balance: no fixed weight is at work",
            ),
        ),
        treatment=f"divide '{summed}' by the {what} size: sum over elements and latent dimensions, "
        "mean over the batch, for every term; then set the weight anew",
        expects=("the ratio of the gradients no longer depends on the batch size",),
        suggests={"term": summed, "reduction": "mean over the " + what},
    )
