"""permutation-variance: latents that should not notice the order of their input do."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.permutations import Permutations, permutations


def missing(case: Case) -> str | None:
    """Return what would open the row: a declared symmetry, or a permuter."""
    subject = case.subject
    if subject.symmetries or subject.permuter is not None or subject.soft_forward is not None:
        return None
    return "Subject.symmetries (or permuter, soft_forward): what latents are meant not to notice"


def examine(case: Case) -> Finding | None:
    """Assert when latents move under a declared symmetry, or when the hard choice costs."""
    found = case.measure(permutations)
    moved = 0.0
    if found.moved is not None:
        moved = case.threshold("permutation-variance.moved").confidence(found.moved)
    undecided = 0.0
    if found.soft_hard is not None:
        undecided = case.threshold("permutation-variance.soft_hard").confidence(found.soft_hard)
        if found.entropy is not None:
            entropy = case.threshold("permutation-variance.entropy")
            undecided = min(undecided, entropy.confidence(found.entropy))
    confidence = max(moved, undecided)
    if confidence < 0.1:
        return None
    by_move = moved >= undecided
    return Finding(
        id="permutation-variance",
        confidence=confidence,
        severity=float(found.moved or 0.0) if by_move else float(found.soft_hard or 0.0),
        severity_unit="‖Δμ‖ / ‖μ‖" if by_move else "share of variance",
        summary=_moved(found) if by_move else _undecided(found),
        evidence=_evidence(found),
        treatment="exact assignment instead of the permuter (dihedral: the minimum over all eight; "
        "oracle: Hungarian), and the same permutation on both sides, before the encoder and, "
        "undone, after the decoder"
        if by_move
        else "anneal the permuter's temperature until its weights are hard, train with the hard "
        "choice in the value (straight-through), and permute both sides",
        expects=("‖μ(P·x) − μ(x)‖ / ‖μ‖ falls to rounding",)
        if by_move
        else ("the permuter's entropy falls", "soft − hard error goes to 0"),
    )


def _moved(found: Permutations) -> str:
    return (
        f"latents move by {found.moved:.2g} of their own length when the input is only turned or "
        f"reordered ({found.share:.0%} of samples and symmetries notably)"
    )


def _undecided(found: Permutations) -> str:
    entropy = "" if found.entropy is None else f", and its entropy is {found.entropy:.2f} of 1"
    return (
        f"the permuter has not decided: its hard choice loses {found.soft_hard:.2g} of the "
        f"variance against the soft weights it was trained with{entropy}"
    )


def _evidence(found: Permutations) -> tuple[Evidence, ...]:
    rows = []
    if found.moved is not None:
        rows.append(
            Evidence("‖μ(P·x) − μ(x)‖ / ‖μ(x)‖, pooled", found.moved, "1", "0, rounding aside")
        )
        rows.append(Evidence("share that moves notably", found.share, "1", "0"))
    if found.entropy is not None:
        rows.append(Evidence("entropy of the permuter's weights", found.entropy, "1", "low"))
    if found.soft_hard is not None:
        rows.append(
            Evidence("hard − soft error / variance", found.soft_hard, "1", "about 0 or negative")
        )
    return tuple(rows)
