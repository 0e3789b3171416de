"""Stacks for training and evaluation: read lazily, split once, normalised by train, cut in tiles.

Shape letters: N pixels, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pellucid.data.splits import SPLITS, Fractions
from pellucid.data.stacks.blocks import Block
from pellucid.data.stacks.dividing import Divided, Division, counts, divide
from pellucid.data.stacks.listing import Skip, Stacks, open_stacks
from pellucid.data.stacks.liveness import dead_channels, empty_regions
from pellucid.data.stacks.masks import find_masks
from pellucid.data.stacks.normalisers import Chain
from pellucid.data.stacks.report import StackReport, describe
from pellucid.data.stacks.store import Store
from pellucid.data.stacks.survey import Survey, survey
from pellucid.data.stacks.tiles import TileAugmentation, TileSplit
from pellucid.errors import DataError

FIT_PIXELS = 2_000_000
"""Normalisers are fitted on at most so many training pixels, evenly spaced."""


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
        usable, skipped = _usable(stacks, found, size, keep_empty)
        if not usable:
            raise _nothing_usable(stacks, skipped, size)
        divided = divide(
            [stacks.regions[number] for number in usable],
            where=stacks.where,
            by=split,
            fractions=Fractions(validation, test),
            block=block,
            margin=margin,
            seed=seed,
            written=splits,
        )
        blocks = [
            dataclasses.replace(piece, region=usable[piece.region]) for piece in divided.blocks
        ]
        pixels_NC = _pixels(every, blocks, divided.split_of)
        dead = {stacks.channels[i]: why for i, why in dead_channels(pixels_NC).items()}
        kept = _alive(stacks, dead, asked=channels is not None)
        self.names = tuple(stacks.channels[place] for place in kept)
        self.channels = len(kept)
        self.normaliser = _fitted(normaliser, pixels_NC[:, kept], self.names)
        self.splits = divided.splits
        store = every if len(kept) == len(stacks.channels) else Store(
            stacks.regions, kept, hot_pixels=hot_pixels, cache_bytes=cache
        )  # fmt: skip
        report = describe(
            stacks,
            found,
            masks=len(find_masks(stacks.root, stacks.regions)),
            skipped=skipped,
            dead=_said(dead, found),
            used=self.names,
        )
        self.report: StackReport = dataclasses.replace(
            report,
            count=len(usable),
            split_by=divided.by,
            splits=counts(divided.split_of),
            normalisation=tuple(self.normaliser.describe()),
            remarks=(*stacks.remarks, *_remarks(dead)),
        )
        augmentation = TileAugmentation(random_crop, flip, rotate, mask_channels, seed)
        made = {
            name: _tiles(store, self.normaliser, blocks, divided, name, size, train_crops,
                         augmentation if name == "train" else None)
            for name in SPLITS
        }  # fmt: skip
        self.train, self.validation, self.test = (made[name] for name in SPLITS)
        asked = {"train": 1.0, "validation": validation, "test": test}
        for name in SPLITS:
            if asked[name] > 0 and not len(made[name]):
                raise DataError(
                    f"no block of the {name} split holds a tile",
                    where=stacks.where,
                    expected=f"blocks of at least {size}×{size} pixels, margins taken off",
                    hint="a smaller data.size or data.margin, or a larger data.block",
                )


def _tiles(
    store: Store,
    chain: Chain,
    blocks: Sequence[Block],
    divided: Divided,
    split: str,
    size: int,
    repeats: int,
    augmentation: TileAugmentation | None,
) -> TileSplit:
    chosen = [i for i, own in enumerate(divided.split_of) if own == split]
    places = [
        (number, top, left)
        for number, i in enumerate(chosen)
        for top, left in blocks[i].places(size)
    ]
    table = np.array(places * (repeats if augmentation else 1), np.int64).reshape(-1, 3)
    return TileSplit(
        store,
        chain,
        [blocks[i] for i in chosen],
        table,
        [divided.groups[i] for i in chosen],
        size,
        augmentation,
    )


def _usable(
    stacks: Stacks, found: Survey, size: int, keep_empty: bool
) -> tuple[list[int], list[Skip]]:
    """Return the places of the regions that can be used, and why the others cannot."""
    everywhere_C = (found.bad_RC == found.pixels_R[:, None]).all(0)
    empty = [] if keep_empty else empty_regions(found)
    usable, skipped = [], []
    for number, region in enumerate(stacks.regions):
        bad = found.bad_RC[number] * ~everywhere_C
        if min(region.height, region.width) < size:
            detail = f"{region.height}×{region.width}, tiles are {size}"
            skipped.append(Skip(region.name, "too small", detail))
        elif bad.any():
            worst = int(bad.argmax())
            detail = f"{int(bad[worst])} pixels of {stacks.channels[worst]}"
            skipped.append(Skip(region.name, "NaN or infinite values", detail))
        elif number in empty:
            detail = "background alone: every telling channel is silent"
            skipped.append(Skip(region.name, "empty region", detail))
        else:
            usable.append(number)
    return usable, skipped


def _pixels(store: Store, blocks: Sequence[Block], split_of: Sequence[str]) -> np.ndarray:
    """Return (N, C) training pixels, evenly spaced."""
    own = [block for block, split in zip(blocks, split_of, strict=True) if split == "train"]
    step = max(1, -(-sum(block.height * block.width for block in own) // FIT_PIXELS))
    parts, seen = [], 0
    for block in own:
        rows = slice(block.top, block.top + block.height)
        columns = slice(block.left, block.left + block.width)
        for _, band in store.bands(block.region, rows, columns):
            flat_CN = band.reshape(len(band), -1)
            parts.append(flat_CN[:, (-seen) % step :: step].T.copy())
            seen += flat_CN.shape[1]
    return np.concatenate(parts)


def _alive(stacks: Stacks, dead: Mapping[str, str], *, asked: bool) -> list[int]:
    """Return the places of the channels that are fed."""
    if asked and dead:
        name, why = next(iter(dead.items()))
        raise DataError(
            f"channel '{name}' cannot be learned",
            where="data.channels",
            expected="channels that vary in the training part",
            found=why,
            hint="leave it out, or leave data.channels out to take all that are alive",
        )
    kept = [place for place, name in enumerate(stacks.channels) if name not in dead]
    if not kept:
        raise DataError(
            "no channel varies in the training part",
            where=stacks.where,
            found=", ".join(f"{name}: {why}" for name, why in list(dead.items())[:4]),
        )
    return kept


def _fitted(chain: Chain, pixels_NC: np.ndarray, names: tuple[str, ...]) -> Chain:
    if not chain.channels:
        return chain.fit(torch.from_numpy(np.ascontiguousarray(pixels_NC)), names)
    if chain.channels != names:
        raise DataError(
            "the normaliser belongs to other channels",
            where="data.channels",
            expected=", ".join(chain.channels),
            found=", ".join(names),
        )
    return chain


def _said(dead: Mapping[str, str], found: Survey) -> dict[str, str]:
    """Add "in the training part" where the channel lives elsewhere."""
    varies = dict(zip(found.channels, found.high_RC.max(0) > found.low_RC.min(0), strict=True))
    return {
        name: f"{why} in the training part" if varies[name] and "near" not in why else why
        for name, why in dead.items()
    }


def _remarks(dead: Mapping[str, str]) -> tuple[str, ...]:
    if not dead:
        return ()
    names = ", ".join(f"{name} ({why})" for name, why in dead.items())
    return (f"{len(dead)} channels are not fed: {names}",)


def _nothing_usable(stacks: Stacks, skipped: Sequence[Skip], size: int) -> DataError:
    first = skipped[0]
    return DataError(
        "none of the regions can be used",
        where=stacks.where,
        expected=f"regions of at least {size}×{size} finite pixels with a signal",
        found=f"{len(skipped)} unusable; the first is {first.name} "
        f"({first.reason}: {first.detail})",
        hint="a smaller data.size" if {s.reason for s in skipped} == {"too small"} else None,
    )


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
