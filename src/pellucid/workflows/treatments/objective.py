"""The objective: weights that let every term be heard."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments import capacity, codes, rate
from pellucid.workflows.treatments.standing import has

_ROLE = "weight."  # suggests {"weight.ssim": 0.1}: the new weight of a term or penalty
_PENALTY_KEYS = {
    "kl": "bottleneck.weight",
    "commitment": "bottleneck.commitment",
    "codebook": "bottleneck.codebook_weight",
    "orthogonality": "bottleneck.orthogonality",
    "usage_entropy": "bottleneck.usage_entropy",
}
_SHARP = 0.1


def rebalance(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Set the weights that were suggested, term by term."""
    patch: dict[str, Any] = {}
    for role, value in finding.suggests.items():
        key = _key(recipe, role.removeprefix(_ROLE)) if role.startswith(_ROLE) else None
        if key is not None:
            patch[key] = float(f"{float(value):.2g}")
    return patch or None


def weigh(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Give a term that is only observed a weight."""
    term = str(finding.suggests.get("term", ""))
    key = _key(recipe, term)
    return None if key is None else {key: float(finding.suggests.get("weight", 1.0))}


def sharpen(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Treat the branch that blurs: rate, decoder, or the loss (by a structural term)."""
    branch = finding.suggests.get("branch")
    if branch == "rate":
        return codes.more_codes(recipe, finding) or rate.lower_kl_weight(recipe, finding)
    if branch == "decoder":
        return capacity.wider_networks(recipe) or None
    if branch == "loss" and not recipe.objective.get("ssim", {}).get("weight"):
        return {"objective.ssim.weight": _SHARP}
    return None


def _key(recipe: Recipe, name: str) -> str | None:
    """Return the recipe key of a term's or penalty's weight."""
    if name in recipe.objective:
        return f"objective.{name}.weight"
    key = _PENALTY_KEYS.get(name)
    return key if key is not None and has(recipe, key) else None
