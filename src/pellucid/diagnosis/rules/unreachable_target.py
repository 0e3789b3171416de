"""unreachable-target: the decoder cannot draw the data, whatever latent and parameters it is given.

One held-out sample is drawn by Adam over z and the decoder's own parameters; the encoder is not
involved. A decoder that can draw reaches FVU → 0 in a few hundred steps.
"""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.drawing import ENOUGH, one_target
from pellucid.diagnosis.probes.training import parameters


def missing(case: Case) -> str | None:
    """A decoder through which gradients flow, with parameters that may move."""
    if not parameters(case):
        return "Subject.modules or optimizers: the decoder's parameters"
    drawn = case.measure(one_target)
    if drawn is None or not drawn.parameters or not (drawn.moved or drawn.fvu < 0.02):
        return "a decoder that gradients reach and move"
    if drawn.fvu > 0.02 and drawn.steps < ENOUGH:
        return "time to draw one target"
    return None


def examine(case: Case) -> Finding | None:
    """Assert when one target alone stays far away and the error has stalled."""
    drawn = case.measure(one_target)
    assert drawn is not None
    beyond_linear = drawn.fvu / max(drawn.linear_fvu, 0.01)
    confidence = min(
        case.threshold("unreachable-target.fvu").confidence(drawn.fvu),
        # A small latent is a choice: only what as many numbers could draw counts as unreachable.
        case.threshold("unreachable-target.beyond_linear").confidence(beyond_linear),
        case.threshold("unreachable-target.late_win_db").confidence(drawn.late_win_db),
        case.threshold("unreachable-target.own_fvu").confidence(case.fvu),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="unreachable-target",
        confidence=confidence,
        severity=drawn.fvu,
        severity_unit="error / R1 of the best drawing",
        summary=f"one sample, with the latent and {drawn.parameters} decoder parameters free and "
        f"the encoder bypassed, is not drawn below {drawn.fvu:.2g} of R1 in {drawn.steps} steps",
        evidence=(
            Evidence("error / R1 of one target, everything free", drawn.fvu, "1", "→ 0"),
            Evidence("the same for PCA with as many numbers", drawn.linear_fvu, "1", "no better"),
            Evidence("won in the second half of the steps", drawn.late_win_db, "dB", "falling on"),
            Evidence("error / R1 of the model", case.fvu, "1", "small"),
        ),
        ruled_out=(
            RuledOut("under-training", "training on one target alone does not reach it either"),
            RuledOut("rate-starvation", "no rate was charged, and the latent was free"),
        ),
        treatment="change the renderer or decoder (resolution, palette, activation, fixed filters) "
        "so that it can produce such samples, or the target so that it can be produced",
        expects=("one target is drawn to FVU < 0.01",),
    )
