"""Generalisation: more variety in training, splits that keep relatives together."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import has, standing

_DECAY = 0.05
_NOISE = 0.05
_COARSER = {"file": "stem", "stem": "folder"}


def augment(recipe: Recipe, finding: Finding) -> dict[str, Any]:
    """Mirror and crop at random, decay the weights; then noise on the input, the target clean."""
    patch: dict[str, Any] = {}
    whole = standing(recipe, "data.path") is None and standing(recipe, "data.resize") is None
    for key in ("data.flip", *(() if whole else ("data.random_crop",))):
        if has(recipe, key) and not standing(recipe, key):
            patch[key] = True
    if standing(recipe, "training.weight_decay") < _DECAY:
        patch["training.weight_decay"] = _DECAY
    if not patch and has(recipe, "data.noise"):
        patch["data.noise"] = max(_NOISE, 2 * standing(recipe, "data.noise"))
    return patch


def coarser_groups(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Keep numbered files, then whole folders, on one side of the split."""
    if standing(recipe, "data.path") is None:  # a named set has splits of its own
        return None
    coarser = _COARSER.get(str(standing(recipe, "data.group")))
    return None if coarser is None else {"data.group": coarser}
