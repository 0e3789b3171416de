"""Codes: codebooks that are used, large enough, owned by one, and near what they code."""

from __future__ import annotations

from typing import Any

from pellucid.diagnosis.evidence import Finding
from pellucid.recipe import Recipe
from pellucid.workflows.treatments import capacity
from pellucid.workflows.treatments.standing import has, standing

_FOLLOWS = 0.9  # EMA decay that follows a moving encoder
_LOW_DIM = 8
_GROWTH = 4
_COMMITMENT = 0.25
_WIDEST = 2**16  # codes
_FINER_GRID = {3: 5, 4: 7, 5: 8, 6: 10, 7: 10, 8: 12}  # grid points per FSQ dimension


def revive(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Start from k-means, restart dead codes and follow the encoder; else search by direction."""
    if not has(recipe, "bottleneck.init"):
        return None
    patch: dict[str, Any] = {}
    if standing(recipe, "bottleneck.init") != "kmeans":
        patch["bottleneck.init"] = "kmeans"
    threshold = standing(recipe, "bottleneck.restart_threshold")
    if threshold is not None:  # None is a quarter of an even split, the most it may mean
        patch["bottleneck.restart_threshold"] = None
    if standing(recipe, "bottleneck.decay") > _FOLLOWS:
        patch["bottleneck.decay"] = _FOLLOWS
    return patch or _tame(recipe)


def _tame(recipe: Recipe) -> dict[str, Any] | None:
    """Low-dimensional, then normalised codes (Yu et al. 2021, section 3.2)."""
    dim = standing(recipe, "bottleneck.dim")
    if dim is None or dim > _LOW_DIM:
        return {"bottleneck.dim": _LOW_DIM}
    return None if standing(recipe, "bottleneck.cosine") else {"bottleneck.cosine": True}


def more_codes(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Four times the codes, twice the residual levels, or a finer grid."""
    kind = recipe.bottleneck.get("kind")
    if kind in ("vq", "simvq"):
        codes = int(standing(recipe, "bottleneck.codes"))
        wanted = int(finding.suggests.get("codes", _GROWTH * codes))
        return {"bottleneck.codes": min(wanted, _WIDEST)} if codes < _WIDEST else None
    if kind == "rvq":
        return {"bottleneck.levels": 2 * int(standing(recipe, "bottleneck.levels"))}
    if kind in ("lfq", "bsq"):
        from pellucid.bottlenecks.lfq import MOST_BITS

        bits = int(standing(recipe, "bottleneck.bits"))
        return {"bottleneck.bits": min(bits + 2, MOST_BITS)} if bits < MOST_BITS else None
    if kind == "fsq":
        levels = standing(recipe, "bottleneck.levels")
        finer = [_FINER_GRID.get(level, level) for level in levels]
        # a dimension more keeps every one coarse, where rounding is best behaved
        return {"bottleneck.levels": [*finer, 5] if len(finer) < 6 else finer}
    return None


def one_owner(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Let a moving average own the codebook, alone."""
    return {"bottleneck.update": "ema"} if has(recipe, "bottleneck.update") else None


def hold_latent(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """Commit the encoder to its codes, by the usual weight or four times its own."""
    if not has(recipe, "bottleneck.commitment"):
        return None
    stands = float(standing(recipe, "bottleneck.commitment"))
    wanted = float(finding.suggests.get("commitment", _COMMITMENT))
    wanted = wanted if wanted > stands else _GROWTH * stands
    patch: dict[str, Any] = {"bottleneck.commitment": wanted}
    if standing(recipe, "bottleneck.update") == "ema":
        patch["bottleneck.decay"] = min(_FOLLOWS, standing(recipe, "bottleneck.decay"))
    return patch


def raise_rate(recipe: Recipe, finding: Finding) -> dict[str, Any] | None:
    """More codes where there are codes, else a wider latent."""
    return more_codes(recipe, finding) or capacity.wider_latent(recipe)
