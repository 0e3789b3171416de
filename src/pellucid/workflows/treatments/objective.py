"""The objective: weights that let every term be heard."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments import capacity
from pellucid.workflows.treatments.standing import has, standing

_PENALTY_KEYS = {
    "kl": "bottleneck.weight",
    "commitment": "bottleneck.commitment",
    "codebook": "bottleneck.codebook_weight",
    "orthogonality": "bottleneck.orthogonality",
    "usage_entropy": "bottleneck.usage_entropy",
}


def rebalance(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Multiply the weight of the term that drowns the others by the suggested factor."""
    key = _key(recipe, str(finding.suggests.get("term", "")))
    if key is None or "weight_factor" not in finding.suggests:
        return None
    weight = float(standing(recipe, key)) * float(finding.suggests["weight_factor"])
    return {key: float(f"{weight:.2g}")}


def weigh(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Give a term that is only observed a weight."""
    term = str(finding.suggests.get("term", ""))
    key = _key(recipe, term)
    return None if key is None else {key: float(finding.suggests.get("weight", 1.0))}


def sharpen(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Filter what comes out low-passed; give a decoder of too low a rate a finer stage."""
    if finding.suggests.get("branch") == "loss or output filter":
        return {"postfilter.strength": 0.0} if recipe.data.get("kind") == "images" else None
    if finding.suggests.get("branch") != "decoder" or recipe.decoder.get("kind") != "residual":
        return None
    multipliers = list(standing(recipe, "decoder.multipliers"))
    if 2 ** (len(multipliers) - 1) < int(standing(recipe, "decoder.stride")):
        return {"decoder.multipliers": [1, *multipliers]}
    return capacity.wider_networks(recipe)


def _key(recipe: Recipe, name: str) -> str | None:
    """Return the recipe key of a term's or penalty's weight."""
    if name in recipe.objective:
        return f"objective.{name}.weight"
    key = _PENALTY_KEYS.get(name)
    return key if key is not None and has(recipe, key) else None
