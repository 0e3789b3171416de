"""KL of each latent dimension, sorted, beside what the linear VAE predicts at the same weight.

Shape letters: d latent numbers per sample, A principal axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import curve
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.diagnosis.probes.references import References, references
from pellucid.diagnosis.probes.weight import kl_weight
from pellucid.references.linear import LinearVAEReference

MOST_BARS = 64


def kl_per_dimension(case: Case) -> Plot | None:
    """Draw KL_j, largest first; the reference is ½·ln(λ_j/θ)₊ of the data's own eigenvalues."""
    measured = case.measure(posterior)
    if measured is None:
        return None
    series = [curve("this model", _sorted(measured.kl_d))]
    predicted = _predicted(case, case.measure(references), measured.size)
    if predicted is not None:
        series.append(curve("linear VAE at this weight", predicted, reference=True))
    floor = (case.subject.recipe or {}).get("free_bits")
    if isinstance(floor, int | float) and floor > 0:
        ends = (0.0, float(measured.size - 1))
        series.append(Series("declared floor", ends, (float(floor),) * 2, reference=True))
    return Plot(
        kind="bars" if measured.size <= MOST_BARS else "lines",
        title=f"KL of each dimension, {measured.kl:.3g} nats in all",
        x_label="dimension, by KL",
        y_label="KL, nats per sample",
        series=tuple(series),
    )


def posterior_noise(case: Case) -> Plot | None:
    """Draw the distribution of ln σ²: a floor is a wall on its left."""
    measured = case.measure(posterior)
    if measured is None:
        return None
    logvar = measured.logvar.flatten()
    logvar = logvar[torch.isfinite(logvar)]
    if len(logvar) == 0:
        return None
    low, high = float(logvar.min()), float(logvar.max())
    high = max(high, low + 1e-3)
    share = torch.histc(logvar, bins=40, min=low, max=high) / len(logvar)
    centres = low + (torch.arange(40) + 0.5) * (high - low) / 40
    return Plot(
        kind="bars",
        title=f"log-variances of the posterior, none below {low:.2f}",
        x_label="ln σ², nats",
        y_label="share of all",
        series=(Series("", tuple(centres.tolist()), tuple(share.tolist())),),
    )


def _predicted(case: Case, found: References, size: int) -> Tensor | None:
    """Return (d,) predicted KLs, largest first, or None where no weight is known."""
    weight = case.measure(kl_weight)
    if weight is None or weight.value <= 0 or found.linear_vae is None:
        return None
    fitted = LinearVAEReference.fit(found.pca, kl_weight=weight.value)
    theta = fitted.prediction.threshold
    eigenvalues = found.pca.principal.eigenvalues[: len(found.pca.principal.axes)].double()
    kl_A = 0.5 * (eigenvalues / theta).clamp_min(1.0).log()
    kl = _sorted(kl_A.repeat(found.pca.copies))
    return torch.nn.functional.pad(kl, (0, max(0, size - len(kl))))[:size]


def _sorted(kl_d: Tensor) -> Tensor:
    return kl_d.double().sort(descending=True).values
