"""TIFF CYX and OME-TIFF: one channel a page, read window by window.

An uncompressed file is memory-mapped; of a compressed one only the strips or tiles that a window
touches are decoded. Names come from OME-XML, else from a panel, else they are numbers.

Shape letters: C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from pellucid.data.stacks.panel import Panel
from pellucid.data.stacks.regions import Region, UnreadableRegion, default_names, unique_names
from pellucid.errors import PellucidError, first_line, require

EXTENSIONS = (".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class TiffPixels:
    """Read windows of a stack.

    Args:
        path: the file.
        kept: places of the channels that are used, among those of the file.
    """

    path: Path
    kept: tuple[int, ...]
    streams: bool = True

    def read(self, channels: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
        """Return a window, decoding no more of the file than it touches."""
        array = _array(self.path)
        try:
            return np.stack(
                [np.asarray(array[self.kept[channel], rows, columns]) for channel in channels]
            )
        except Exception as error:  # decoders have errors of their own
            raise UnreadableRegion("truncated or corrupt TIFF", first_line(error)) from error


def open_tiff(path: Path, panel: Panel | None = None) -> list[Region]:
    """Describe one TIFF.

    Raises:
        UnreadableRegion: when it is no stack, or damaged.
        DataError: when the panel has another number of channels.
    """
    tifffile = require("tifffile", extra="tissue", purpose="reading TIFF stacks")
    try:
        with tifffile.TiffFile(path) as file:
            shape, axes = _shape(file)
            names = _ome_names(file.ome_metadata) if file.is_ome else None
        if axes.endswith("S"):
            raise UnreadableRegion("a colour picture", f"shape {'×'.join(map(str, shape))}")
        count, height, width = shape
        kept: Sequence[int] = range(count)
        if panel is not None and names is None:
            kept, names = panel.select(count, path)
        elif names is not None and len(names) != count:
            names = None
        _array(path)
    except (PellucidError, UnreadableRegion):
        raise
    except Exception as error:
        raise UnreadableRegion("truncated or corrupt TIFF", first_line(error)) from error
    return [
        Region(
            stem_of(path),
            slide_of(path),
            path,
            unique_names(names) if names else default_names(count),
            height,
            width,
            TiffPixels(path, tuple(kept)),
        )
    ]


def stem_of(path: Path) -> str:
    """Return the name without .tiff and .ome."""
    return path.name.removesuffix(path.suffix).removesuffix(".ome")


def slide_of(path: Path) -> str:
    """Return the name without a trailing region number: `slide1_003` → `slide1`."""
    head, _, tail = stem_of(path).rpartition("_")
    return head if head and tail.isdigit() else stem_of(path)


def is_ome(path: Path) -> bool:
    """Say whether the file's name claims OME-TIFF."""
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


def _shape(file: Any) -> tuple[tuple[int, int, int], str]:
    """Return (C, H, W) and the axes of the first series; axes of length 1 are dropped."""
    if not file.series:
        raise UnreadableRegion("no picture in the TIFF")
    series = file.series[0]
    kept = [(n, a) for n, a in zip(series.shape, series.axes, strict=True) if n > 1 or a in "YX"]
    sizes, axes = [n for n, _ in kept], "".join(a for _, a in kept)
    if len(sizes) == 2:
        return (1, sizes[0], sizes[1]), axes
    if len(sizes) != 3:
        raise UnreadableRegion("not C×H×W", f"axes {series.axes}, shape {series.shape}")
    return (sizes[0], sizes[1], sizes[2]), axes


@functools.lru_cache(maxsize=64)
def _array(path: Path) -> Any:
    """Return something that is indexed as (C, H, W) and reads only what is asked for."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        shape, _ = _shape(file)
        mappable = file.series[0].dataoffset is not None and file.pages[0].compression == 1
    if mappable:
        return tifffile.memmap(path, mode="r").reshape(shape)
    zarr = require("zarr", extra="tissue", purpose="reading compressed TIFF stacks")
    opened: Any = zarr.open(tifffile.imread(path, aszarr=True, series=0), mode="r")
    array = opened if hasattr(opened, "shape") else opened["0"]
    return array if array.shape == shape else _Squeezed(array, shape)


class _Squeezed:
    """Index an array with axes of length 1 as (C, H, W)."""

    def __init__(self, array: Any, shape: tuple[int, int, int]) -> None:
        self.array, self.shape = array, shape

    def __getitem__(self, index: tuple[int, slice, slice]) -> np.ndarray:
        wanted = [index[1], index[2]]
        sizes = list(self.array.shape)
        place: list[Any] = [0] * len(sizes)
        place[-2:] = wanted
        if self.shape[0] > 1:
            place[next(i for i, n in enumerate(sizes[:-2]) if n > 1)] = index[0]
        return np.asarray(self.array[tuple(place)])


def _ome_names(xml: str | None) -> list[str] | None:
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return None
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    names = [
        node.get("Name") or node.get("ID") or "" for node in pixels if node.tag.endswith("}Channel")
    ]
    return names if names and all(names) else None
