"""The error by position modulo the model's stride: a checkerboard is uneven bars."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.plot import Plot, Series


def error_by_phase(case: Case) -> Plot | None:
    """Draw the mean of x̂ − x over columns and rows modulo the stride, in std of the data."""
    stride = case.stride
    if case.x.ndim != 4 or stride is None or stride < 2:
        return None
    error = (case.x_hat - case.x).double() / case.x.double().std().clamp_min(1e-12)
    series = []
    for name, axis in (("rows", -2), ("columns", -1)):
        size = error.shape[axis]
        by_line = error.movedim(axis, 0).flatten(1).mean(1)
        phase = torch.arange(size) % stride
        counts = torch.bincount(phase, minlength=stride).clamp_min(1)
        mean = torch.zeros(stride, dtype=torch.float64).index_add_(0, phase, by_line) / counts
        series.append(Series(name, tuple(map(float, range(stride))), tuple(mean.tolist())))
    return Plot(
        kind="bars",
        title=f"mean error by position modulo the stride of {stride}",
        x_label="position modulo the stride, pixels",
        y_label="mean of x̂ − x / std of x",
        series=tuple(series),
    )
