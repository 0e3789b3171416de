"""What a run's weights went through before it: the runs it started from, oldest last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.workflows.run import Run

_COST = ("step", "seconds", "parameters", "environment")


def ancestry(start: Run) -> dict[str, Any]:
    """Return the content of start.json for a run that starts from another's weights.

    Returns:
        {"recipe", "digest", "step", "seconds", "parameters", "environment", "objective", "start"},
        the last being the same of what that run started from, or None.
    """
    # Weights alone, with a recipe, are enough to start from; what they cost is then not known.
    status = start.status() if start.folder.run.is_file() else {}
    told = {key: status[key] for key in _COST if key in status}
    return {
        "recipe": start.recipe.name,
        "digest": start.digest(),
        **told,
        "objective": start.recipe.objective,
        "start": start.started_from(),
    }


def cost(status: Mapping[str, Any]) -> str:
    """Return steps, time and machine of run.json or of one generation of start.json, in words."""
    if "step" not in status:
        return "an unknown number of steps"
    environment = status.get("environment", {})
    return (
        f"{status['step']} steps, {float(status.get('seconds') or 0) / 3600:.1f} hours on "
        f"{environment.get('device', '?')} ({environment.get('threads', '?')} thread(s), "
        f"{environment.get('precision', '?')})"
    )


def told(start: Mapping[str, Any] | None) -> list[str]:
    """Return a line for every generation, the nearest first."""
    lines = []
    while start:
        terms = ", ".join(
            f"{name} {term['weight']:g}"
            for name, term in start["objective"].items()
            if term["weight"] > 0
        )
        lines.append(f"{cost(start)} of `{start['recipe']}` (objective: {terms})")
        start = start.get("start")
    return lines
