"""unattainable-target: the goal lies beyond the Gaussian rate–distortion reference at this rate.

Reverse water-filling (`functional/water_filling.py`) over the data's eigenvalues; for waveforms of
known sample rate over the spectra of 20 ms frames, each with its share of the bits. A reference,
not a bound: structured sources can beat it, hence the slack of 6 dB.
"""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.bits import bits, bits_per_second, frame_spectra
from pellucid.functional.water_filling import distortion_at
from pellucid.references.linear import PCAReference


def missing(case: Case) -> str | None:
    """A goal, and a rate."""
    if case.goal is None:
        return 'a goal, e.g. diagnose(..., goal="snr>30")'
    if bits(case) is None:
        return "bits_per_sample, a codebook, or a Gaussian posterior"
    return None


def examine(case: Case) -> Finding | None:
    """Assert a goal more than 6 dB above the reference."""
    assert case.goal is not None
    rate = bits(case)
    assert rate is not None
    metric, wanted = case.goal
    reachable, source = _reference(case, rate[0])
    beyond = wanted - reachable
    confidence = case.threshold("unattainable-target.beyond_db").confidence(beyond)
    if confidence < 0.1:
        return None
    return Finding(
        id="unattainable-target",
        confidence=confidence,
        severity=beyond,
        severity_unit="dB",
        summary=f"the goal of {wanted:g} dB lies {beyond:.1f} dB above what Gaussian data of this "
        f"spectrum allow at {_rate_in_words(case, rate[0])}{_needed(case)}",
        evidence=(
            Evidence(
                f"Gaussian reference at this rate ({source}), {metric.upper()}",
                reachable,
                "dB",
                f"≥ {wanted - 6:g}, six below the goal",
            ),
            Evidence("rate", rate[0], f"bits per sample ({rate[1]})", "enough for the goal"),
        ),
        treatment="raise the rate (more codes, levels, positions; lower KL weight) or lower the "
        "goal",
        expects=("the reference rises by 6 dB for each further bit per coded number",),
    )


def _reference(case: Case, rate: float) -> tuple[float, str]:
    """Return the decibels that Gaussian data reach at a rate in bits per sample, and over what."""
    assert case.goal is not None
    metric = case.goal[0]
    low, high = case.subject.value_range
    headroom = 10 * math.log10((high - low) ** 2 / case.variance) if metric == "psnr" else 0.0
    per_second, spectra = case.measure(bits_per_second), case.measure(frame_spectra)
    if per_second is not None and spectra is not None:
        return spectra.snr_at(per_second[0]) + headroom, "20 ms spectra"
    pca = PCAReference.fit(case.fit, case.elements)
    eigenvalues = pca.principal.eigenvalues
    explained = max(float(eigenvalues.sum()) / case.elements, 1e-20)
    kept = mean_square(case.x - case.mean_sample) / explained
    mse = float(distortion_at(eigenvalues, rate)) / case.elements * kept
    return 10 * math.log10(case.variance / max(mse, 1e-20)) + headroom, "principal axes"


def _rate_in_words(case: Case, rate: float) -> str:
    per_second = case.measure(bits_per_second)
    return (
        f"{rate:.4g} bits per sample" if per_second is None else f"{per_second[0] / 1000:.3g} kb/s"
    )


def _needed(case: Case) -> str:
    """Say what the goal needs, where the reference can be turned around."""
    assert case.goal is not None
    metric, wanted = case.goal
    per_second, spectra = case.measure(bits_per_second), case.measure(frame_spectra)
    if per_second is None or spectra is None or metric != "snr":
        return ""
    return f": {wanted:g} dB needs about {spectra.bits_for(wanted) / 1000:.3g} kb/s"
