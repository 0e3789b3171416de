"""Values with their intervals on one ruler, best first; drawn by the page's style, no script."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pellucid.records import MetricValue
from pellucid.report.page import Html, fill
from pellucid.report.wording import interval, number, places_for


@dataclasses.dataclass(frozen=True)
class Mark:
    """One row of a ruler.

    Args:
        label: what was measured, in words.
        metric: the value and its interval.
        own: whether this row is what the page is about.
        relation: "ahead", "level" or "behind": the run against this row; empty for none.
        difference: the difference in words.
    """

    label: str
    metric: MetricValue
    own: bool = False
    relation: str = ""
    difference: str = ""


@dataclasses.dataclass(frozen=True)
class _Row:
    mark: Mark
    label: str
    text: str
    spread: str
    at: float
    low: float
    high: float


def ruler(marks: Sequence[Mark], caption: str) -> Html:
    """Draw marks on one scale, the highest value first.

    Args:
        marks: values of one unit.
        caption: what the scale is.
    """
    ends = [
        end
        for mark in marks
        for end in (mark.metric.value, mark.metric.low, mark.metric.high)
        if end is not None
    ]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = 0.04 * (high - low) or 1.0
    low, high = low - room, high + room

    def place(value: float | None, otherwise: float) -> float:
        value = otherwise if value is None else value
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for mark in sorted(marks, key=lambda mark: mark.metric.value, reverse=True):
        metric = mark.metric
        places = places_for(metric.value, metric.low, metric.high, metric.unit)
        rows.append(
            _Row(
                mark,
                label=mark.label,
                text=f"{number(metric.value, places=places)} {metric.unit}",
                spread=interval(metric.low, metric.high, places=places),
                at=place(metric.value, metric.value),
                low=place(metric.low, metric.value),
                high=place(metric.high, metric.value),
            )
        )
    return fill("ruler.html.j2", rows=rows, caption=caption)
