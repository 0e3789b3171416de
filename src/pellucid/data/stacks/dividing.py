"""Divide regions, or blocks inside them, between train, validation and test."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pellucid.data.splits import Fractions, division_record, keep_or_assign
from pellucid.data.stacks.blocks import Block, cut, interleave
from pellucid.data.stacks.regions import Region
from pellucid.errors import DataError, unknown_name

Division = Literal["auto", "region", "slide", "patient", "blocks"]
_LEAST = 3  # groups: one each for training, validation and test


@dataclasses.dataclass(frozen=True)
class Divided:
    """Who is where.

    Args:
        by: what was never divided: "patient", "slide", "region" or "blocks".
        blocks: every block that belongs to a split; held-out ones are shrunk by the margin.
        split_of: its split.
        groups: number of its group: patient, slide, region, or the block itself.
        splits: JSON: who is where, with content digests.
    """

    by: str
    blocks: tuple[Block, ...]
    split_of: tuple[str, ...]
    groups: tuple[int, ...]
    splits: dict[str, Any]

    def of(self, split: str) -> list[Block]:
        """Return the blocks of a split."""
        return [b for b, own in zip(self.blocks, self.split_of, strict=True) if own == split]

    def renumbered(self, numbers: Sequence[int]) -> Divided:
        """Return the same with region i called `numbers[i]`: its place in a longer list."""
        blocks = [dataclasses.replace(b, region=numbers[b.region]) for b in self.blocks]
        return dataclasses.replace(self, blocks=tuple(blocks))


def divide(
    regions: Sequence[Region],
    *,
    where: str,
    by: Division,
    fractions: Fractions,
    block: int,
    margin: int,
    seed: int,
    written: Mapping[str, Any] | None,
) -> Divided:
    """Divide regions.

    Args:
        regions: that can be used.
        where: the source, for messages.
        by: "auto" takes patients where three are named, else slides, else regions where there are
            at least three, else blocks inside the image.
        fractions: shares to hold out.
        block: side of a block in pixels.
        margin: pixels that are left out around a held-out block.
        seed: changes who is held out.
        written: the splits of an earlier run to keep to.

    Raises:
        DataError: when there is too little to divide, or it is not what was written.
        RecipeError: for an unknown division.
    """
    if by not in get_args(Division):
        raise unknown_name("division", by, get_args(Division), where="data.split")
    digests = [region.digest() for region in regions]
    chosen = _by(regions, by, where)
    if chosen == "blocks":
        blocks = [
            piece
            for number, region in enumerate(regions)
            for piece in cut(number, region.height, region.width, block)
        ]
    else:
        blocks = [Block(i, 0, 0, r.height, r.width) for i, r in enumerate(regions)]
    names = [_name(piece, regions, chosen) for piece in blocks]
    named = dict(zip(names, (digests[piece.region] for piece in blocks), strict=True))
    group_names = (
        names
        if chosen in ("blocks", "region")
        else [_group(regions[piece.region], chosen) for piece in blocks]
    )
    split_of: list[str | None]
    if chosen == "blocks" and written is None:
        split_of = [*interleave(blocks, fractions, seed, where)]
    else:
        split_of = keep_or_assign(named, group_names, fractions, seed, where=where, written=written)
    numbers = {name: number for number, name in enumerate(sorted(set(group_names)))}
    used = [place for place, split in enumerate(split_of) if split is not None]
    inner = margin if chosen == "blocks" else 0
    return Divided(
        chosen,
        tuple(blocks[i] if split_of[i] == "train" else blocks[i].shrunk(inner) for i in used),
        tuple(str(split_of[i]) for i in used),
        tuple(numbers[group_names[i]] for i in used),
        {**division_record(split_of, named, where=where, seed=seed), "by": chosen},
    )


def _by(regions: Sequence[Region], by: Division, where: str) -> str:
    if by != "auto":
        if by == "patient" and not all(region.patient for region in regions):
            without = next(region.name for region in regions if not region.patient)
            raise DataError(
                "not every region has a patient",
                where=where,
                expected="images.csv beside the stacks with the columns image and patient",
                found=f"no patient for '{without}'",
            )
        return by
    patients = {region.patient for region in regions}
    if None not in patients and len(patients) >= _LEAST:
        return "patient"
    if len({region.slide for region in regions}) >= _LEAST:
        return "slide"
    return "region" if len(regions) >= _LEAST else "blocks"


def _group(region: Region, by: str) -> str:
    return str(region.patient) if by == "patient" else region.slide


def _name(piece: Block, regions: Sequence[Region], by: str) -> str:
    name = regions[piece.region].name
    if by != "blocks":
        return name
    return (
        f"{name}[{piece.top}:{piece.top + piece.height}, {piece.left}:{piece.left + piece.width}]"
    )


def counts(split_of: Sequence[str]) -> dict[str, int]:
    """Return how many are in each split."""
    return dict(collections.Counter(split_of))
