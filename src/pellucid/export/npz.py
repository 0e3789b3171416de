"""Features as .npz: plain arrays that `numpy.load` reads without pickle.

`x` (N, D) and `columns`, or `maps/LAYER` (of different sizes: `maps/LAYER/values` and `/shapes`);
`samples/NAME` per column about the samples; `about` holds JSON.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pellucid.errors import RunError
from pellucid.export.table import FeatureTable, Ragged, from_about


def write(table: FeatureTable, path: Path) -> None:
    """Write uncompressed, array by array in pieces, so that memory stays small."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in _arrays(table):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _arrays(table: FeatureTable) -> Iterator[tuple[str, np.ndarray]]:
    yield "about", np.asarray(json.dumps(table.about()))
    for name, column in table.samples.items():
        yield f"samples/{name}", column
    if table.x is not None:
        yield "columns", np.asarray(table.columns)
        yield "x", table.x
    for name, maps in table.maps.items():
        if isinstance(maps, Ragged):
            yield f"maps/{name}/values", maps.values
            yield f"maps/{name}/shapes", maps.shapes
        else:
            yield f"maps/{name}", maps


def read(path: Path) -> FeatureTable:
    """Read what `write` wrote.

    Raises:
        RunError: when it is damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays["about"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError("cannot read these features", where=path, found=error) from error
    maps: dict[str, np.ndarray | Ragged] = {}
    for name, array in arrays.items():
        if name.startswith("maps/") and name.endswith("/values"):
            layer = name.removeprefix("maps/").removesuffix("/values")
            maps[layer] = Ragged(array, arrays[f"maps/{layer}/shapes"])
        elif name.startswith("maps/") and not name.endswith("/shapes"):
            maps[name.removeprefix("maps/")] = array
    return FeatureTable(
        **from_about(about, path),
        samples={
            name.removeprefix("samples/"): array
            for name, array in arrays.items()
            if name.startswith("samples/")
        },
        columns=tuple(arrays["columns"].tolist()) if "columns" in arrays else (),
        x=arrays.get("x"),
        maps=maps,
    )
