"""commitment-drift: the encoder runs away from its codes faster than the codebook can follow."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.codes import code_use, on_grid
from pellucid.diagnosis.probes.commitment import Commitment, commitment, comparable, lag
from pellucid.diagnosis.probes.history import Slope, series, slope_of

_DISTANCES = ("commit", "quantization_error", "quantisation_error", "z_q", "distance", "vq")
_SIZES = ("rms", "z_norm", "latent_norm", "z_std")


def missing(case: Case) -> str | None:
    """Codes beside the latents they stand for, and a fork or a history."""
    if not comparable(case):
        return "Latent.codes and Latent.quantized in the space of Latent.mean"
    if case.measure(on_grid):
        return "a codebook that is learned (this quantiser rounds to a grid)"
    found = case.measure(commitment)
    return None if found is not None else "latents before and after the quantiser"


def examine(case: Case) -> Finding | None:
    """Assert latents far from their codes that have left them behind, or go on leaving them."""
    found = case.measure(commitment)
    assert found is not None
    distance = case.threshold("commitment-drift.distance")
    far, far_now = (distance.confidence(found.distance[place]) for place in (-1, 0))
    grows = case.threshold("commitment-drift.growth").confidence(found.rms_growth)
    if not found.steady:
        grows = min(grows, 0.4)
    logged = max((_rising(case, s) for s in _logged(case)), default=0.0)
    behind = case.threshold("commitment-drift.lag").confidence(case.measure(lag))
    confidence = max(min(far, max(grows, logged)), min(far_now, behind))
    if confidence < 0.1:
        return None
    use = case.measure(code_use)
    kmeans = use[0].kmeans_share if use else float("nan")
    return Finding(
        id="commitment-drift",
        confidence=confidence,
        severity=max(found.distance),
        severity_unit="variances of z",
        summary=f"E‖z − q(z)‖² is {max(found.distance):.2g} of Var(z), and "
        + (
            f"RMS(z) grows by {found.rms_growth:.0%} in {found.steps} steps: codes do not keep up"
            if found.steps and grows > behind
            else f"codes lie {case.measure(lag):.2g}·Var(z) off the middle of their own latents"
        ),
        evidence=(
            Evidence(
                "codes from the middle of their latents / Var(z)", case.measure(lag), "1", "0"
            ),
            *_evidence(found, kmeans, _logged(case)),
        ),
        ruled_out=(
            RuledOut(
                "codebook-too-small",
                f"k-means with as many codes leaves {kmeans:.2g} of Var(z): they would suffice",
            ),
        )
        if kmeans < 0.7 * found.distance[-1]
        else (),
        treatment="raise the commitment weight (0.25 to 1 beside a mean-reduced error), or "
        "normalise z before the quantiser (layer norm, cosine codes); let averages of the "
        "codebook move faster",
        expects=("RMS(z) stays flat", "E‖z − q(z)‖²/Var(z) falls"),
        suggests={"commitment": 0.25},
    )


def _evidence(found: Commitment, kmeans: float, logged: list[Slope]) -> tuple[Evidence, ...]:
    return (
        Evidence("E‖z − q(z)‖² / Var(z)", found.distance[-1], "1", f"{kmeans:.2g}, k-means"),
        Evidence("the same before the fork", found.distance[0], "1", "no lower than after it"),
        Evidence(f"growth of RMS(z) in {found.steps} steps", found.rms_growth, "1", "≤ 0.02"),
        *(
            Evidence(f"change of '{s.name}' over the last third of the history", s.change, "1",
                     "≤ 0", s.low, s.high)
            for s in logged
        ),
    )  # fmt: skip


def _logged(case: Case) -> list[Slope]:
    """Return the slopes of logged series that mean a distance to the codes or the size of z."""
    found = []
    for name, values in case.measure(series).items():
        if any(k in name.lower() for k in (*_DISTANCES, *_SIZES)):
            slope = slope_of(name, values)
            if slope is not None:
                found.append(slope)
    return found


def _rising(case: Case, slope: Slope) -> float:
    confidence = case.threshold("commitment-drift.growth").confidence(slope.change)
    return confidence if slope.low > 0 else min(confidence, 0.4)
