"""One vector per map.

Shape letters: B batch, C channels, P positions (any number of axes), D numbers.
"""

from __future__ import annotations

import itertools
from typing import Literal, get_args

from torch import Tensor

from pellucid.errors import unknown_name

Pool = Literal["mean", "max", "flatten"]


def pool(y_BCP: Tensor, how: Pool) -> Tensor:
    """Return (B, D): the mean or maximum over positions (D = C), or all numbers (D = C·P).

    Raises:
        RecipeError: when there is no such pooling.
    """
    check_pool(how)
    if how == "flatten" or y_BCP.ndim == 2:
        return y_BCP.flatten(1)
    positions_BCN = y_BCP.flatten(2)
    return positions_BCN.mean(-1) if how == "mean" else positions_BCN.amax(-1)


def check_pool(how: str) -> None:
    """Refuse a pooling that does not exist.

    Raises:
        RecipeError: naming the nearest.
    """
    if how not in get_args(Pool):
        raise unknown_name("pooling", str(how), get_args(Pool), where="pool")


def column_names(layer: str, shape: tuple[int, ...], how: Pool) -> list[str]:
    """Name the numbers of `pool`: `h.c3` for a channel, `h.c3.0.5` for a position of it.

    Args:
        layer: name of the map.
        shape: (C, P...) of one map.
        how: as for `pool`.
    """
    if how != "flatten":
        return [f"{layer}.c{channel}" for channel in range(shape[0])]
    places = itertools.product(*(range(side) for side in shape[1:]))
    tails = ["".join(f".{index}" for index in place) for place in places]
    return [f"{layer}.c{channel}{tail}" for channel in range(shape[0]) for tail in tails]
