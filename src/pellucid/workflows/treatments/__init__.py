"""Treatments: what a finding changes in a recipe, one function per idea.

A treatment is `(recipe, finding) -> patch | None`: dotted recipe keys and their new values, or None
where a recipe cannot express the cure. A further one is a function and a line in `TREATMENTS`.
Rows that are missing here are faults of code, not of a recipe: they get plain advice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments import (
    artefacts,
    capacity,
    codes,
    generalisation,
    objective,
    permutation,
    posterior,
    rate,
    training,
    units,
)

Patch = dict[str, Any]
Treatment = Callable[[Recipe, Finding], Patch | None]

TREATMENTS: dict[str, Treatment] = {
    "range-mismatch": units.open_head,
    "output-saturation": units.open_head,
    "metric-range": units.standard_range,
    "channel-scale-imbalance": units.normalise_channels,
    "rate-starvation": rate.lower_kl_weight,
    "posterior-collapse": rate.reopen_latent,
    "free-bits-floor": rate.lower_floor,
    "posterior-variance-floor": posterior.free_variance,
    "logvar-blow-up": posterior.clamp_variance,
    "codebook-collapse": codes.revive,
    "codebook-too-small": codes.more_codes,
    "codebook-ownership": codes.one_owner,
    "commitment-drift": codes.hold_latent,
    "unattainable-target": codes.raise_rate,
    "under-training": training.train_on,
    "learning-rate": training.usual_learning_rate,
    "nan-or-overflow": training.steady,
    "stale-ema": training.shorter_average,
    "capacity-limit": capacity.widen,
    "loss-imbalance": objective.rebalance,
    "inert-loss": objective.weigh,
    "blur": objective.sharpen,
    "permutation-variance": permutation.decide,
    "overfitting": generalisation.augment,
    "split-leak": generalisation.coarser_groups,
    "checkerboard": artefacts.overlap_patches,
}


def propose(recipe: Recipe, finding: Finding) -> Patch:
    """Return what to change in a recipe against a finding; empty where only advice helps.

    Keys that already stand at their new value are left out.

    Args:
        recipe: the recipe of the run that was diagnosed.
        finding: what was found; its `suggests` carry the numbers.
    """
    from pellucid.workflows.treatments.standing import standing

    treatment = TREATMENTS.get(finding.id)
    patch = treatment(recipe, finding) if treatment is not None else None
    return {key: value for key, value in (patch or {}).items() if standing(recipe, key) != value}


def apply_patch(recipe: Recipe, patch: Mapping[str, Any]) -> Recipe:
    """Return the recipe with a patch applied.

    Raises:
        RecipeError: when a key names no section of a recipe.
    """
    from pellucid.recipe import apply_overrides

    sections: dict[str, Any] = {}
    for key, value in patch.items():
        *path, last = key.split(".")
        node = sections
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return apply_overrides(recipe, sections=sections)
