"""Print a data report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.cli.console import facts, number, out, table


def print_data_report(report: Mapping[str, Any]) -> None:
    """Print what a source holds, what is wrong with it and which recipe fits."""
    by_kind = {"audio": _clip_rows, "stacks": _stack_rows}
    rows = by_kind.get(report["kind"], _image_rows)(report)
    facts({name: value for name, value in rows.items() if value != ""}, title=report["source"])
    if report["kind"] == "stacks":
        _print_channels(report)
    for reason, entry in report["skipped"].items():
        out.print(f"[yellow]skipped {entry['count']}[/]: {reason}")
        for example in entry["examples"]:
            out.print(f"  {example}", markup=False, highlight=False)
    for remark in report["remarks"]:
        out.print(f"[yellow]note[/] {remark}")
    for suggestion in report["suggestions"]:
        out.print(f"\n[bold]{suggestion['recipe']}[/] fits: {suggestion['why']}")
        out.print(f"  [cyan]{suggestion['command']}[/]", soft_wrap=True)


def _found(report: Mapping[str, Any]) -> str:
    found = f"{report['count']} usable of {report['examined']} read"
    if report["examined"] < report["found"]:
        found += f" (a sample of {report['found']})"
    return found


def _image_rows(report: Mapping[str, Any]) -> dict[str, object]:
    return {
        "images": _found(report),
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


def _clip_rows(report: Mapping[str, Any]) -> dict[str, object]:
    seconds, level, clipped = report["seconds"], report["level_db"], report["clipped"]
    offset = report["offset"]
    shifted = f"{offset['count']} clips, at most {offset['largest']:.1%} of full scale"
    return {
        "clips": _found(report),
        "together": _duration(seconds["total"]),
        "length": f"{seconds['min']:.1f} … {seconds['max']:.1f} s, "
        f"median {seconds['median']:.1f} s",
        "groups": f"{report['groups']} by {report['grouped_by']}",
        "sample rates in Hz": _counts(report["sample_rates"]),
        "channels": _counts(report["channels"]),
        "formats": _counts(report["formats"]),
        "level": f"{level['min']:.1f} … {level['max']:.1f} dB of full scale, "
        f"median {level['median']:.1f} dB",
        "clipped": _examples(clipped["count"], clipped["examples"]),
        "constant offset": shifted if offset["count"] else "",
        "changed by rule": _counts(report["notes"]),
        "identical clips": f"{report['duplicates']} sets" if report["duplicates"] else "",
        "other files": _counts(report["ignored"]),
    }


def _stack_rows(report: Mapping[str, Any]) -> dict[str, object]:
    live = sum(node["state"] == "live" for node in report["channels"])
    spread = report["std_spread"]
    return {
        "regions": f"{report['count']} usable of {report['found']} ({report['format']})",
        "sizes": _counts(report["sizes"]),
        "slides": _counts(report["slides"]),
        "patients": _counts(report["patients"]),
        "cell masks": f"{report['masks']} regions" if report["masks"] else "",
        "cells": f"{report['cells']:,}" if report["cells"] else "",
        "channels": f"{len(report['channels'])}, of which {live} vary",
        "scale spread": f"{number(spread)}-fold between the stds of channels" if spread else "",
        "follow each other": "; ".join(
            f"{' ~ '.join(node['channels'])} {node['r']:+.2f}" for node in report["correlated"][:3]
        ),
        "slide against slide": "; ".join(
            f"{node['channel']} {number(node['ratio'])}-fold" for node in report["batch"][:3]
        ),
        "normalisation": " → ".join(report["normalisation"]) or "none",
        "why": " ".join(report["why"]),
    }


def _print_channels(report: Mapping[str, Any]) -> None:
    rows = [
        (
            node["name"],
            number(node["std"]),
            f"{node['zero']:.1%}",
            number(node["percentiles"]["99"]),
            number(node["high"]),
            _state(node),
        )
        for node in report["channels"]
    ]
    table(("channel", "std", "zero", "99 %", "largest", "state"), rows)


def _state(node: Mapping[str, Any]) -> str:
    parts = [] if node["state"] == "live" else [node["state"]]
    if node["silent"]:
        parts.append(f"silent in {len(node['silent'])}")
    if node["saturated"]:
        parts.append(f"{node['saturated']:.1%} at the top")
    return ", ".join(parts) or "live"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _examples(count: int, examples: list[str]) -> str:
    return f"{count} (e.g. {'; '.join(examples[:2])})" if count else ""


def _counts(counts: Mapping[str, int], most: int = 6) -> str:
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:most]]
    left = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {left} more" if left > 0 else "")


def _duplicates(node: Mapping[str, Any], key: str) -> str:
    if not node[key]:
        return ""
    examples = "; ".join(" = ".join(map(str, example)) for example in node["examples"][:2])
    return f"{node[key]} {key} (e.g. {examples})" if examples else f"{node[key]} {key}"
