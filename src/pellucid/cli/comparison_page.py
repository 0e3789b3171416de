"""Print a comparison of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.cli.console import metric, out, signed_metric, table


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
            signed_metric(node),
            "paired" if node["paired"] else "unpaired",
        )
        for node in comparison["differences"]
    ]
    table(("metric", "difference", "value (95 %)", "how"), rows)
    for warning in comparison["warnings"]:
        out.print(f"[yellow]note[/] {warning}")
