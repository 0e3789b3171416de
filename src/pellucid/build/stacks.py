"""What stacks need between recipe and data: normalisers, and a recipe that names its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.build.construct import construct
from pellucid.data.stacks.cell_data import CellData
from pellucid.data.stacks.normalisers import NORMALISERS, Chain, Step
from pellucid.data.stacks.stack_data import StackData
from pellucid.errors import RecipeError
from pellucid.recipe import Recipe

DEFAULT = ({"kind": "arcsinh"}, {"kind": "zscore"})
"""What stacks without `data.normalise` get: the field's most common choice."""


NORMALISED = (StackData, CellData)
"""Kinds of data with `data.normalise`, and channels that are known once the data is open."""


def reads_stacks(recipe: Recipe) -> bool:
    """Say whether a recipe reads stacks: in tiles, or the cells in them."""
    return recipe.data.get("kind") in ("stacks", "cells")


def build_normaliser(nodes: Sequence[Mapping[str, Any]] | None) -> Chain:
    """Build the unfitted chain of `data.normalise`; null takes `DEFAULT`, [] feeds raw values.

    Raises:
        RecipeError: for an unknown or wrong step.
    """
    nodes = DEFAULT if nodes is None else nodes
    if not isinstance(nodes, list | tuple) or not all(isinstance(n, Mapping) for n in nodes):
        raise RecipeError(
            "normalisers are a list",
            where="data.normalise",
            expected="[{kind: arcsinh, cofactor: 1}, {kind: zscore}]",
            found=nodes,
        )
    steps: list[tuple[str, Step]] = [
        (
            str(node.get("kind")),
            construct("normaliser", NORMALISERS, node, where=f"data.normalise[{place}]"),
        )
        for place, node in enumerate(nodes)
    ]
    return Chain(steps)


def settled(recipe: Recipe, data: Any) -> Recipe:
    """Return the recipe with the channels that its open data (or a list of names) feeds."""
    names = data.names if isinstance(data, NORMALISED) else data
    return recipe.model_copy(update={"data": {**recipe.data, "channels": list(names)}})


def needs_settling(recipe: Recipe) -> bool:
    """Say whether the channels of a recipe are known only once its data is open."""
    return reads_stacks(recipe) and recipe.data.get("channels") is None
