"""The channels of a set of stacks: scale, zeros, state, what follows what, slide against slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Html, Section, fill
from pellucid.report.pictures import Picture
from pellucid.report.sections.data import split_counts
from pellucid.report.wording import is_number, number, percent


def section(contents: RunContents) -> Section:
    """Show data.json of a run of stacks."""
    report = mapping(contents.data)
    html = tables(report, splits=split_counts(mapping(contents.splits)))
    return Section("data", "Data", html)


def tables(
    report: Mapping[str, Any],
    *,
    splits: Mapping[str, int] | None = None,
    pictures: Mapping[str, Sequence[tuple[str, Picture]]] | None = None,
) -> Html:
    """Show a report of stacks.

    Args:
        report: `StackReport.to_json()`.
        splits: blocks or regions per split.
        pictures: channel → (region, picture), where the page shows them.
    """
    channels = [mapping(node) for node in report.get("channels") or []]
    return fill(
        "channels.html.j2",
        report=report,
        rows=[_row(node) for node in channels],
        splits=splits or {},
        total=sum((splits or {}).values()),
        pictures=pictures or {},
        correlated=[
            (" and ".join(map(str, node["channels"])), number(node["r"], places=2, signed=True))
            for node in report.get("correlated") or []
        ],
        batch=[
            (str(node["channel"]), number(node["ratio"]), str(node["highest"]), str(node["lowest"]))
            for node in report.get("batch") or []
        ],
        spread=number(report["std_spread"]) if is_number(report.get("std_spread")) else "",
    )


def _row(node: Mapping[str, Any]) -> dict[str, Any]:
    percentiles = mapping(node.get("percentiles"))
    return {
        "name": str(node.get("name")),
        "used": bool(node.get("used")),
        "state": str(node.get("state")),
        "range": f"{number(node.get('low'))} … {number(node.get('high'))}",
        "mean": number(node.get("mean")),
        "std": number(node.get("std")),
        "zero": percent(node["zero"]) if is_number(node.get("zero")) else "",
        "percentiles": [number(value) for value in percentiles.values()],
        "heads": list(percentiles),
        "saturated": percent(node["saturated"]) if node.get("saturated") else "",
        "silent": len(node.get("silent") or ()),
    }
