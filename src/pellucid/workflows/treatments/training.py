"""Training: how long, how fast, and which average of the weights is kept."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing

_LONGER = 3
_FEWEST = 500  # steps; no network of this size has learned in fewer
_CRAWL = 20  # times below the usual rate
_USUAL = 1e-3  # AdamW, networks of this size
_NEAR = 3.2  # a factor within which a learning rate is no fault
_EDGE = 9  # a little less than the widest factor that is tried
_HORIZONS = 20  # averaging horizons that fit into a run
_SHORTEST = 0.9


def train_on(recipe: Recipe, finding: Finding) -> dict[str, Any]:
    """Three times the steps, at least 500; at the usual rate where the recipe's is a crawl."""
    steps = int(standing(recipe, "training.steps"))
    patch: dict[str, Any] = {"training.steps": max(_LONGER * steps, _FEWEST)}
    if float(standing(recipe, "training.learning_rate")) < _USUAL / _CRAWL:
        patch["training.learning_rate"] = _USUAL
    return patch


def usual_learning_rate(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """The measured best learning rate, else the usual one.

    A best at the edge of what was tried (ten times more or less) may lie further out: then the
    usual one is taken where it does.
    """
    stands = float(standing(recipe, "training.learning_rate"))
    if "learning_rate" in finding.suggests:
        wanted = float(finding.suggests["learning_rate"])
        if wanted > _EDGE * stands:
            wanted = max(wanted, _USUAL)
        elif wanted * _EDGE < stands:
            wanted = min(wanted, _USUAL)
        return {"training.learning_rate": float(f"{wanted:.2g}")}
    if 1 / _NEAR <= stands / _USUAL <= _NEAR:
        return None
    return {"training.learning_rate": _USUAL}


def steady(recipe: Recipe, finding: Finding) -> dict[str, Any]:
    """Full precision, clipped gradients and a learning rate that is not above the usual."""
    rate = float(standing(recipe, "training.learning_rate"))
    return {
        "training.precision": "float32",
        "training.clip_norm": min(1.0, standing(recipe, "training.clip_norm") or 1.0),
        "training.learning_rate": min(rate, _USUAL),
    }


def shorter_average(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Shorten the average of the weights until it forgets its start well within the run."""
    decay = standing(recipe, "training.ema_decay")
    if decay is None:
        return None
    fits = max(_SHORTEST, 1 - _HORIZONS / int(standing(recipe, "training.steps")))
    return {"training.ema_decay": round(min(float(decay), fits), 4)}
