"""Key numbers: each with its interval and the convention it was measured under."""

from __future__ import annotations

import dataclasses

from pellucid.report.contents import RunContents, mapping, measured
from pellucid.report.page import Section, fill
from pellucid.report.wording import count, interval, number, percent, places_for, short_unit, title


@dataclasses.dataclass(frozen=True)
class Card:
    """One number as printed."""

    name: str
    text: str
    unit: str
    spread: str
    samples: str
    convention: str


def section(contents: RunContents) -> Section:
    """Show every metric of evaluation.json."""
    metrics = mapping(contents.evaluated("metrics"))
    cards = [card(str(name), node) for name, node in metrics.items()]
    html = fill(
        "numbers.html.j2",
        cards=cards,
        weights=contents.evaluated("weights"),
        split=contents.evaluated("split"),
        run=contents.path,
    )
    return Section("numbers", "Key numbers", html)


def card(name: str, node: object) -> Card:
    """Print one metric; a value that is not finite is said so."""
    metric = measured(node)
    convention = str(mapping(node).get("convention") or "")
    if metric is None:
        return Card(title(name), "—", "", "not finite, or not measured", "", convention)
    unit = short_unit(metric.unit)
    places = places_for(metric.value, metric.low, metric.high, metric.unit)
    spread = interval(metric.low, metric.high, places=places)
    is_share = metric.unit in ("1", "share", "ratio") and name.endswith("usage")
    text = percent(metric.value) if is_share else number(metric.value, places=places)
    samples = f"n = {count(metric.n)}" if metric.n else ""
    return Card(title(name), text, unit, spread, samples, metric.convention)
