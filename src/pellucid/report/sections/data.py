"""The data: how much, what was left out and why, and what went into which split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Section, fill
from pellucid.report.tree import tree
from pellucid.report.wording import is_number


def section(contents: RunContents) -> Section:
    """Show data.json as tables and splits.json as a bar."""
    counts = split_counts(mapping(contents.splits))
    html = fill(
        "data.html.j2",
        counts=counts,
        total=sum(counts.values()),
        report=tree(contents.data) if contents.data else "",
        run=contents.path,
    )
    return Section("data", "Data", html)


def split_counts(splits: Mapping[str, Any]) -> dict[str, int]:
    """Return how many went to each split; numbers, lists of names and nested counts are read."""
    for nested in ("counts", "splits"):
        if isinstance(splits.get(nested), Mapping):
            return split_counts(splits[nested])
    counts = {}
    for name, node in splits.items():
        if isinstance(node, Mapping):
            node = node.get("count", node.get("samples", node.get("files")))
        if isinstance(node, list):
            counts[str(name)] = len(node)
        elif is_number(node) and name in ("train", "validation", "test"):
            counts[str(name)] = int(node)
    return counts
