"""Stacks for training and evaluation: read lazily, split once, normalised by train, cut in tiles.

Shape letters: N pixels, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.data.splits import Fractions
from pellucid.data.stacks.dividing import Divided, Division, counts, divide
from pellucid.data.stacks.listing import Skip, Stacks, open_stacks
from pellucid.data.stacks.liveness import dead_channels
from pellucid.data.stacks.masks import find_masks
from pellucid.data.stacks.normalisers import Chain
from pellucid.data.stacks.report import StackReport, describe
from pellucid.data.stacks.store import Store
from pellucid.data.stacks.survey import Survey, survey
from pellucid.data.stacks.tiles import TileAugmentation, TileSplit
from pellucid.data.stacks.usable import (
    dead_in_words,
    fitted_chain,
    live_channels,
    remarks_on,
    training_pixels,
    usable_regions,
)
from pellucid.errors import DataError


class StackData:
    """Read stacks and offer `.train`, `.validation` and `.test`.

    Also `.splits` (JSON: who is where, with content digests), `.report` (`StackReport`), `.names`
    (of the channels that are fed), `.normaliser` (fitted), `.size`, `.channels` (how many), and
    `.value_range`, which is None: normalised counts have no black and no white.

    Args:
        path: folder or file, see `listing.open_stacks`.
        normaliser: steps between the file's values and the model's; fitted here on training pixels
            unless it is fitted already (an earlier run's).
        channels: names to use; None takes all that are alive in the training part. A run's recipe
            states them.
        size: side of the square tiles in pixels.
        hot_pixels: a pixel that exceeds all of its neighbours by more is replaced by the largest of
            them, in counts; None leaves pixels as they are.
        split: what is never divided: "patient", "slide", "region", or "blocks" inside the images;
            "auto" takes the first of them that there are three of.
        block: side of the blocks in pixels.
        margin: pixels left out inside every held-out block.
        validation: share held out for choices made while training.
        test: share held out for the final numbers.
        splits: `.splits` of an earlier run to keep to.
        train_crops: samples per tile of the training part and epoch.
        random_crop: cut training tiles at random places of their block.
        flip: mirror training tiles at random.
        rotate: turn training tiles by multiples of 90° at random.
        mask_channels: share of the channels hidden from the training input, not from its target.
        keep_empty: use regions that hold background alone too.
        cache_megabytes: memory for regions; the rest is read window by window.
        strict: fail on the first unusable file instead of skipping and counting it.
        seed: of splits and augmentation.

    Raises:
        DataError: when the stacks cannot be used; says which and what would do.
    """

    value_range = None
    classes: tuple[str, ...] = ()

    def __init__(
        self,
        path: str | None = None,
        *,
        normaliser: Chain,
        channels: list[str] | None = None,
        size: int = 32,
        hot_pixels: float | None = None,
        split: Division = "auto",
        block: int = 100,
        margin: int = 16,
        validation: float = 0.1,
        test: float = 0.2,
        splits: Mapping[str, Any] | None = None,
        train_crops: int = 1,
        random_crop: bool = True,
        flip: bool = True,
        rotate: bool = True,
        mask_channels: float = 0.0,
        keep_empty: bool = False,
        cache_megabytes: int = 1024,
        strict: bool = False,
        seed: int = 0,
    ) -> None:
        _check(path, size, block, margin, train_crops, mask_channels, split)
        self.size, self.seed = size, seed
        cache = cache_megabytes * 1_000_000
        stacks = open_stacks(str(path), channels=channels, strict=strict)
        every = Store(
            stacks.regions, range(len(stacks.channels)), hot_pixels=hot_pixels, cache_bytes=cache
        )
        found = survey(every)
        usable, skipped = usable_regions(stacks, found, size=size, keep_empty=keep_empty)
        divided = divide(
            [stacks.regions[number] for number in usable],
            where=stacks.where,
            by=split,
            fractions=Fractions(validation, test),
            block=block,
            margin=margin,
            seed=seed,
            written=splits,
        ).renumbered(usable)
        self.splits = divided.splits
        pixels_NC = training_pixels(every, divided)
        dead = {stacks.channels[i]: why for i, why in dead_channels(pixels_NC).items()}
        kept = live_channels(stacks, dead, asked=channels is not None)
        self.names, self.channels = tuple(stacks.channels[i] for i in kept), len(kept)
        self.normaliser = fitted_chain(normaliser, pixels_NC[:, kept], self.names)
        self.report = self._described(stacks, found, skipped, dead, divided, count=len(usable))
        store = every if len(kept) == len(stacks.channels) else Store(
            stacks.regions, kept, hot_pixels=hot_pixels, cache_bytes=cache
        )  # fmt: skip
        augmentation = TileAugmentation(random_crop, flip, rotate, mask_channels, seed)
        build = _SplitBuilder(store, self.normaliser, divided, size)
        self.train = build("train", train_crops, augmentation)
        self.validation = build("validation", wanted=validation > 0)
        self.test = build("test", wanted=test > 0)

    def _described(
        self,
        stacks: Stacks,
        found: Survey,
        skipped: Sequence[Skip],
        dead: Mapping[str, str],
        divided: Divided,
        count: int,
    ) -> StackReport:
        report = describe(
            stacks,
            found,
            masks=len(find_masks(stacks.root, stacks.regions)),
            skipped=skipped,
            dead=dead_in_words(dead, found),
            used=self.names,
        )
        return dataclasses.replace(
            report,
            count=count,
            split_by=divided.by,
            splits=counts(divided.split_of),
            normalisation=tuple(self.normaliser.describe()),
            remarks=(*stacks.remarks, *remarks_on(dead)),
        )


@dataclasses.dataclass(frozen=True)
class _SplitBuilder:
    """Build the dataset of one split from what the splits share."""

    store: Store
    chain: Chain
    divided: Divided
    size: int

    def __call__(
        self,
        split: str,
        repeats: int = 1,
        augmentation: TileAugmentation | None = None,
        *,
        wanted: bool = True,
    ) -> TileSplit:
        chosen = [i for i, own in enumerate(self.divided.split_of) if own == split]
        blocks = [self.divided.blocks[i] for i in chosen]
        places = [
            (number, top, left)
            for number, block in enumerate(blocks)
            for top, left in block.places(self.size)
        ]
        if wanted and not places:
            raise DataError(
                f"no block of the {split} split holds a tile",
                where=self.divided.splits["source"],
                expected=f"blocks of at least {self.size}×{self.size} pixels, margins taken off",
                hint="a smaller data.size or data.margin, or a larger data.block",
            )
        table = np.array(places * repeats, np.int64).reshape(-1, 3)
        groups = [self.divided.groups[i] for i in chosen]
        return TileSplit(self.store, self.chain, blocks, table, groups, self.size, augmentation)


def _check(
    path: str | None,
    size: int,
    block: int,
    margin: int,
    train_crops: int,
    mask_channels: float,
    split: str,
) -> None:
    if path is None:
        raise DataError("there are no stacks", where="data.path", expected="a folder or a file")
    for key, value, least in (
        ("size", size, 1),
        ("train_crops", train_crops, 1),
        ("margin", margin, 0),
    ):
        if value < least:
            raise DataError(
                f"'{key}' is too small", where=f"data.{key}", expected=f"≥ {least}", found=value
            )
    if split in ("blocks", "auto") and block - 2 * margin < size:
        raise DataError(
            "a held-out block holds no tile",
            where="data.block, data.margin, data.size",
            expected="block − 2·margin ≥ size",
            found=f"{block} − 2·{margin} = {block - 2 * margin}, size {size}",
        )
    if not 0 <= mask_channels < 1:
        raise DataError(
            "a share of channels is hidden", where="data.mask_channels", expected="in [0, 1)",
            found=mask_channels,
        )  # fmt: skip
