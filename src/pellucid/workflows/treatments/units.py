"""Units: the output head and the data's range under one contract."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing

_STANDARD = [-1.0, 1.0]


def open_head(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Take the bound off the output, and bring the data to [−1, 1]; cells are never bounded."""
    if recipe.data.get("kind") == "cells":
        return None
    return {"decoder.head": "none", **standard_range(recipe, finding)}


def standard_range(recipe: Recipe, finding: Finding) -> dict[str, Any]:
    """Bring the data to [−1, 1] unless they are in [0, 1] already."""
    low, high = standing(recipe, "data.value_range") or _STANDARD
    return {} if (low, high) in {(0, 1), (-1, 1)} else {"data.value_range": list(_STANDARD)}


def normalise_channels(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Compress counts and standardise every channel by training values; stacks and cells only."""
    if recipe.data.get("kind") not in ("stacks", "cells"):
        return None
    steps = recipe.data.get("normalise")
    if steps is None or any(step.get("kind") == "zscore" for step in steps):
        return None
    return {"data.normalise": [{"kind": "arcsinh", "cofactor": 1.0}, {"kind": "zscore"}]}
