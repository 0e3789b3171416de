"""Any JSON object as nested tables: scalars as rows, lists of like objects as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.report.page import Html, fill
from pellucid.report.wording import MISSING, is_number, number, words

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
    if isinstance(node, Mapping):
        rows = [(words(str(key)), _block(value, depth + 1)) for key, value in node.items()]
        return fill("tree.html.j2", kind="rows" if rows else "text", rows=rows, text="none")
    if isinstance(node, list):
        return _list(node, depth)
    return fill("tree.html.j2", kind="text", text=scalar(node))


def _list(items: list[Any], depth: int) -> Html:
    shown, rest = items[:MOST_ITEMS], len(items) - MOST_ITEMS
    more = f"… and {rest} more" if rest > 0 else ""
    if not items:
        return fill("tree.html.j2", kind="text", text="none")
    if all(isinstance(item, Mapping) for item in shown):
        keys = list(dict.fromkeys(key for item in shown for key in item))
        table = [[_block(item.get(key), depth + 1) for key in keys] for item in shown]
        headings = [words(str(key)) for key in keys]
        return fill("tree.html.j2", kind="table", headings=headings, table=table, more=more)
    if any(isinstance(item, Mapping | list) for item in shown):
        blocks = [_block(item, depth + 1) for item in shown]
        return fill("tree.html.j2", kind="blocks", blocks=blocks, more=more)
    text = ", ".join(scalar(item) for item in shown)
    return fill("tree.html.j2", kind="text", text=f"{text} {more}".strip())
