"""straight-through-gain: the encoder sees none, or several times, of the decoder's gradient."""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.codes import code_use
from pellucid.diagnosis.probes.taps import StraightThrough, straight_through


def missing(case: Case) -> str | None:
    """A quantiser, and a path along which gradients can be taken."""
    if case.latent.codes is None and case.latent.quantized is None:
        return "a quantiser (Latent.codes or Latent.quantized)"
    if case.measure(straight_through) is None:
        return "loss_terms with modules {encoder, decoder} or {quantizer}, called with gradients"
    return None


def examine(case: Case) -> Finding | None:
    """Assert a dead path, or a path counted about once per level; never merely "not 1"."""
    found = case.measure(straight_through)
    assert found is not None
    levels = max(1, len(case.measure(code_use)))
    dead = case.threshold("straight-through-gain.dead").confidence(found.norm_ratio)
    gain = found.gain if math.isfinite(found.gain) else 0.0
    many = min(
        case.threshold("straight-through-gain.many").confidence(gain),
        # One level can only be counted twice exactly; a projector (cosine codes) is no multiple.
        case.threshold(
            f"straight-through-gain.likeness_{'one' if levels == 1 else 'many'}"
        ).confidence(found.likeness),
    )
    if levels > 1:
        # Once per level is the fault; a library's rotation per level grows less, and is its own.
        per_level = case.threshold("straight-through-gain.per_level").confidence(gain / levels)
        many = min(many, max(per_level, 0.4))
    confidence = max(dead, many)
    if dead > many and not found.of_training:
        confidence = min(confidence, 0.4)  # encode may be written for inference only
    if confidence < 0.1:
        return None
    return _finding(case, found, confidence, levels, is_dead=dead > many)


def _finding(
    case: Case, found: StraightThrough, confidence: float, levels: int, *, is_dead: bool
) -> Finding:
    summary = (
        "no gradient passes the quantiser: the encoder never sees the reconstruction"
        if is_dead
        else f"the encoder receives {found.gain:.2g} times the decoder's gradient "
        f"({levels} residual level{'s' * (levels > 1)}; some libraries add the straight-through "
        "once per level by default)"
    )
    return Finding(
        id="straight-through-gain",
        confidence=confidence,
        severity=0.0 if is_dead else found.norm_ratio,
        severity_unit="encoder-to-decoder gradient ratio",
        summary=summary,
        evidence=(
            Evidence("straight-through gain", found.gain, "1", f"1 ({found.estimator})"),
            Evidence("likeness to that estimator", found.likeness, "1", "1"),
            Evidence("gradient before / after the quantiser", found.norm_ratio, "1", "about 1"),
            Evidence("residual levels", levels, "1", "the gain must not grow with them"),
        ),
        ruled_out=(
            RuledOut(
                "inert-loss",
                f"measured {found.where}: the decoder does receive the reconstruction's gradient",
            ),
        ),
        treatment="pass gradients once around the quantiser: z_q = z + (q(z) − z).detach() on "
        "the sum over levels; take no_grad/detach off that path"
        if is_dead
        else "add one straight-through around the sum of all levels instead of one per level "
        "(detach each level's own), or divide the encoder's learning signal by the gain",
        expects=(
            "the gain becomes 1",
            "the encoder starts to learn"
            if is_dead
            else "commitment and reconstruction balance as weighted",
        ),
    )
