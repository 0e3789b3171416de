"""The recipe: everything that was asked for."""

from __future__ import annotations

from pellucid.report.contents import RunContents
from pellucid.report.page import Section, fill
from pellucid.report.yaml_highlight import highlight


def section(contents: RunContents) -> Section:
    """Show recipe.yaml as it is, highlighted."""
    text = contents.recipe
    html = fill("recipe.html.j2", recipe=highlight(text) if text else None)
    return Section("recipe", "Recipe", html)
