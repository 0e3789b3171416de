"""Capacity: a wider latent, wider networks."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing

_NARROW_NETWORK = 32  # channels of the finest stage
_NARROW_FEATURES = 64


def widen(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Widen the side that was found to be narrow; both where none was told."""
    latent, width = finding.suggests.get("latent"), finding.suggests.get("width")
    if latent is not None:
        return wider_latent(recipe, factor=int(float(latent)))
    if width is not None:
        return wider_networks(recipe) or None
    return {**wider_latent(recipe), **wider_networks(recipe)}


def wider_latent(recipe: Recipe, *, factor: int = 2) -> dict[str, Any]:
    """Twice (or `factor` times) the numbers per position, and features no narrower than them."""
    width, dim = standing(recipe, "encoder.channels"), standing(recipe, "bottleneck.dim")
    if width is None:  # a pretrained network: as wide as it is
        return {} if dim is None else {"bottleneck.dim": factor * int(dim)}
    channels, kind = int(width), recipe.bottleneck.get("kind")
    if dim is None:  # the features are the latent
        wide = factor * channels if kind == "identity" else max(channels, _NARROW_FEATURES)
        return {"encoder.channels": wide}
    wider = factor * int(dim)
    return {"bottleneck.dim": wider, "encoder.channels": max(channels, _NARROW_FEATURES, wider)}


def wider_networks(recipe: Recipe) -> dict[str, Any]:
    """Twice the width of both networks, at least 32 channels."""
    patch: dict[str, Any] = {}
    for section, key in (("encoder", "width"), ("decoder", "width"), ("decoder", "hidden")):
        width = standing(recipe, f"{section}.{key}")
        if width is not None:
            patch[f"{section}.{key}"] = max(2 * int(width), _NARROW_NETWORK)
    return patch
