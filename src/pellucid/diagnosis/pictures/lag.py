"""Cross-correlation of output and input against the lag between them."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import numbers
from pellucid.diagnosis.plot import Plot, Series

SAMPLES = 128
AROUND = 100
"""Lags drawn on both sides of the best one and of 0."""


def correlation_against_lag(case: Case) -> Plot | None:
    """Draw the correlation over lags; a delay moves its peak away from 0."""
    length = case.x.shape[-1]
    if case.x.ndim != 3 or length < 8:
        return None
    x, x_hat = (t[:SAMPLES].double() - t[:SAMPLES].double().mean() for t in (case.x, case.x_hat))
    size = 2 * length
    product = torch.fft.rfft(x_hat, size) * torch.fft.rfft(x, size).conj()
    score = torch.fft.irfft(product.sum((0, 1)), size)
    score = score / (x.norm() * x_hat.norm()).clamp_min(1e-20)
    furthest = max(1, length // 4)
    score = torch.cat([score[-furthest:], score[: furthest + 1]])
    best = int(score.argmax()) - furthest
    reach = min(furthest, abs(best) + AROUND)
    lags = torch.arange(-reach, reach + 1)
    return Plot(
        kind="lines",
        title=f"output and input agree best at a lag of {best}",
        x_label="lag of the output, samples",
        y_label="correlation",
        series=(
            Series("x̂ against x", numbers(lags), numbers(score[furthest + lags])),
            Series("healthy", (0.0, 0.0), (0.0, 1.0), reference=True),
        ),
    )
