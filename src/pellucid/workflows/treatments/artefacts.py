"""Artefacts: patches that fade into each other."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing


def overlap_patches(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Let patches reach a quarter of their side into their neighbours.

    The residual decoder enlarges by resize-convolutions already and has nothing to change.
    """
    if recipe.decoder.get("kind") != "patch":
        return None
    quarter = max(1, int(standing(recipe, "decoder.patch")) // 4)
    return {"decoder.overlap": quarter} if standing(recipe, "decoder.overlap") < quarter else None
