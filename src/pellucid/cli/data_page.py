"""Print a data report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.cli.console import facts, number, out


def print_data_report(report: Mapping[str, Any]) -> None:
    """Print what a source holds, what is wrong with it and which recipe fits."""
    found = f"{report['count']} usable of {report['examined']} read"
    if report["examined"] < report["found"]:
        found += f" (a sample of {report['found']})"
    rows: dict[str, object] = {
        "images": found,
        "sizes": _counts(report["sizes"]),
        "modes": _counts(report["modes"]),
        "bits per channel": _counts(report["bits"]),
        "range": f"{number(report['low'])} … {number(report['high'])} (0 black, 1 white)",
        "channel mean": ", ".join(number(value) for value in report["channel_mean"]),
        "channel std": ", ".join(number(value) for value in report["channel_std"]),
        "classes": _counts(report["classes"]),
        "groups": report["groups"],
        "colourless": report["colourless"] or "",
        "changed by rule": _counts(report["notes"]),
        "identical images": _duplicates(report["exact_duplicates"], "images"),
        "look the same": _duplicates(report["near_duplicates"], "pairs"),
        "other files": _counts(report["ignored"]),
    }
    facts({name: value for name, value in rows.items() if value != ""}, title=report["source"])
    for reason, entry in report["skipped"].items():
        out.print(f"[yellow]skipped {entry['count']}[/]: {reason}")
        for example in entry["examples"]:
            out.print(f"  {example}", markup=False, highlight=False)
    for remark in report["remarks"]:
        out.print(f"[yellow]note[/] {remark}")
    for suggestion in report["suggestions"]:
        out.print(f"\n[bold]{suggestion['recipe']}[/] fits: {suggestion['why']}")
        out.print(f"  [cyan]{suggestion['command']}[/]", soft_wrap=True)


def _counts(counts: Mapping[str, int], most: int = 6) -> str:
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:most]]
    left = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {left} more" if left > 0 else "")


def _duplicates(node: Mapping[str, Any], key: str) -> str:
    if not node[key]:
        return ""
    examples = "; ".join(" = ".join(map(str, example)) for example in node["examples"][:2])
    return f"{node[key]} {key} (e.g. {examples})" if examples else f"{node[key]} {key}"
