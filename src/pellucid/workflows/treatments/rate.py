"""Rate: how much a Gaussian latent pays for its nats.

w is the multiplier of ΣKL beside a mean-reduced squared error of D elements; a noise variance equal
to the error has w = 2·MSE/D (Rybkin et al. 2021, "Simple and effective VAE training with calibrated
decoders").
"""

from __future__ import annotations

import math
from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing

_BLIND_STEP = 10  # how far the weight is lowered when no number is suggested
_CLEARLY = 3  # times too heavy before a second thing is changed
_ANNEALED_SHARE = 4  # of the steps: a quarter


def lower_kl_weight(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Lower the KL weight to what the error is worth."""
    if recipe.bottleneck.get("kind") != "gaussian":
        return None
    weight = float(standing(recipe, "bottleneck.weight"))
    target = finding.suggests.get("kl_weight")
    if isinstance(target, (int, float)) and target > 0:
        lowered = float(target) * _squared_error_weight(recipe)
    else:
        lowered = weight / _BLIND_STEP
    return {"bottleneck.weight": _two_digits(lowered)} if lowered < weight else None


def reopen_latent(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Lower the KL weight and let it rise slowly, so that the latent is used before it costs."""
    patch = lower_kl_weight(recipe, finding)
    if patch is None:
        return None
    steps = int(standing(recipe, "training.steps")) // _ANNEALED_SHARE
    stands = int(standing(recipe, "bottleneck.anneal_steps"))
    return {**patch, "bottleneck.anneal_steps": max(steps, stands)}


def lower_floor(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Take the floor away, and the weight down where the error says so."""
    if recipe.bottleneck.get("kind") != "gaussian":
        return None
    lowered = lower_kl_weight(recipe, finding) if "kl_weight" in finding.suggests else None
    far = _CLEARLY * float((lowered or {}).get("bottleneck.weight", math.inf))
    too_heavy = float(standing(recipe, "bottleneck.weight")) > far
    return {"bottleneck.free_nats": 0.0, **(lowered if lowered and too_heavy else {})}


def _squared_error_weight(recipe: Recipe) -> float:
    """A suggestion stands beside a squared error of weight 1."""
    weight = float(recipe.objective.get("l2", {}).get("weight", 0))
    return weight if weight > 0 else 1.0


def _two_digits(number: float) -> float:
    return float(f"{number:.2g}")
