"""Output against data, element by element and by quantiles: units, offsets, rails."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import evenly, numbers
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.affine import affine_refit

POINTS = 300
ELEMENTS = 50_000


def output_against_data(case: Case) -> Plot | None:
    """Draw elements (x̂, x), the identity, and the best affine map."""
    x, x_hat = _elements(case)
    if len(x) < 2:
        return None
    refit = case.measure(affine_refit)
    shown = evenly(len(x), POINTS)
    low, high = float(x_hat.min()), float(x_hat.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    ends = (low, high)
    return Plot(
        kind="points",
        title=f"x ≈ {refit.gain:.3g}·x̂ {refit.offset:+.3g}",
        x_label="x̂, data units",
        y_label="x, data units",
        series=(
            Series("elements", numbers(x_hat[shown]), numbers(x[shown])),
            Series("x = x̂", ends, ends, reference=True),
            Series(
                "best affine map",
                ends,
                (refit.gain * low + refit.offset, refit.gain * high + refit.offset),
                reference=True,
            ),
        ),
    )


def output_quantiles(case: Case) -> Plot | None:
    """Draw quantiles of x̂ against those of x: a rail is a flat end."""
    x, x_hat = _elements(case)
    if len(x) < 2:
        return None
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    of_x, of_output = x.quantile(levels), x_hat.quantile(levels)
    ends = (float(of_x.min()), float(of_x.max()))
    return Plot(
        kind="lines",
        title="distribution of the output",
        x_label="quantile of x, data units",
        y_label="quantile of x̂, data units",
        series=(
            Series("percentiles", numbers(of_x), numbers(of_output)),
            Series("equal distributions", ends, ends, reference=True),
        ),
    )


def _elements(case: Case) -> tuple[Tensor, Tensor]:
    """Return some finite elements of x and x̂, in one order."""
    x, x_hat = case.x.flatten(), case.x_hat.flatten()
    # an irregular step: an even one would meet the same column or channel again and again
    kept = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:ELEMENTS]
    x, x_hat = x[kept].double(), x_hat[kept].double()
    finite = torch.isfinite(x) & torch.isfinite(x_hat)
    return x[finite], x_hat[finite]
