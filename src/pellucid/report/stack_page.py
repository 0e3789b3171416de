"""The page of `pellucid inspect` for stacks: tables, and a picture of every channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.atomic_files import write_atomically
from pellucid.report.page import Html, Section, assemble, fill
from pellucid.report.pictures import Picture, inline
from pellucid.report.sections import channels


def write_stack_page(
    report: Mapping[str, Any], pictures: Mapping[str, Sequence[tuple[str, np.ndarray]]], path: Path
) -> Path:
    """Write one self-contained page about a set of stacks.

    Args:
        report: `StackReport.to_json()`.
        pictures: channel → (region, uint8 (H, W)).
        path: where it goes.

    Raises:
        RunError: when it cannot be written.
    """
    shown = {
        name: [(region, _picture(levels)) for region, levels in regions]
        for name, regions in pictures.items()
    }
    live = sum(node["state"] == "live" for node in report["channels"])
    head = fill(
        "stack_page.html.j2",
        headline=f"{report['count']} {'region' if report['count'] == 1 else 'regions'}, "
        f"{live} of {len(report['channels'])} channels vary.",
        suggestions=report["suggestions"],
    )
    sections = [
        Section("verdict", "Overview", head),
        Section("channels", "Channels", Html(channels.tables(report, pictures=shown))),
    ]
    title = Path(str(report["source"])).name
    write_atomically(path, assemble(title, sections, subtitle="Data report"))
    return path


def _picture(levels_HW: np.ndarray) -> Picture:
    return inline(np.repeat(levels_HW[..., None].astype(np.float32), 3, axis=-1))
