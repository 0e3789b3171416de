"""Codes: how often each is used over the whole split, which are dead, what a code is worth."""

from __future__ import annotations

import itertools
import math
from typing import Any

from pellucid.report.charts import Rule, Series, line_chart
from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Html, Section, fill
from pellucid.report.tree import tree
from pellucid.report.wording import count, finite, number, percent


def section(contents: RunContents) -> Section:
    """Show usage per level; for a run without codes, the latent's own numbers."""
    levels = contents.evaluated("codes", "levels")
    levels = [mapping(level) for level in levels] if isinstance(levels, list) else []
    charts = [c for k, level in enumerate(levels) for c in _charts(k, level, len(levels))]
    html = fill(
        "codes.html.j2",
        levels=[_level(k, level) for k, level in enumerate(levels)],
        charts=charts,
        latent=_latent(contents),
        evaluated=contents.evaluation is not None,
        run=contents.path,
    )
    return Section("codes", "Codes" if levels else "Latent", html)


def _level(k: int, level: Any) -> dict[str, str]:
    counts = finite(level.get("counts") or [])
    size, used = len(counts), sum(c > 0 for c in counts)
    usage = level.get("usage", used / size if size else None)
    most = f"{math.log2(size):.2f}" if size else "—"
    return {
        "level": str(k + 1),
        "codes": count(size) if size else "—",
        "used": f"{count(used)} ({percent(usage)})" if size else percent(usage),
        "dead": count(size - used) if size else "—",
        "perplexity": number(level.get("perplexity"), places=1),
        "entropy": f"{number(level.get('entropy_bits'), places=2)} of {most}",
    }


def _charts(k: int, level: Any, levels: int) -> list[Html]:
    """Draw the sorted use of one level's codes; for a single level, also what the top k cover."""
    counts = level.get("counts")
    if not isinstance(counts, list) or not finite(counts) or sum(finite(counts)) <= 0:
        return []
    ordered = sorted(finite(counts), reverse=True)
    size, total = len(ordered), sum(ordered)
    ranks = list(range(1, size + 1))
    dead = sum(c == 0 for c in ordered)
    dead_rule = [Rule(float(size - dead), f"{count(dead)} dead →", vertical=True)] if dead else []
    used = line_chart(
        f"Level {k + 1}: codes by use" if levels > 1 else "Codes by use",
        [Series("share", ranks, [100 * c / total for c in ordered], filled=True)],
        x_label="code, most used first",
        y_label="share of positions, %",
        zero=True,
        rules=[Rule(100 / size, "if all codes were equal"), *dead_rule],
    )
    if levels > 1:
        return [used]
    covered = [100 * c / total for c in itertools.accumulate(ordered)]
    cover = line_chart(
        "Positions covered",
        [
            Series("this codebook", ranks, covered),
            Series(
                "if all codes were equal", ranks, [100 * r / size for r in ranks], 5, faint=True
            ),
        ],
        x_label="codes, most used first",
        y_label="share of positions, %",
        zero=True,
    )
    return [used, cover]


def _latent(contents: RunContents) -> Html:
    """Show the latent's shape and rate; a Gaussian's KL dimension by dimension as a chart."""
    latent = dict(mapping(contents.evaluated("latent")))
    sorted_kl = latent.pop("kl_sorted_nats", None)
    chart = Html("")
    if isinstance(sorted_kl, list) and finite(sorted_kl):
        chart = line_chart(
            "KL of each latent dimension, sorted",
            [Series("KL", list(range(1, len(sorted_kl) + 1)), sorted_kl, filled=True)],
            x_label="dimension, most informative first",
            y_label="nats",
            zero=True,
        )
    return fill("latent.html.j2", facts=tree(latent) if latent else "", chart=chart)
