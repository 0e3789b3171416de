"""The cells of a region: mean of every marker, centroid and area, from a label mask.

Shape letters: N cells, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pellucid.data.stacks.masks import find_masks, read_mask
from pellucid.data.stacks.regions import Region
from pellucid.errors import DataError


@dataclasses.dataclass(frozen=True)
class CellTable:
    """One row per cell, in the order of region and label.

    Args:
        channels: marker names.
        markers_NC: float32, mean over the cell's pixels, in the values of the file.
        centroids_N2: float32, mean row and column in pixels.
        areas_N: int64, pixels.
        labels_N: int64, the mask's own number of the cell.
        regions_N: name of its region.
        slides_N: its slide.
    """

    channels: tuple[str, ...]
    markers_NC: np.ndarray
    centroids_N2: np.ndarray
    areas_N: np.ndarray
    labels_N: np.ndarray
    regions_N: np.ndarray
    slides_N: np.ndarray

    def __len__(self) -> int:
        return len(self.areas_N)


def cell_table(
    root: Path, regions: Sequence[Region], *, hot_pixels: float | None = None
) -> CellTable:
    """Measure the cells of every region that has a mask.

    Args:
        root: folder of the set, below or beside which masks lie (`Stacks.root`).
        regions: with one list of channels.
        hot_pixels: threshold of `remove_hot_pixels`, or None.

    Raises:
        DataError: when no region has a mask, or a mask does not fit.
    """
    masks = find_masks(root, tuple(regions))
    if not masks:
        raise DataError(
            "there are no masks for these regions",
            where=root,
            expected="a folder mask…/ below or beside it with one integer TIFF per region, "
            f"e.g. masks/{regions[0].name}.tiff"
            if regions
            else "regions",
        )
    return concatenate(
        measure_cells(region, read_mask(masks[region.name], region), hot_pixels=hot_pixels)
        for region in regions
        if region.name in masks
    )


def measure_cells(
    region: Region, labels_HW: np.ndarray, *, hot_pixels: float | None = None
) -> CellTable:
    """Measure the cells of one region, reading one channel at a time.

    Args:
        region: the stack.
        labels_HW: its mask; 0 is no cell.
        hot_pixels: threshold of `remove_hot_pixels`, or None.
    """
    from pellucid.data.stacks.hot_pixels import remove_hot_pixels

    found, place = np.unique(labels_HW, return_inverse=True)
    place = place.reshape(-1)
    areas = np.bincount(place, minlength=len(found))

    def means(values_HW: np.ndarray) -> np.ndarray:
        weights = values_HW.reshape(-1).astype(np.float64)
        return np.bincount(place, weights=weights, minlength=len(found)) / areas

    rows, columns = np.mgrid[: region.height, : region.width]
    markers = []
    for channel in range(len(region.channels)):
        plane = region.read([channel])
        if hot_pixels is not None:
            plane = remove_hot_pixels(plane, hot_pixels)
        markers.append(means(plane[0]))
    cells = found != 0
    count = int(cells.sum())
    return CellTable(
        region.channels,
        np.stack(markers, 1)[cells].astype(np.float32),
        np.stack([means(rows), means(columns)], 1)[cells].astype(np.float32),
        areas[cells].astype(np.int64),
        found[cells].astype(np.int64),
        np.full(count, region.name),
        np.full(count, region.slide),
    )


def concatenate(tables: Iterable[CellTable]) -> CellTable:
    """Join tables of one panel.

    Raises:
        DataError: when there are none, or their channels differ.
    """
    parts = list(tables)
    if not parts or any(part.channels != parts[0].channels for part in parts):
        raise DataError("cell tables to join need the same channels", found=len(parts))
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(CellTable)
        if field.name != "channels"
    }
    return CellTable(parts[0].channels, **columns)
