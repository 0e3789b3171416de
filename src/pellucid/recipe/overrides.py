"""`key.path=value` on top of a recipe."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pellucid.errors import RecipeError, unknown_name
from pellucid.recipe.schema import Node, Recipe
from pellucid.recipe.text import parse_yaml


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `training.steps=500` into its path and its YAML value.

    Raises:
        RecipeError: when there is no `=`, or a part of the path is empty.
    """
    path, separator, value = text.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise RecipeError("cannot read an override", expected="key.path=value", found=text)
    return keys, parse_yaml(value, where=text)


def apply_overrides(
    recipe: Recipe, overrides: Iterable[str] = (), sections: Mapping[str, Any] | None = None
) -> Recipe:
    """Return a new recipe with overrides applied.

    A node whose `kind` changes starts empty: keywords of the old kind do not leak into the new one.
    Component keywords are checked later, by `build`, against the component's signature.

    Args:
        recipe: the recipe to start from; it is not changed.
        overrides: texts like "bottleneck.codes=1024".
        sections: nested values by section, e.g. {"data": {"path": "photos"}}.

    Raises:
        RecipeError: for an unknown section, with the nearest name.
    """
    node = recipe.to_node()
    for name, section in (sections or {}).items():
        if section == {} and name in Recipe.model_fields:
            node.setdefault(name, {})  # `balancer={}` asks for the section's defaults
    pairs = [parse_override(text) for text in overrides]
    pairs += list(_flatten(sections or {}))
    # kinds first, so that `bottleneck.codes=64 bottleneck.kind=vq` works in either order
    for keys, value in sorted(pairs, key=lambda pair: pair[0][-1] != "kind"):
        if keys[0] not in Recipe.model_fields:
            raise unknown_name("recipe section", keys[0], Recipe.model_fields, where=".".join(keys))
        _assign(node, keys, value)
    return Recipe.from_node(node, where="recipe with overrides")


def _flatten(
    node: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> Iterable[tuple[list[str], Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, (*prefix, key))
        else:
            yield [*prefix, key], value


def _assign(node: Node, keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys[:-1]):
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            where = ".".join(keys[: depth + 1])
            raise RecipeError(f"'{where}' is a value, not a section", where=".".join(keys))
        node = child
    last = keys[-1]
    if last == "kind" and node.get("kind") not in (None, value):
        node.clear()
    node[last] = copy.deepcopy(value)
