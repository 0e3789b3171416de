"""The user's own training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import curve
from pellucid.diagnosis.plot import Plot

MOST_CURVES = 6


def training_history(case: Case) -> Plot | None:
    """Draw what was handed over as history, on a logarithmic axis where all of it is positive."""
    columns = {name: y for name, y in _columns(case.subject.history).items() if len(y) > 1}
    if not columns:
        return None
    series = [
        curve(name, torch.tensor(values, dtype=torch.float64))
        for name, values in list(columns.items())[:MOST_CURVES]
    ]
    finite = [v for s in series for v in s.y if math.isfinite(v)]
    return Plot(
        kind="lines",
        title="training history",
        x_label="validation or epoch",
        y_label="as logged",
        series=tuple(series),
        y_log=bool(finite) and min(finite) > 0,
    )


def _columns(history: Any) -> dict[str, list[float]]:
    """Read {"loss": [...]} or a list of rows; what is no number is left out."""
    if isinstance(history, Mapping):
        return {
            str(name): [_number(v) for v in values]
            for name, values in history.items()
            if isinstance(values, Sequence) and not isinstance(values, str)
        }
    if isinstance(history, Sequence) and all(isinstance(row, Mapping) for row in history):
        names = dict.fromkeys(name for row in history for name in row)
        columns = {str(n): [_number(row.get(n)) for row in history] for n in names}
        counters = ("epoch", "step")
        return {
            n: values
            for n, values in columns.items()
            if n not in counters and any(math.isfinite(v) for v in values)
        }
    return {}


def _number(value: Any) -> float:
    """Return a number, or NaN: a gap in the curve."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
