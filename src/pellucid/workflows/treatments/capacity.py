"""Capacity: a wider latent, wider networks."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing

_NARROW_NETWORK = 32  # channels of the finest stage
_NARROW_FEATURES = 64


def widen(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Widen what was found to be narrow: "latent" or "decoder"; both where it was not told."""
    which = finding.suggests.get("widen")
    patch: dict[str, Any] = {}
    if which in (None, "latent"):
        patch |= wider_latent(recipe) or {}
    if which in (None, "decoder"):
        patch |= wider_networks(recipe)
    return patch or None


def wider_latent(recipe: Recipe) -> dict[str, Any] | None:
    """Twice the latent numbers per position, and features no narrower than them."""
    channels = int(standing(recipe, "encoder.channels"))
    dim = standing(recipe, "bottleneck.dim")
    kind = recipe.bottleneck.get("kind")
    if kind == "identity":
        return {"encoder.channels": 2 * channels}
    features = {"encoder.channels": max(channels, _NARROW_FEATURES)}
    if kind == "gaussian":
        return {"bottleneck.dim": 2 * int(dim), **features}
    return {**features, **({} if dim is None else {"bottleneck.dim": 2 * int(dim)})}


def wider_networks(recipe: Recipe) -> dict[str, Any]:
    """Twice the width of both networks, at least 32 channels."""
    patch: dict[str, Any] = {}
    for section, key in (("encoder", "width"), ("decoder", "width"), ("decoder", "hidden")):
        width = standing(recipe, f"{section}.{key}")
        if width is not None:
            patch[f"{section}.{key}"] = max(2 * int(width), _NARROW_NETWORK)
    return patch
