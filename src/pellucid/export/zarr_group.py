"""Features as a Zarr group: chunked by rows, readable in part.

The same names as in .npz: `x`, `columns`, `maps/LAYER`, `samples/NAME`; attribute `pellucid`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import RunError, require
from pellucid.export.table import FeatureTable, Ragged, from_about

_CHUNK_NUMBERS = 1 << 20


def write(table: FeatureTable, path: Path) -> None:
    """Write chunk by chunk."""
    zarr = require("zarr", extra="features", purpose="writing Zarr")
    root = zarr.open_group(str(path), mode="w", attributes={"pellucid": table.about()})
    for name, column in table.samples.items():
        _put(root, f"samples/{name}", column)
    if table.x is not None:
        _put(root, "columns", np.asarray(table.columns))
        _put(root, "x", table.x)
    for name, maps in table.maps.items():
        if isinstance(maps, Ragged):
            _put(root, f"maps/{name}/values", maps.values)
            _put(root, f"maps/{name}/shapes", maps.shapes)
        else:
            _put(root, f"maps/{name}", maps)


def _put(root: Any, name: str, values: np.ndarray) -> None:
    rows = max(1, _CHUNK_NUMBERS // max(1, int(np.prod(values.shape[1:]))))
    chunks = (min(rows, max(1, len(values))), *values.shape[1:])
    kind = str if values.dtype.kind == "U" else values.dtype
    array = root.create_array(name, shape=values.shape, dtype=kind, chunks=chunks)
    for start in range(0, len(values), rows):
        array[start : start + rows] = np.asarray(values[start : start + rows])


def read(path: Path) -> FeatureTable:
    """Read what `write` wrote, whole.

    Raises:
        RunError: when it is damaged or something else.
    """
    zarr = require("zarr", extra="features", purpose="reading Zarr")
    try:
        root = zarr.open_group(str(path), mode="r")
        told = from_about(root.attrs.asdict().get("pellucid"), path)
        samples = {name: np.asarray(array[:].tolist()) for name, array in root["samples"].arrays()}
        maps: dict[str, np.ndarray | Ragged] = {}
        if "maps" in root:
            maps = {name: array[:] for name, array in root["maps"].arrays()}
            maps |= {
                name: Ragged(group["values"][:], group["shapes"][:])
                for name, group in root["maps"].groups()
            }
        pooled = "x" in root
        return FeatureTable(
            **told,
            samples=samples,
            columns=tuple(str(name) for name in root["columns"][:]) if pooled else (),
            x=root["x"][:] if pooled else None,
            maps={layer.name: maps[layer.name] for layer in told["layers"]} if maps else {},
        )
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError("cannot read these features", where=path, found=error) from error
