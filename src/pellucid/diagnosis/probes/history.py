"""The user's training history: series by name, and whether one still falls at its end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pellucid.diagnosis.case import Case

_LOSSES = ("val_loss", "validation_loss", "val/loss", "loss", "train_loss", "train/loss", "total")
_LEAST = 8


@dataclasses.dataclass(frozen=True)
class Slope:
    """How a series moves over its last third.

    Args:
        name: of the series.
        change: fitted relative change over that third (−0.2: it fell by a fifth).
        low, high: 95 % interval of `change`.
        points: values behind it.
    """

    name: str
    change: float
    low: float
    high: float
    points: int


def series(case: Case) -> dict[str, list[float]]:
    """Return {name: finite values} of Subject.history: {"loss": [...]}, rows, or a plain list."""
    history: Any = case.subject.history
    if history is None:
        return {}
    if isinstance(history, Mapping):
        return {str(k): _numbers(v) for k, v in history.items() if _is_sequence(v)}
    if not _is_sequence(history):
        return {}
    if all(isinstance(row, Mapping) for row in history):
        names = dict.fromkeys(str(k) for row in history for k in row)
        return {n: _numbers([row[n] for row in history if n in row]) for n in names}
    return {"loss": _numbers(history)}


def loss_slope(case: Case) -> Slope | None:
    """Return the slope of the loss, validation first; None without enough of it."""
    known = case.measure(series)
    lowered = {name.lower(): name for name in known}
    chosen = [lowered[n] for n in _LOSSES if n in lowered]
    chosen += [name for name in known if "loss" in name.lower() and name not in chosen]
    found = (slope_of(name, known[name]) for name in chosen)
    return next((s for s in found if s is not None), None)


def slope_of(name: str, values: Sequence[float]) -> Slope | None:
    """Fit a line to the last third of a series; None below eight positive values there.

    The interval counts neighbouring residuals as dependent (an AR(1) correction of the number of
    independent values).
    """
    tail = torch.tensor(list(values)[-max(_LEAST, len(values) // 3) :], dtype=torch.float64)
    if len(tail) < _LEAST or bool((tail <= 0).any()):
        return None
    y = tail.log()
    t = torch.linspace(-0.5, 0.5, len(y), dtype=torch.float64)
    slope = float((t * y).sum() / t.square().sum())
    rest = y - y.mean() - slope * t
    spread = float(rest.square().sum()) / max(len(y) - 2, 1)
    tie = float((rest[1:] * rest[:-1]).sum() / rest.square().sum().clamp_min(1e-30))
    tie = min(max(tie, 0.0), 0.9)
    margin = 2 * math.sqrt(spread / float(t.square().sum()) * (1 + tie) / (1 - tie))
    low, middle, high = (math.exp(s) - 1 for s in (slope - margin, slope, slope + margin))
    return Slope(name, middle, low, high, len(tail))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (
        hasattr(value, "__len__") and hasattr(value, "__iter__") and not isinstance(value, str)
    )


def _numbers(values: Any) -> list[float]:
    found = []
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue  # a gap in a logged column
        if math.isfinite(number):
            found.append(number)
    return found
