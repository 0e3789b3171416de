"""Cells for training and evaluation: measured from masks, split once, normalised by train.

Shape letters: N cells, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pellucid.data.splits import SPLITS, Fractions
from pellucid.data.stacks.cell_graphs import Neighbourhood, Neighbours
from pellucid.data.stacks.cell_split import CellSplit, Window, cells_of, cut_windows
from pellucid.data.stacks.cells import CellTable, cell_table
from pellucid.data.stacks.dividing import Divided, Division, counts, divide
from pellucid.data.stacks.listing import Skip, Stacks, open_stacks
from pellucid.data.stacks.liveness import dead_channels
from pellucid.data.stacks.masks import find_masks
from pellucid.data.stacks.normalisers import Chain
from pellucid.data.stacks.regions import Region
from pellucid.data.stacks.report import StackReport, describe
from pellucid.data.stacks.store import Store
from pellucid.data.stacks.survey import survey
from pellucid.data.stacks.tiles import TileAugmentation
from pellucid.data.stacks.usable import (
    dead_in_words,
    fitted_chain,
    live_channels,
    remarks_on,
    usable_regions,
)
from pellucid.errors import DataError

T = TypeVar("T")


class CellData:
    """Measure the cells of stacks with label masks; offer `.train`, `.validation` and `.test`.

    A sample is a window: its cells are nodes (mean markers), neighbours are edges. Also `.splits`,
    `.report` (`StackReport`), `.names` (of the channels that are fed), `.normaliser` (fitted),
    `.channels` (how many), `.table` (`CellTable`), and `.value_range`, which is None.

    Args:
        path: folder or file of stacks, see `listing.open_stacks`; masks lie in a folder mask…
            below or beside it.
        normaliser: steps between means of counts and the model's values; fitted here on training
            cells unless it is fitted already (an earlier run's).
        channels: names to use; None takes all that vary over the training cells.
        window: side of a window in pixels; blocks are cut evenly into windows of about that side.
        neighbours: "nearest" joins each cell to its k nearest, "delaunay" those that touch.
        k: for "nearest".
        longest: edges above this length in pixels are dropped, or None.
        unit: pixels that positions count as 1, about the distance of neighbouring cells.
        min_cells: windows with fewer cells are left out.
        hot_pixels: as of `StackData`.
        split: as of `StackData`.
        block: side of the blocks in pixels.
        margin: pixels left out inside every held-out block.
        validation: share held out for choices made while training.
        test: share held out for the final numbers.
        splits: `.splits` of an earlier run to keep to.
        train_crops: samples per window of the training part and epoch.
        shift: place training windows anywhere in their block.
        flip: mirror training windows at random.
        rotate: turn training windows by any angle.
        mask_channels: share of the channels hidden from the training input, not from its target.
        strict: fail on the first unusable file instead of skipping and counting it.
        seed: of splits and augmentation.

    Raises:
        DataError: when there are no cells that can be used; says why and what would do.
        RecipeError: for an unknown kind of neighbours or division.
    """

    value_range = None
    classes: tuple[str, ...] = ()

    def __init__(
        self,
        path: str | None = None,
        *,
        normaliser: Chain,
        channels: list[str] | None = None,
        window: float = 64.0,
        neighbours: Neighbours = "nearest",
        k: int = 6,
        longest: float | None = None,
        unit: float = 10.0,
        min_cells: int = 3,
        hot_pixels: float | None = None,
        split: Division = "auto",
        block: int = 128,
        margin: int = 16,
        validation: float = 0.1,
        test: float = 0.2,
        splits: Mapping[str, Any] | None = None,
        train_crops: int = 1,
        shift: bool = True,
        flip: bool = True,
        rotate: bool = True,
        mask_channels: float = 0.0,
        strict: bool = False,
        seed: int = 0,
    ) -> None:
        neighbourhood = Neighbourhood(neighbours, k, longest)
        _check(path, window, unit, min_cells, block, margin, train_crops, mask_channels)
        self.seed = seed
        stacks = open_stacks(str(path), channels=channels, strict=strict)
        found = survey(Store(stacks.regions, range(len(stacks.channels)), hot_pixels=hot_pixels))
        usable, skipped = usable_regions(stacks, found, size=1, keep_empty=True)
        masks = find_masks(stacks.root, stacks.regions)
        usable, bare = _masked(stacks, usable, masks)
        skipped += bare
        if not usable:
            raise _nothing_usable(stacks.where, skipped)
        regions = [stacks.regions[i] for i in usable]
        table = _measured(stacks, regions, hot_pixels)
        divided = divide(
            regions,
            where=stacks.where,
            by=split,
            fractions=Fractions(validation, test),
            block=block,
            margin=margin,
            seed=seed,
            written=splits,
        )
        self.splits = divided.splits
        names = [region.name for region in regions]
        asked = {"train": 1.0, "validation": validation, "test": test}
        cut, lost = _windows(table, names, divided, window, min_cells)
        for name in SPLITS:
            if asked[name] > 0 and not cut[name]:
                raise _no_window(name, stacks.where, window, min_cells, lost)
        trained_N = [cells_of(table, names[block.region], block) for block in divided.of("train")]
        trained_NC = table.markers_NC[np.concatenate(trained_N)]
        dead = {stacks.channels[i]: why for i, why in dead_channels(trained_NC).items()}
        kept = live_channels(stacks, dead, asked=channels is not None)
        self.names, self.channels = tuple(stacks.channels[place] for place in kept), len(kept)
        self.normaliser = fitted_chain(normaliser, trained_NC[:, kept], self.names)
        markers_NC = np.ascontiguousarray(table.markers_NC[:, kept])
        self.table = dataclasses.replace(table, channels=self.names, markers_NC=markers_NC)
        augmentation = TileAugmentation(shift, flip, rotate, mask_channels, seed)
        made = {
            name: CellSplit(
                self.table,
                names,
                self.normaliser,
                divided.of(name),
                _of(name, divided.groups, divided.split_of),
                cut[name],
                repeats=train_crops if name == "train" else 1,
                neighbourhood=neighbourhood,
                unit=unit,
                least=min_cells,
                augmentation=augmentation if name == "train" else None,
            )
            for name in SPLITS
        }
        self.train, self.validation, self.test = (made[name] for name in SPLITS)
        report = describe(
            stacks,
            found,
            masks=len(masks),
            skipped=skipped,
            dead=dead_in_words(dead, found),
            used=self.names,
        )
        self.report: StackReport = dataclasses.replace(
            report,
            count=len(usable),
            cells=len(table),
            split_by=divided.by,
            splits=counts(divided.split_of),
            normalisation=tuple(self.normaliser.describe()),
            remarks=(*stacks.remarks, *remarks_on(dead), _counted(cut, lost, window, min_cells)),
        )


def _masked(
    stacks: Stacks, usable: Sequence[int], masks: Mapping[str, Path]
) -> tuple[list[int], list[Skip]]:
    """Return the usable regions that have a mask, and those that have none.

    Without any mask all stay: `cell_table` says where masks belong.
    """
    if not masks:
        return list(usable), []
    names = [stacks.regions[i].name for i in usable]
    bare = [Skip(name, "no mask", "not in a folder mask…") for name in names if name not in masks]
    return [i for i in usable if stacks.regions[i].name in masks], bare


def _measured(stacks: Stacks, regions: Sequence[Region], hot_pixels: float | None) -> CellTable:
    """Return the cells of the regions; there is at least one."""
    table = cell_table(stacks.root, regions, hot_pixels=hot_pixels)
    if not len(table):
        raise DataError(
            "the masks hold no cells",
            where=stacks.where,
            expected="labels above 0, one integer per cell",
            found=f"{len(regions)} masks of background alone",
        )
    return table


def _windows(
    table: CellTable, names: Sequence[str], divided: Divided, window: float, least: int
) -> tuple[dict[str, list[Window]], int]:
    """Return the windows of every split, and how many cells lie in too small ones."""
    cut, lost = {}, 0
    for name in SPLITS:
        cut[name], few = cut_windows(table, names, divided.of(name), window, least)
        lost += few
    return cut, lost


def _of(split: str, things: Sequence[T], split_of: Sequence[str]) -> list[T]:
    """Return the things that belong to a split."""
    return [thing for thing, own in zip(things, split_of, strict=True) if own == split]


def _counted(cut: Mapping[str, list[Window]], lost: int, window: float, least: int) -> str:
    sizes = np.array([len(w.rows_N) for part in cut.values() for w in part])
    text = (
        f"{sizes.sum()} cells in {len(sizes)} windows of about {window:g} pixels, "
        f"{sizes.min()} to {sizes.max()} cells each (median {np.median(sizes):g})"
    )
    told = f"; {lost} cells lie in windows with fewer than {least} and are left out"
    return text + (told if lost else "")


def _nothing_usable(where: str, skipped: Sequence[Skip]) -> DataError:
    first = skipped[0]
    return DataError(
        "none of the regions can be used",
        where=where,
        expected="regions of finite pixels with a label mask",
        found=f"{len(skipped)} unusable; the first is {first.name} "
        f"({first.reason}: {first.detail})",
    )


def _no_window(name: str, where: str, window: float, least: int, lost: int) -> DataError:
    return DataError(
        f"no window of the {name} split holds enough cells",
        where=where,
        expected=f"at least {least} cells within about {window:g} pixels",
        found=f"{lost} cells in windows with fewer" if lost else "no cell in its blocks",
        hint="a larger data.window, a smaller data.min_cells or data.margin",
    )


def _check(
    path: str | None,
    window: float,
    unit: float,
    min_cells: int,
    block: int,
    margin: int,
    train_crops: int,
    mask_channels: float,
) -> None:
    if path is None:
        raise DataError(
            "there are no stacks", where="data.path",
            expected="a folder of stacks with label masks in a folder mask… below or beside it",
        )  # fmt: skip
    if not (window > 0 and unit > 0 and min_cells >= 1 and train_crops >= 1):
        raise DataError(
            "a window of cells has a size",
            where="data.window, data.unit, data.min_cells, data.train_crops",
            expected="window > 0, unit > 0, min_cells ≥ 1, train_crops ≥ 1",
            found=f"window {window}, unit {unit}, min_cells {min_cells}, train_crops {train_crops}",
        )
    if margin < 0 or block <= 2 * margin:
        raise DataError(
            "a held-out block holds nothing",
            where="data.block, data.margin",
            expected="block > 2·margin, margin ≥ 0",
            found=f"block {block}, margin {margin}",
        )
    if not 0 <= mask_channels < 1:
        raise DataError(
            "a share of channels is hidden", where="data.mask_channels", expected="in [0, 1)",
            found=mask_channels,
        )  # fmt: skip
