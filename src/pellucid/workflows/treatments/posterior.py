"""The posterior's variance: room to become small, bounds where it runs away."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import has, standing

_ROOM = (-30.0, 20.0)  # nats; between them float32 neither vanishes nor overflows


def free_variance(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Lower the clamp of the log-variance to where no posterior reaches it."""
    if not has(recipe, "bottleneck.logvar_range"):
        return None
    low, high = standing(recipe, "bottleneck.logvar_range")
    return {"bottleneck.logvar_range": [min(low, _ROOM[0]), high]}


def clamp_variance(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Clamp the log-variance to [−30, 20]."""
    if not has(recipe, "bottleneck.logvar_range"):
        return None
    low, high = standing(recipe, "bottleneck.logvar_range")
    return {"bottleneck.logvar_range": [max(low, _ROOM[0]), min(high, _ROOM[1])]}
