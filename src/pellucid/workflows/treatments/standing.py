"""What a recipe key stands at: the value that is written, else the component's own default."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pellucid.recipe import Recipe


def standing(recipe: Recipe, key: str) -> Any:
    """Return the value a run of this recipe uses for `section.keyword`, or None without one.

    Args:
        recipe: the recipe.
        key: e.g. "bottleneck.decay", "training.steps", "objective.ssim.weight".
    """
    section, *rest = key.split(".")
    node = getattr(recipe, section, None)
    for part in rest:
        if not isinstance(node, dict):
            return None
        if part not in node:
            return _default(recipe, section, part) if len(rest) == 1 else None
        node = node[part]
    return list(node) if isinstance(node, tuple) else node


def has(recipe: Recipe, key: str) -> bool:
    """Say whether the section's component has this keyword."""
    section, _, name = key.partition(".")
    component = _component(recipe, section)
    return component is not None and name in inspect.signature(component).parameters


def _default(recipe: Recipe, section: str, name: str) -> Any:
    component = _component(recipe, section)
    parameters = {} if component is None else inspect.signature(component).parameters
    if name not in parameters or parameters[name].default is inspect.Parameter.empty:
        return None
    default = parameters[name].default
    return list(default) if isinstance(default, tuple) else default


def _component(recipe: Recipe, section: str) -> Callable[..., Any] | None:
    from pellucid.bottlenecks import BOTTLENECKS
    from pellucid.data import DATA
    from pellucid.nn import DECODERS, ENCODERS
    from pellucid.nn.permuters import PERMUTERS
    from pellucid.nn.postfilter import Postfilter
    from pellucid.training.fit import fit
    from pellucid.workflows.evaluate import measurement_of

    if section == "training":
        return fit
    if section == "postfilter":
        return Postfilter
    if section == "evaluation":
        return measurement_of(recipe)
    tables: dict[str, Any] = {
        "data": DATA,
        "encoder": ENCODERS,
        "bottleneck": BOTTLENECKS,
        "decoder": DECODERS,
        "permuter": PERMUTERS,
    }
    kind = (getattr(recipe, section) or {}).get("kind") if section in tables else None
    return tables[section].get(kind) if kind is not None else None
