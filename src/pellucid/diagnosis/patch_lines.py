"""A treatment's recipe keys as lines of YAML, for pages and terminals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def patch_lines(patch: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Return (is it new, line) for dotted keys: sections as they stand, values that are set.

    Args:
        patch: e.g. {"bottleneck.weight": 1.2e-4}.
    """
    lines: list[tuple[bool, str]] = []
    open_sections: list[str] = []
    for key in sorted(patch):
        *sections, name = key.split(".")
        shared = 0
        for mine, theirs in zip(sections, open_sections, strict=False):
            if mine != theirs:
                break
            shared += 1
        for depth in range(shared, len(sections)):
            lines.append((False, f"{'  ' * depth}{sections[depth]}:"))
        open_sections = sections
        lines.append((True, f"{'  ' * len(sections)}{name}: {_written(patch[key])}"))
    return lines


def _written(value: Any) -> str:
    """Write a value as YAML reads it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
