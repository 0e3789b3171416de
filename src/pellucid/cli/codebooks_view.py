"""Codebooks beside one another, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.cli.console import metric as metric_text
from pellucid.cli.console import number, signed_metric, table


def print_codebooks(comparison: Mapping[str, Any]) -> None:
    """Print the scores of codebooks, then PSNR differences from the first."""
    keys = ("psnr", "psnr_gap", "latent_distance", "path_length", "pulled_back_length")
    rows = []
    for label, node in comparison["codebooks"].items():
        tuned = (node["tuning"] or {}).get("psnr_after")
        scores = node["scores"]
        cells = [metric_text(scores["psnr"]), *(number(scores[key]["value"]) for key in keys[1:])]
        used = f"{scores['code_usage']['value']:.0%}"
        rows.append((label, *cells, used, "–" if tuned is None else metric_text(tuned)))
    headings = ("codebook", "PSNR", "lost, dB", "latent L2", "path", "pulled back", "used", "tuned")
    table(headings, rows)
    pairs = [
        (f"{node['codebook']} − {node['baseline']}", signed_metric(node), node["n"])
        for node in comparison["differences"]
    ]
    if pairs:
        table(("PSNR, paired", "difference (95 %)", "n"), pairs)
