"""Ways to move a tile that a model may be meant not to notice.

Shape letters: B batch, C channels, H height, W width, S side of the grid of patches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pellucid.functional.dihedral import INVERSE, ORDER, turned

Move = Callable[[Tensor], Tensor]


def moves(
    group: Literal["dihedral", "nodes"], side: int, *, orders: int = 4
) -> list[tuple[str, Move, Move]]:
    """Return (name, move, its undoing) of every element but the identity, or some of many.

    Args:
        group: "dihedral" for the seven other orientations, "nodes" for orders of the patches.
        side: S, for "nodes".
        orders: how many orders of the N! there are; always the same ones.
    """
    if group == "dihedral":
        names = ["as it is", "turned 90°", "turned 180°", "turned 270°"]
        names += ["mirrored", "mirrored, 90°", "mirrored, 180°", "mirrored, 270°"]
        return [
            (
                names[g],
                functools.partial(turned, element=g),
                functools.partial(turned, element=INVERSE[g]),
            )
            for g in range(1, ORDER)
        ]
    generator = torch.Generator().manual_seed(0)
    found = []
    for number in range(orders):
        order = torch.randperm(side * side, generator=generator)
        found.append(
            (
                f"order {number + 1}",
                functools.partial(shuffled, order_N=order),
                functools.partial(shuffled, order_N=order.argsort()),
            )
        )
    return found


def shuffled(x_BCHW: Tensor, order_N: Tensor) -> Tensor:
    """Return tiles whose patch n is patch order[n] of x, row by row.

    Args:
        x_BCHW: sides divide into √N patches.
        order_N: a permutation.
    """
    side = round(len(order_N) ** 0.5)
    patch = x_BCHW.shape[-1] // side
    split = x_BCHW.unflatten(-1, (side, patch)).unflatten(-3, (side, patch))
    rows = split.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)[:, order_N.to(x_BCHW.device)]
    back = rows.unflatten(1, (side, side)).permute(0, 3, 1, 4, 2, 5)
    return back.flatten(4).flatten(2, 3)
