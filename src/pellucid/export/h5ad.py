"""Features as AnnData (.h5ad), so that scanpy and squidpy go on from there.

`X` is (rows, D) with var names; `obs` holds what is known of each row; `obsm["spatial"]` is its
centre (x, y) in pixels of its image; `uns["pellucid"]` names model, layers and pooling. Whole maps
become one row per position.

Shape letters: N samples, D numbers, C channels, P positions.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np

from pellucid.errors import DataError, RunError, require
from pellucid.export.table import FeatureTable, from_about

SPATIAL = "spatial"


def write(table: FeatureTable, path: Path) -> None:
    """Write one row per sample, or one per position of whole maps.

    Raises:
        DataError: when whole maps of layers with different grids cannot share rows.
    """
    anndata = require("anndata", extra="features", purpose="writing h5ad")
    pandas = require("pandas", extra="features", purpose="writing h5ad")
    x, columns, samples = (
        _by_position(table, path.parent)
        if table.x is None
        else (table.x, table.columns, {name: np.asarray(v) for name, v in table.samples.items()})
    )
    obs = pandas.DataFrame(
        {name: column for name, column in samples.items() if name not in ("x", "y")},
        index=_unique(samples),
    )
    for name in obs.columns:
        if obs[name].dtype == object or name in ("split", "group", "label", "slide"):
            obs[name] = obs[name].astype("category")
    about = {"model": table.model, "run": table.run, "pool": table.pool}
    about["about"] = json.dumps(table.about())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its notices about strings are not ours to act on
        adata = anndata.AnnData(
            X=np.asarray(x),
            obs=obs,
            var=pandas.DataFrame(index=list(columns)),
            uns={"pellucid": about},
        )
        if {"x", "y"} <= samples.keys():
            adata.obsm[SPATIAL] = np.stack([samples["x"], samples["y"]], axis=1).astype(np.float64)
        adata.write_h5ad(path)


def _unique(samples: dict[str, np.ndarray]) -> list[str]:
    """Return row names: the sample's, with a number where it occurs more than once."""
    names = [str(name) for name in samples["name"]]
    for column in ("cell", "position"):
        if column in samples:
            names = [f"{n}#{value}" for n, value in zip(names, samples[column], strict=True)]
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name] - 1}")
    return unique


def _by_position(
    table: FeatureTable, beside: Path
) -> tuple[np.ndarray, tuple[str, ...], dict[str, np.ndarray]]:
    """Return (rows, D) with one row per position of every map, and what is known of each."""
    if len({layer.reduction for layer in table.layers}) != 1:
        raise DataError(
            "positions of different grids cannot share rows",
            where="layers",
            expected="layers of one reduction",
            found=", ".join(f"{layer.name}: {layer.reduction}" for layer in table.layers),
        )
    first = table.maps[table.layers[0].name]
    tokens = [first[index].shape[1:] for index in range(len(table))]
    counts = [int(np.prod(grid)) for grid in tokens]
    names = tuple(
        f"{layer.name}.c{channel}" for layer in table.layers for channel in range(layer.channels)
    )
    # On disk, as the maps are: there may be more of them than memory holds.
    with tempfile.TemporaryFile(dir=beside) as file:  # the mapping outlives the handle
        x = np.memmap(file, np.float32, "w+", shape=(sum(counts), len(names)))
    start = 0
    for index, count in enumerate(counts):
        maps = [np.asarray(table.maps[layer.name][index]) for layer in table.layers]
        x[start : start + count] = np.concatenate([y.reshape(len(y), -1) for y in maps]).T
        start += count
    samples = {name: np.repeat(column, counts) for name, column in table.samples.items()}
    samples["position"] = np.concatenate([np.arange(count) for count in counts])
    reduction = table.layers[0].reduction
    if reduction and len(tokens[0]) == 2:
        grids = [np.indices(grid).reshape(2, -1) for grid in tokens]
        row, column = np.concatenate(grids, axis=1)
        samples |= {"row": row, "column": column}
        top, left = (samples.get(name, np.zeros(len(row))) for name in ("top", "left"))
        samples["y"] = top + (row + 0.5) * reduction
        samples["x"] = left + (column + 0.5) * reduction
    return x, names, samples


def read(path: Path) -> FeatureTable:
    """Read what `write` wrote; of whole maps the rows per position.

    Raises:
        RunError: when it is damaged or something else.
    """
    anndata = require("anndata", extra="features", purpose="reading h5ad")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise RunError("cannot read these features", where=path, found=error) from error
    about = adata.uns["pellucid"]["about"] if "pellucid" in adata.uns else "null"
    samples = {name: np.asarray(adata.obs[name].tolist()) for name in adata.obs.columns}
    if SPATIAL in adata.obsm:
        samples["x"], samples["y"] = np.asarray(adata.obsm[SPATIAL]).T
    return FeatureTable(
        **from_about(json.loads(about), path),
        samples=samples,
        columns=tuple(adata.var_names),
        x=np.asarray(adata.X, np.float32),
    )
