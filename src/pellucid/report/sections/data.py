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
    # What a newcomer should train is advice of `pellucid inspect`; this run is past it.
    report = {k: v for k, v in mapping(contents.data).items() if k not in ("suggestions", "splits")}
    html = fill(
        "data.html.j2",
        counts=counts,
        total=sum(counts.values()),
        report=tree(report) if report else "",
        run=contents.path,
    )
    return Section("data", "Data", html)


def split_counts(splits: Mapping[str, Any]) -> dict[str, int]:
    """Return how many items went to each split: `items` is split → names, or split → count."""
    counts = {}
    for name, node in mapping(splits.get("items", splits)).items():
        if isinstance(node, list | Mapping):
            counts[str(name)] = len(node)
        elif is_number(node) and name in ("train", "validation", "test"):
            counts[str(name)] = int(node)
    return counts
