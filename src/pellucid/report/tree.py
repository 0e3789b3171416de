"""Any JSON object as nested tables: scalars as rows, lists of like objects as one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pellucid.records import MetricValue
from pellucid.report.contents import measured
from pellucid.report.page import Html, fill
from pellucid.report.wording import (
    MISSING,
    interval,
    is_number,
    number,
    places_for,
    short_unit,
    words,
)

MOST_ITEMS = 24
MOST_DEPTH = 6


def tree(node: Any) -> Html:
    """Return `node` as HTML; long lists are cut and say how much was left out."""
    return _block(node, 0)


def scalar(value: Any) -> str:
    """Return one JSON scalar as text."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Four digits may be a year, a seed or a version: they stay together.
        return str(value) if abs(value) < 10_000 else number(value)
    if is_number(value):
        return number(value)
    return str(value)


def _block(node: Any, depth: int) -> Html:
    if depth > MOST_DEPTH:
        return fill("tree.html.j2", kind="text", text="…")
    metric = measured(node) if isinstance(node, Mapping) and "convention" in node else None
    if metric is not None:
        return _metric(metric)
    if isinstance(node, Mapping):
        rows = [
            (_label(str(key)), _block(value, depth + 1))
            for key, value in list(node.items())[:MOST_ITEMS]
        ]
        if len(node) > MOST_ITEMS:
            rows.append(("…", Html(f"and {len(node) - MOST_ITEMS} more")))
        return fill("tree.html.j2", kind="rows" if rows else "text", rows=rows, text="none")
    if isinstance(node, list):
        return _list(node, depth)
    return fill("tree.html.j2", kind="text", text=scalar(node))


def _label(key: str) -> str:
    """Return a key as words; file names, sizes and the like stay as they are."""
    return words(key) if re.fullmatch(r"[a-z][a-z0-9_]*", key) else key


def _metric(metric: MetricValue) -> Html:
    places = places_for(metric.value, metric.low, metric.high, metric.unit)
    text = f"{number(metric.value, places=places)} {short_unit(metric.unit)}".strip()
    spread = interval(metric.low, metric.high, places=places)
    text = f"{text} ({spread})" if spread else text
    return fill("tree.html.j2", kind="metric", text=text, note=metric.convention)


def _list(items: list[Any], depth: int) -> Html:
    shown, rest = items[:MOST_ITEMS], len(items) - MOST_ITEMS
    more = f"… and {rest} more" if rest > 0 else ""
    if not items:
        return fill("tree.html.j2", kind="text", text="none")
    if all(isinstance(item, Mapping) for item in shown):
        keys = list(dict.fromkeys(key for item in shown for key in item))
        table = [[_block(item.get(key), depth + 1) for key in keys] for item in shown]
        headings = [_label(str(key)) for key in keys]
        return fill("tree.html.j2", kind="table", headings=headings, table=table, more=more)
    if any(isinstance(item, Mapping | list) for item in shown):
        blocks = [_block(item, depth + 1) for item in shown]
        return fill("tree.html.j2", kind="blocks", blocks=blocks, more=more)
    text = ", ".join(scalar(item) for item in shown)
    return fill("tree.html.j2", kind="text", text=f"{text} {more}".strip())
