"""tile-seams: borders of tiles, chunks or patches show in the output.

A tiled decoder without overlap, or a streaming one that loses its state, is worse next to every
border, and steps across them. Patch-wise models without overlap have seams at their own stride by
design: those are a hint, unless the deployed path differs from decode(encode(x)) just there. A
pattern constant inside all cells is `checkerboard`, not this.
"""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.seams import SMALLEST, Seams, seams

HINT = 0.4
FORWARD_SHARE = 0.3
"""Share of forward − decode(encode(x)) beside borders, beyond an even spread, that is telling."""


def missing(case: Case) -> str | None:
    """Axes long enough to hold tiles."""
    if case.x.ndim < 3 or max(case.x.shape[2:]) < 4 * SMALLEST:
        return "images, stacks or waveforms of at least 16 positions a side"
    return None


def examine(case: Case) -> Finding | None:
    """Assert error and steps that gather at equally spaced borders."""
    found = case.measure(seams)
    if found is None:
        return None
    confidence = min(
        case.threshold("tile-seams.contrast").confidence(found.contrast),
        case.threshold("tile-seams.share").confidence(found.share),
    )
    if _own_grid(case, found) and found.path_share < FORWARD_SHARE:
        confidence = min(confidence, HINT)
    if confidence < 0.1:
        return None
    axis = ("row" if found.axis == 2 else "column") if case.x.ndim == 4 else "position"
    return Finding(
        id="tile-seams",
        confidence=confidence,
        severity=found.share,
        severity_unit="share of the error",
        summary=f"every {found.period} {axis}s the error rises {found.contrast:.1f}-fold beside a "
        f"border; {found.share:.0%} of it lies there",
        evidence=(
            Evidence("distance of borders", found.period, f"{axis}s", "none"),
            Evidence("error beside borders / largest elsewhere", found.contrast, "1", "≤ 1"),
            Evidence("share of the error beside borders, beyond its share", found.share, "1", "0"),
            Evidence("steps across borders / elsewhere, against x", found.jump, "1", "about 1"),
            Evidence("path difference beside borders", found.path_share, "1", "0"),
        ),
        ruled_out=(
            RuledOut(
                "checkerboard",
                f"the period is {found.period}, the model's stride is {case.stride or 'unknown'}",
            ),
        ),
        treatment="overlap tiles by the receptive field and blend, or carry the true state across "
        "chunks",
        expects=("full and tiled decoding agree", "the error is even across borders"),
        suggests={"tile": float(found.period)},
    )


def explains_paths(case: Case) -> bool:
    """Say whether forward differs from decode(encode(x)) just beside borders."""
    if missing(case) is not None:
        return False
    found = case.measure(seams)
    return found is not None and found.path_share > FORWARD_SHARE and found.contrast > 1.3


def _own_grid(case: Case, found: Seams) -> bool:
    """Say whether the borders are those of the model's own latent grid."""
    stride = case.stride
    return stride is not None and found.period <= 2 * stride and found.period % stride == 0
