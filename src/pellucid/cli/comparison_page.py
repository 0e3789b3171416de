"""Print a comparison of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.cli.console import metric, number, out, table


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Print every metric per run, then the differences from the first run."""
    runs = comparison["runs"]
    rows = [
        (name, *(metric(by_run[run]) if by_run.get(run) else "–" for run in runs))
        for name, by_run in comparison["metrics"].items()
    ]
    table(("metric (95 %)", *runs), rows)
    rows = [
        (
            node["metric"],
            f"{node['run']} − {node['baseline']}",
            _signed(node),
            "paired" if node["paired"] else "unpaired",
        )
        for node in comparison["differences"]
    ]
    table(("metric", "difference", "value (95 %)", "how"), rows)
    for warning in comparison["warnings"]:
        out.print(f"[yellow]note[/] {warning}")


def _signed(node: Mapping[str, Any]) -> str:
    text = f"{node['value']:+.4g} {node['unit'] if node['unit'] != '1' else ''}".rstrip()
    if node["low"] is None:
        return text
    return f"{text}  ({number(node['low'])} … {number(node['high'])})"
