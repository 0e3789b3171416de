"""The user's own training curves."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import curve
from pellucid.diagnosis.plot import Plot
from pellucid.diagnosis.probes.history import series

MOST_CURVES = 6
_COUNTERS = ("epoch", "step")


def training_history(case: Case) -> Plot | None:
    """Draw what was handed over as history, on a logarithmic axis where all of it is positive."""
    known = {
        name: values
        for name, values in case.measure(series).items()
        if len(values) > 1 and name.lower() not in _COUNTERS
    }
    if not known:
        return None
    shown = list(known.items())[:MOST_CURVES]
    return Plot(
        kind="lines",
        title="training history",
        x_label="entry of the history",
        y_label="as logged",
        series=tuple(curve(n, torch.tensor(v, dtype=torch.float64)) for n, v in shown),
        y_log=min(v for _, values in shown for v in values) > 0,
    )
