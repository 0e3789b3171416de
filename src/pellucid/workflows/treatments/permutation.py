"""Permutation: let a learned permuter come to a decision."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing

_COOLER = 5.0


def decide(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Cool the permuter further, within the first half of training."""
    if (recipe.permuter or {}).get("kind") != "learned":
        return None
    final = float(standing(recipe, "permuter.final_temperature")) / _COOLER
    half = int(standing(recipe, "training.steps")) // 2
    steps = min(int(standing(recipe, "permuter.anneal_steps")) or half, half)
    return {"permuter.final_temperature": final, "permuter.anneal_steps": steps}
