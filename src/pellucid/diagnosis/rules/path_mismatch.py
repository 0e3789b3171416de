"""path-mismatch: the deployed forward is not decode(encode(x))."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.deployed import paths
from pellucid.diagnosis.rules import tile_seams


def missing(case: Case) -> str | None:
    """forward must be given and return reconstructions."""
    if case.subject.forward is None:
        return "Subject.forward"
    return None if case.measure(paths).output is not None else "a forward that returns x_hat"


def examine(case: Case) -> Finding | None:
    """Assert when they differ by more than forward's own noise, samples of the posterior aside."""
    found = case.measure(paths)
    if found.samples or (found.difference > 1e-6 and tile_seams.explains_paths(case)):
        return None  # seams of a tiled path have a row of their own
    # A posterior may be sampled; nothing else in a deployed path may be random.
    allowed = 0.0 if case.latent.logvar is None else 2 * found.noise
    beyond = max(0.0, found.difference - allowed)
    relative = beyond / max(case.fvu, 1e-6)
    confidence = min(
        case.threshold("path-mismatch.difference").confidence(beyond),
        case.threshold("path-mismatch.relative").confidence(relative),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="path-mismatch",
        confidence=confidence,
        severity=abs(found.win_db),
        severity_unit="dB",
        summary=f"forward(x) and decode(encode(x)) differ by {found.difference:.2g}·Var(x); "
        f"decode(encode(x)) is {found.win_db:+.1f} dB",
        evidence=(
            Evidence("difference of the two paths / Var(x)", found.difference, "1", "0"),
            Evidence("forward's own noise / Var(x)", found.noise, "1", "0"),
            Evidence("decode(encode(x)) against forward(x)", found.win_db, "dB", "0"),
        ),
        ruled_out=(
            RuledOut(
                "random-decoder",
                f"decode(encode(x)) stands still; forward varies by {found.noise:.2g}·Var "
                "between calls",
            ),
        ),
        treatment="train, validate and deploy one code path: forward should call encode, the "
        "quantiser and decode, and nothing else",
        expects=("the two paths agree to rounding",),
    )
