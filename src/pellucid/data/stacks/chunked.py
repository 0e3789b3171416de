"""Chunked stores: OME-Zarr, plain Zarr, HDF5; windows are read straight from the chunks.

Zarr: an OME-Zarr image (its finest level, names from `omero.channels`), or arrays C×H×W.
HDF5: every dataset C×H×W (or N×C×H×W) is a region, or N of them.
Names otherwise come from the attribute or the dataset `channels` (or channel_names, markers).

Shape letters: C channels, H height, W width, N regions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.stacks.panel import Panel
from pellucid.data.stacks.regions import Region, UnreadableRegion, default_names, unique_names
from pellucid.errors import PellucidError, first_line, require

HDF5 = (".h5", ".hdf5", ".hdf")
_NAMES = ("channels", "channel_names", "markers")


@dataclasses.dataclass(frozen=True)
class ChunkedPixels:
    """Read windows of one array of a store.

    Args:
        path: the store.
        key: the array inside it.
        front: indices of the leading axes before C, H, W.
        kept: places of the channels that are used.
    """

    path: Path
    key: str
    front: tuple[int, ...]
    kept: tuple[int, ...]
    streams: bool = True

    def read(self, channels: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
        """Return a window, reading no more chunks than it touches."""
        array = _open(self.path)
        array = array[self.key] if self.key else array
        try:
            planes = [
                np.asarray(array[(*self.front, self.kept[channel], rows, columns)])
                for channel in channels
            ]
        except Exception as error:  # codecs and HDF5 have errors of their own
            raise UnreadableRegion("truncated or corrupt store", first_line(error)) from error
        return np.stack(planes)


def is_zarr(path: Path) -> bool:
    """Say whether a folder is a Zarr store."""
    return path.is_dir() and any(
        (path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")
    )


def open_chunked(path: Path, panel: Panel | None = None) -> list[Region]:
    """List the regions of a Zarr store or an HDF5 file.

    Raises:
        UnreadableRegion: when it cannot be read or holds no C×H×W array.
        DataError: when the panel has another number of channels.
    """
    module, purpose = ("zarr", "reading Zarr") if path.is_dir() else ("h5py", "reading HDF5")
    require(module, extra="tissue", purpose=purpose)
    try:
        store = _open(path)
        found = list(_arrays(store, path))
    except (PellucidError, UnreadableRegion):
        raise
    except Exception as error:
        raise UnreadableRegion("truncated or corrupt store", first_line(error)) from error
    if not found:
        raise UnreadableRegion("no C×H×W array in the store")
    several = sum(_copies(array) for _, array, _ in found) > 1
    regions = []
    for key, array, names in found:
        for number in range(_copies(array)):
            front = (0,) * (array.ndim - 3) if _copies(array) == 1 else (number,)
            label = "_".join(
                part
                for part in (key.replace("/", "_"), str(number) if _copies(array) > 1 else "")
                if part
            )
            name = f"{path.stem}_{label}" if several and label else path.stem
            regions.append(_region(path, name, key, array, front, names, panel))
    return regions


def _region(
    path: Path,
    name: str,
    key: str,
    array: Any,
    front: tuple[int, ...],
    names: tuple[str, ...] | None,
    panel: Panel | None,
) -> Region:
    count, height, width = array.shape[-3:]
    kept: Sequence[int] = range(count)
    if names is None and panel is not None:
        kept, names = panel.select(count, path)
    if names is None or len(names) != len(kept):
        names = default_names(count)
    pixels = ChunkedPixels(path, key, front, tuple(kept))
    return Region(name, path.stem, path, unique_names(names), int(height), int(width), pixels)


@functools.lru_cache(maxsize=32)
def _open(path: Path) -> Any:
    if path.is_dir():
        import zarr

        return zarr.open(str(path), mode="r")
    import h5py

    return h5py.File(path, "r")


def _arrays(store: Any, path: Path) -> Iterator[tuple[str, Any, tuple[str, ...] | None]]:
    """Yield key, array and names of every stack."""
    if hasattr(store, "shape"):
        if _is_stack(store):
            yield "", store, _names(store, store)
        return
    attributes = dict(store.attrs)
    described = attributes.get("ome", attributes)
    if isinstance(described, dict) and "multiscales" in described:
        key = str(described["multiscales"][0]["datasets"][0]["path"])
        labels = [c.get("label") for c in described.get("omero", {}).get("channels", [])]
        names = tuple(map(str, labels)) if labels and all(labels) else None
        yield key, store[key], names or _names(store[key], store)
        return
    for key in _keys(store):
        if _is_stack(store[key]):
            yield key, store[key], _names(store[key], store)


def _keys(store: Any) -> list[str]:
    found: list[str] = []
    if hasattr(store, "visititems"):  # HDF5
        store.visititems(lambda key, node: found.append(key) if hasattr(node, "shape") else None)
        return sorted(found)
    return sorted(key for key, _ in store.arrays())


def _is_stack(array: Any) -> bool:
    return array.ndim in (3, 4, 5) and np.dtype(array.dtype).kind in "iuf"


def _copies(array: Any) -> int:
    """Return how many regions an array holds: N of N×C×H×W; longer fronts must be 1."""
    if any(n > 1 for n in array.shape[:-4]):
        raise UnreadableRegion("not C×H×W", f"shape {array.shape}")
    return int(array.shape[-4]) if array.ndim > 3 else 1


def _names(array: Any, store: Any) -> tuple[str, ...] | None:
    for holder in (array, store):
        for key in _NAMES:
            if key in holder.attrs:
                return tuple(_text(value) for value in np.asarray(holder.attrs[key]).ravel())
    if not hasattr(store, "shape"):
        for key in _NAMES:
            if key in store and getattr(store[key], "ndim", 0) == 1:
                return tuple(_text(value) for value in np.asarray(store[key][:]).ravel())
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
