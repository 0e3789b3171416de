"""Probe: how well a linear classifier reads tiles from frozen latents, beside plain features."""

from __future__ import annotations

from pellucid.report.contents import RunContents, mapping, measured
from pellucid.report.page import Section, fill
from pellucid.report.wording import count, is_number, percent


def section(contents: RunContents) -> Section:
    """Show accuracy by question and features."""
    found = contents.evaluated("probe")
    probes = [mapping(node) for node in found] if isinstance(found, list) else []
    html = fill("probe.html.j2", tables=[_table(node) for node in probes], run=contents.path)
    return Section("probe", "What latents know", html)


def _table(node) -> dict[str, object]:
    numbers = mapping(node.get("numbers"))
    rows = []
    for name, value in mapping(node.get("accuracy")).items():
        metric = measured(value)
        if metric is None:
            continue
        spread = f"{percent(metric.low)} … {percent(metric.high)}" if metric.low is not None else ""
        size = numbers.get(name)
        rows.append(
            {
                "name": str(name),
                "numbers": count(size) if is_number(size) else "—",
                "accuracy": percent(metric.value),
                "spread": spread,
                "convention": metric.convention,
            }
        )
    rows.append(
        {
            "name": "always the most frequent",
            "numbers": "0",
            "accuracy": percent(node.get("chance")),
            "spread": "",
            "convention": "",
        }
    )
    return {"question": str(node.get("question")), "classes": node.get("classes"), "rows": rows}
