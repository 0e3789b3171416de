"""A picture of evidence as plain numbers; drawn as SVG by `draw.py`."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Series:
    """One line, one set of bars or one cloud.

    Args:
        name: for the legend; "" draws none.
        x: positions along the horizontal axis, in the plot's `x_label` unit.
        y: values, as many as x.
        reference: a healthy or predicted curve, drawn dashed and grey.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    reference: bool = False


@dataclasses.dataclass(frozen=True)
class Plot:
    """One picture.

    Args:
        kind: "lines", "bars" or "points".
        title: what is seen, in a few words.
        x_label: quantity and unit.
        y_label: quantity and unit.
        series: what is drawn.
        x_log: logarithmic horizontal axis.
        y_log: logarithmic vertical axis.
        ticks: names of the positions 0, 1, 2 … along the horizontal axis, instead of numbers.
    """

    kind: Literal["lines", "bars", "points"]
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False
    ticks: tuple[str, ...] = ()
