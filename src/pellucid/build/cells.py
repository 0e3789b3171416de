"""Recipe → the autoencoder of windows of cells; the tables are its own: cells are no pictures."""

from __future__ import annotations

import inspect
from typing import Any

from pellucid.bottlenecks import BOTTLENECKS
from pellucid.build.construct import construct
from pellucid.data.stacks.cell_data import CellData
from pellucid.data.stacks.cell_graphs import Neighbourhood
from pellucid.errors import RecipeError
from pellucid.models.cell_autoencoder import CellAutoencoder
from pellucid.nn.graph.cells import CellDecoder, CellEncoder
from pellucid.nn.permuters import PERMUTERS, Permuter
from pellucid.nn.permuters.frame import Frame
from pellucid.recipe import Recipe

CELL_ENCODERS = {"cells": CellEncoder}
CELL_DECODERS = {"cells": CellDecoder}
CELL_PERMUTERS = {"learned": Frame}


def is_cells(recipe: Recipe) -> bool:
    """Say whether a recipe reads windows of cells."""
    return recipe.data.get("kind") == "cells"


def window_keywords(recipe: Recipe) -> tuple[float, float, Neighbourhood]:
    """Return side and unit of a recipe's windows, and who is whose neighbour in them."""
    defaults = inspect.signature(CellData).parameters
    told = {
        name: recipe.data.get(name, defaults[name].default)
        for name in ("window", "unit", "neighbours", "k", "longest")
    }
    return (
        float(told["window"]),
        float(told["unit"]),
        Neighbourhood(told["neighbours"], told["k"], told["longest"]),
    )


def assemble_cells(recipe: Recipe, channels: int) -> CellAutoencoder:
    """Build the parts for cells of so many markers, from the generator's present state.

    With `per_node` a second bottleneck of the same kind stands between cells and decoder.

    Raises:
        RecipeError: for a wrong component.
    """
    encoder: Any = construct(
        "encoder of cells",
        CELL_ENCODERS,
        recipe.encoder,
        where="encoder",
        given={"in_channels": channels},
    )

    def bottleneck() -> Any:
        return construct(
            "bottleneck",
            BOTTLENECKS,
            recipe.bottleneck,
            where="bottleneck",
            given={"channels": encoder.channels},
        )

    of_tokens = bottleneck()
    decoder: Any = construct(
        "decoder of cells",
        CELL_DECODERS,
        recipe.decoder,
        where="decoder",
        given={"in_channels": of_tokens.out_channels, "out_channels": channels},
    )
    of_cells = bottleneck() if encoder.per_node else None
    return CellAutoencoder(encoder, of_tokens, decoder, _permuter(recipe, channels), of_cells)


def _permuter(recipe: Recipe, channels: int) -> Permuter | None:
    node = recipe.permuter
    if node is None or node.get("kind") == "off":
        return None
    if node.get("kind") in PERMUTERS and node.get("kind") not in CELL_PERMUTERS:
        raise _no_order(str(node.get("kind")))
    if node.get("kind") == "learned" and node.get("over", "turns") != "turns":
        raise _no_order(f"learned over {node.get('over')}")
    rest = {key: value for key, value in node.items() if key != "over"}
    given = {"channels": channels}
    return construct("permuter of cells", CELL_PERMUTERS, rest, where="permuter", given=given)


def _no_order(kind: str) -> RecipeError:
    return RecipeError(
        f"the permuter '{kind}' moves patches of a grid, and cells lie on none",
        where="permuter.kind",
        expected="off, or learned (turns and mirrors): latents are the same in every order of the "
        "cells already",
    )
