"""capacity-limit: even a few samples cannot be fitted: latent or decoder is too narrow.

Which of the two is told by measurement: PCA with four times the latent's numbers says what a wider
latent could carry, and the same few samples drawn with free latents say whether the decoder could.
A small latent alone is a design choice: nothing is asserted while R5 succeeds.
"""

from __future__ import annotations

import dataclasses
import math

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.ladder import OVERFIT_SAMPLES, OVERFIT_STEPS, overfit
from pellucid.diagnosis.probes.drawing import four_targets
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.probes.training import continued, parameters
from pellucid.references.linear import PCAReference

WIDER = 4


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What widening either side could win.

    Args:
        linear_db: PCA with as many numbers as the latent.
        wider_db: PCA with four times as many.
        model_db: the model.
        drawn_fvu: R5's samples with free latents and decoder, error / R1 (NaN when unknown).
    """

    linear_db: float
    wider_db: float
    model_db: float
    drawn_fvu: float

    @property
    def latent(self) -> bool:
        """True when the latent is the ceiling: the model is at PCA's, and a wider PCA is higher."""
        return self.wider_db - self.linear_db > 2.0 and self.linear_db - self.model_db < 1.5


def missing(case: Case) -> str | None:
    """Parameters that can be trained on a few samples."""
    if not parameters(case) or not case.subject.modules:
        return "Subject.modules or optimizers, through which gradients flow"
    return None if case.measure(overfit) is not None else "time for an overfit of a few samples"


def ceilings(case: Case) -> Ceilings:
    """Compare PCA at the latent's size and at four times it, and draw with free latents."""
    numbers = max(1, min(WIDER * case.latent_size, case.elements // 2))
    wider = PCAReference.fit(case.fit, numbers, stride=case.measure(references).pca.patch)
    drawn = case.measure(four_targets)
    return Ceilings(
        linear_db=case.db(case.measure(references).linear),
        wider_db=case.db(mean_square(wider.reconstruct(case.x) - case.x)),
        model_db=case.db(case.mse),
        drawn_fvu=float("nan") if drawn is None else drawn.fvu,
    )


def examine(case: Case) -> Finding | None:
    """Assert when R5 stalls although it had its steps."""
    reached = case.measure(overfit)
    assert reached is not None
    fvu = reached[0] / case.variance
    gate = case.threshold("capacity-limit.fvu")
    if gate.confidence(fvu) < 0.1:
        return None
    found = case.measure(ceilings)
    if math.isfinite(found.drawn_fvu):  # what codes and slow encoders cost has rows of its own
        fvu = min(fvu, found.drawn_fvu)
    fork = case.measure(continued) if case.subject.trainable else None
    flat = (
        0.99
        if fork is None
        else 1 - case.threshold("under-training.win_db").confidence(fork.win_db)
    )
    confidence = min(
        gate.confidence(fvu),
        0.99 if reached[1] >= OVERFIT_STEPS else 0.3,  # stopped by the clock: nothing is shown
        flat,
    )
    if confidence < 0.1:
        return None
    return _finding(confidence, fvu, reached[1], found)


def _finding(confidence: float, fvu: float, steps: int, found: Ceilings) -> Finding:
    side = "latent" if found.latent else "decoder"
    gain = found.wider_db - found.linear_db
    return Finding(
        id="capacity-limit",
        confidence=confidence,
        severity=fvu,
        severity_unit="error / R1 on samples it was overfitted to",
        summary=f"{OVERFIT_SAMPLES} samples alone cannot be fitted below {fvu:.2g} of R1 in "
        f"{steps} steps; the ceiling is the {side}: PCA wins {gain:.1f} dB with {WIDER} times the "
        f"numbers, and the model stands {found.model_db - found.linear_db:+.1f} dB to PCA",
        evidence=(
            Evidence(f"error / R1 after overfitting {OVERFIT_SAMPLES} samples", fvu, "1", "< 0.01"),
            Evidence(
                "the same with latents free and the encoder bypassed", found.drawn_fvu, "1", "< .01"
            ),
            Evidence(
                "PCA with as many numbers, ahead by", found.linear_db - found.model_db, "dB", "≤ 0"
            ),
            Evidence(f"PCA with {WIDER} times the numbers, further by", gain, "dB", "small"),
        ),
        ruled_out=(RuledOut("overfitting", "not even the samples trained on are fitted"),),
        treatment="widen the latent; the decoder is not what stops it"
        if found.latent
        else "widen (or deepen) the decoder and encoder; a wider latent alone will not help",
        expects=("R5 falls below 0.01 of R1",),
        suggests={"latent" if found.latent else "width": 4.0 if found.latent else 2.0},
    )
