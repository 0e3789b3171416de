"""unattainable-target: the goal lies beyond the Gaussian rate–distortion reference at this rate.

D(θ) = Σ min(θ, λᵢ), R(θ) = Σ ½·log₂(λᵢ/θ)₊: reverse water-filling over the data's eigenvalues. A
reference, not a bound: structured sources can beat it, hence the slack of 6 dB.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.references.linear import PCAReference


def missing(case: Case) -> str | None:
    """A goal, and a rate."""
    if case.goal is None:
        return 'a goal, e.g. diagnose(..., goal="snr>30")'
    if bits(case) is None:
        return "bits_per_sample, a codebook, or a Gaussian posterior"
    return None


def bits(case: Case) -> tuple[float, str] | None:
    """Return bits per sample and how they are known."""
    if case.subject.bits_per_sample is not None:
        return float(case.subject.bits_per_sample), "declared"
    codes, books = case.latent.codes, case.subject.codebooks
    if codes is not None and books:
        per_sample = codes[0].numel()
        levels = len(books)
        each = sum(math.log2(len(b)) for b in books) / levels
        return per_sample * each, "codes × log₂K"
    measured = case.measure(posterior)
    return None if measured is None else (measured.kl / math.log(2), "KL / ln 2")


def examine(case: Case) -> Finding | None:
    """Assert a goal more than 6 dB above the reference."""
    assert case.goal is not None
    rate = bits(case)
    assert rate is not None
    metric, wanted = case.goal
    pca = PCAReference.fit(case.fit, case.elements)
    distortion = water_filling(pca.principal.eigenvalues, rate[0])
    kept = mean_square(case.x - case.mean_sample) / max(
        float(pca.principal.eigenvalues.sum()) / case.elements, 1e-20
    )
    mse = distortion / case.elements * kept
    low, high = case.subject.value_range
    reference = (high - low) ** 2 if metric == "psnr" else case.variance
    reachable = 10 * math.log10(reference / max(mse, 1e-20))
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
        f"spectrum allow at {rate[0]:.4g} bits per sample",
        evidence=(
            Evidence(
                f"Gaussian reference at this rate, {metric.upper()}",
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


def water_filling(eigenvalues: Tensor, rate_bits: float) -> float:
    """Return the total distortion D of reverse water-filling at a rate in bits.

    Args:
        eigenvalues: (d,) variances.
        rate_bits: R ≥ 0.
    """
    lam = eigenvalues.double()
    lam = lam[lam > 1e-12 * lam.max()]
    low, high = float(lam.max().log()) - 200.0, float(lam.max().log())
    for _ in range(100):
        middle = (low + high) / 2
        rate = float(0.5 * ((lam.log() - middle).clamp_min(0)).sum()) / math.log(2)
        low, high = (middle, high) if rate > rate_bits else (low, middle)
    return float(torch.minimum(lam, torch.tensor(math.exp((low + high) / 2))).sum())
