"""Interleaved blocks inside an image, with a margin between training and held-out ones.

Left/right halves of one tissue section are different tissue: on a 41-channel breast section even
the training mean then has R² −0.8 on the other half. Blocks that interleave see the same tissue,
and the margin keeps them from seeing the same cells.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from pellucid.data.splits import Fractions
from pellucid.errors import DataError

# the plastic number's powers: an additive sequence that spreads evenly over rows and columns
_PHI = (0.7548776662466927, 0.5698402909980532)


@dataclasses.dataclass(frozen=True)
class Block:
    """A rectangle of one region.

    Args:
        region: its place in the list.
        top: first row.
        left: first column.
        height: pixels.
        width: pixels.
    """

    region: int
    top: int
    left: int
    height: int
    width: int

    def shrunk(self, margin: int) -> Block:
        """Return the block without `margin` pixels on each side."""
        return Block(
            self.region,
            self.top + margin,
            self.left + margin,
            max(0, self.height - 2 * margin),
            max(0, self.width - 2 * margin),
        )

    def places(self, size: int) -> list[tuple[int, int]]:
        """Return top and left of as many separate tiles as fit, evenly spread."""
        return [
            (top, left)
            for top in _spread(self.top, self.height, size)
            for left in _spread(self.left, self.width, size)
        ]


def cut(region: int, height: int, width: int, side: int) -> list[Block]:
    """Cut a region into equal blocks of at least `side` pixels (or itself) that cover it."""
    rows, columns = (
        np.linspace(0, size, max(1, size // side) + 1).round().astype(int)
        for size in (height, width)
    )
    return [
        Block(region, int(a), int(c), int(b - a), int(d - c))
        for a, b in itertools.pairwise(rows)
        for c, d in itertools.pairwise(columns)
    ]


def interleave(blocks: list[Block], fractions: Fractions, seed: int, where: object) -> list[str]:
    """Return the split of every block: held-out ones spread evenly over every region.

    Blocks are ranked by an additive low-discrepancy sequence over rows and columns; the first
    shares are the test and, from the middle on, the validation blocks.

    Raises:
        DataError: when there are fewer blocks than splits.
    """
    wanted = 1 + (fractions.validation > 0) + (fractions.test > 0)
    if len(blocks) < wanted:
        raise DataError(
            "too few blocks to split",
            where=where,
            expected=f"at least {wanted} blocks (train and every held-out share above 0)",
            found=len(blocks),
            hint="a smaller data.block, or data.split=region",
        )
    shift = np.random.Generator(np.random.Philox(key=[seed, 7])).random()
    rows = {b.top: i for i, b in enumerate(sorted({b.top: b for b in blocks}.values(), key=_top))}
    columns = {
        b.left: i for i, b in enumerate(sorted({b.left: b for b in blocks}.values(), key=_left))
    }
    place = [
        (shift + rows[b.top] * _PHI[0] + columns[b.left] * _PHI[1] + 0.618 * b.region) % 1
        for b in blocks
    ]
    ranked = np.argsort(place, kind="stable")
    test, validation = (
        max(1, round(share * len(blocks))) if share > 0 else 0
        for share in (fractions.test, fractions.validation)
    )
    split = ["train"] * len(blocks)
    middle = max(test, (len(blocks) + test - validation) // 2)
    for name, chosen in (
        ("test", ranked[:test]),
        ("validation", ranked[middle : middle + validation]),
    ):
        for number in chosen:
            split[int(number)] = name
    return split


def _top(block: Block) -> int:
    return block.top


def _left(block: Block) -> int:
    return block.left


def _spread(start: int, length: int, size: int) -> list[int]:
    count = length // size
    if count == 0:
        return []
    slack = length - count * size
    return [
        start + number * size + round(slack * (number + 0.5) / count) for number in range(count)
    ]
