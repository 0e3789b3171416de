"""Turn tensors into series of a few hundred points: what a page can carry and an eye can see."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.plot import Series

MOST_POINTS = 200


def curve(name: str, y_N: Tensor, x_N: Tensor | None = None, *, reference: bool = False) -> Series:
    """Return a series over x (default 0, 1, 2 …), thinned evenly where it is long.

    Args:
        name: for the legend.
        y_N: values.
        x_N: positions.
        reference: a healthy or predicted curve.
    """
    x = torch.arange(len(y_N)) if x_N is None else x_N
    kept = evenly(len(y_N), MOST_POINTS)
    return Series(name, numbers(x[kept]), numbers(y_N[kept]), reference)


def evenly(count: int, most: int) -> Tensor:
    """Return at most `most` indices spread over 0 … count − 1, ends included."""
    if count <= most:
        return torch.arange(count)
    return torch.linspace(0, count - 1, most).round().long()


def numbers(values: Tensor) -> tuple[float, ...]:
    """Return plain floats."""
    return tuple(values.double().flatten().tolist())
