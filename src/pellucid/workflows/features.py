"""Take named features of a run's own samples, or of a user's files, and write them down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pellucid.errors import DataError, unknown_name
from pellucid.functional.pooling import Pool
from pellucid.workflows.feature_sources import Source, Split, own_samples, user_files
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.export import FeatureTable, Format
    from pellucid.export.staging import Staging
    from pellucid.models.layers import FeatureExtractor, Layer

WHOLE = "none"


def feature_info(run: str | Path | Run) -> tuple[Layer, ...]:
    """Describe the layers a run's model offers: name, channels, reduction.

    Raises:
        RunError: when the run has no weights.
    """
    from pellucid.build.cells import is_cells
    from pellucid.models.layers import feature_info as describe
    from pellucid.workflows.feature_windows import cell_layers

    opened = Run.open(run)
    model: Any = opened.load()
    if is_cells(opened.recipe):
        return tuple(layer for layer, _ in cell_layers(model).values())
    return describe(model)


def features(
    run: str | Path | Run,
    path: str | Path | None = None,
    *,
    layers: Sequence[str] = ("latent",),
    pool: Pool | Literal["none"] = "mean",
    split: Split = "all",
    out: str | Path | None = None,
    to: Format | None = None,
    progress: bool = False,
) -> FeatureTable:
    """Return features of samples, one row each; with `out` they are written and not held.

    Args:
        run: the run or its folder.
        path: images or clips of any size, a file or a folder; None takes the run's own samples.
        layers: maps by name, see `feature_info`.
        pool: "mean" or "max" over positions, "flatten" for all numbers, "none" for whole maps. Of
            a run of cells all numbers are given: rows are cells or windows.
        split: of the run's own samples: "all", "train", "validation" or "test".
        out: .npz, .parquet, .zarr or .h5ad; written atomically in bounded memory.
        to: the format, where the ending is to be checked.
        progress: draw a progress bar.

    Returns:
        The table; read from `out` when that is given.

    Raises:
        RunError: when the run has no weights, or the file cannot be written.
        RecipeError: for an unknown layer, pooling, split or format.
        DataError: when there is nothing to read, or sizes differ under "flatten".
        MissingExtraError: when the format's library is not installed.
    """
    from pellucid.export import load_table
    from pellucid.export.staging import Staging

    opened = Run.open(run)
    if pool not in (*get_args(Pool), WHOLE):
        raise unknown_name("pooling", pool, (*get_args(Pool), WHOLE), where="pool")
    if out is None:
        with Staging() as staging:
            table = _extract(opened, path, layers, pool, split, staging, progress)
            return in_memory(table)
    write_features(
        opened, path, layers=layers, pool=pool, split=split, out=out, to=to, progress=progress
    )
    return load_table(out)


def write_features(
    run: str | Path | Run,
    path: str | Path | None = None,
    *,
    layers: Sequence[str] = ("latent",),
    pool: Pool | Literal["none"] = "mean",
    split: Split = "all",
    out: str | Path,
    to: Format | None = None,
    progress: bool = False,
) -> dict:
    """Write features as `features` does, and return what was written without reading it back.

    Returns:
        `{"file", "rows", "numbers", "model", "layers", "pool", "skipped"}`.
    """
    from pellucid.export.files import format_of, write_table
    from pellucid.export.staging import Staging

    opened, target = Run.open(run), Path(out)
    format_of(target, to)
    with Staging(target.parent) as staging:
        table = _extract(opened, path, layers, pool, split, staging, progress)
        write_table(table, target, to=to)
        return summary(table, target)


def summary(table: FeatureTable, target: Path) -> dict:
    """Return what was written: file, rows, numbers, model, layers, pooling, what was skipped."""
    return {
        "file": str(target),
        "rows": len(table),
        "numbers": len(table.columns) or None,
        "model": table.model,
        "layers": [dataclasses.asdict(layer) for layer in table.layers],
        "pool": table.pool,
        "skipped": [{"name": name, "reason": why} for name, why in table.skipped],
    }


def load_features(path: str | Path, run: str | Path | Run | None = None) -> FeatureTable:
    """Read a features file; with a run, only when that very model made it.

    Args:
        path: what `features` wrote.
        run: the run whose features they must be; None reads any.

    Raises:
        RunError: when another model made them, or the file is damaged.
        DataError: when there is no such file.
    """
    from pellucid.export import load_table

    table = load_table(path)
    if run is None:
        return table
    opened = Run.open(run)
    return table.require_model(opened.digest(), run=opened.path, where=path)


def in_memory(table: FeatureTable) -> FeatureTable:
    """Return the table with its arrays copied out of the files they are mapped from."""
    from pellucid.export import Ragged

    maps = {
        name: Ragged(np.array(maps.values), maps.shapes)
        if isinstance(maps, Ragged)
        else np.array(maps)
        for name, maps in table.maps.items()
    }
    return dataclasses.replace(table, x=None if table.x is None else np.array(table.x), maps=maps)


def _extract(
    run: Run,
    path: str | Path | None,
    layers: Sequence[str],
    pool: str,
    split: Split,
    staging: Staging,
    progress: bool,
) -> FeatureTable:
    import torch

    from pellucid.build.cells import is_cells
    from pellucid.models.layers import FeatureExtractor
    from pellucid.workflows.feature_windows import extract_windows

    if is_cells(run.recipe):
        if pool == WHOLE:
            raise DataError(
                "cells lie on no grid, so they have no maps", where="pool", expected="a table",
                found=pool,
            )  # fmt: skip
        with progress_bar("taking features", shown=progress) as report:
            return extract_windows(run, path, layers, split, staging, report)
    autoencoder = run.load()
    if torch.cuda.is_available():
        autoencoder.cuda()
    extractor = FeatureExtractor(autoencoder, list(layers))
    source = own_samples(run, split) if path is None else user_files(run, path)
    with progress_bar("taking features", shown=progress) as report:
        columns = _stage(extractor, source, pool, staging, report)
    return staging.table(
        model=run.digest(),
        run=run.path.resolve().name,
        layers=extractor.feature_info,
        pool=pool,
        columns=columns,
        skipped=source.skipped,
    )


def _stage(
    extractor: FeatureExtractor,
    source: Source,
    pool: str,
    staging: Staging,
    report: Callable[[int, int], None],
) -> list[str]:
    """Append the features of every sample; return the names of their numbers."""
    from pellucid.export.staging import X
    from pellucid.functional.pooling import column_names
    from pellucid.models.feature_maps import feature_maps

    columns: list[str] = []
    for x_BCP, told in source.batches:
        maps = feature_maps(extractor, x_BCP)
        if pool == WHOLE:
            rows = {name: list(y_BCP.cpu().numpy()) for name, y_BCP in maps.items()}
            staging.add(told, rows)
        else:
            shapes = {name: tuple(y_BCP.shape[1:]) for name, y_BCP in maps.items()}
            names = [c for name, shape in shapes.items() for c in column_names(name, shape, pool)]  # type: ignore[arg-type]
            columns = columns or names
            if columns != names:
                raise _other_size(told["name"][0], len(columns), len(names))
            staging.add(told, {X: list(pooled(maps, pool).cpu().numpy())})
        report(len(staging) + len(source.skipped), source.total)
    if not len(staging):
        raise DataError("there are no samples", where="split", found="an empty split")
    return columns


def pooled(maps: dict[str, Tensor], how: str) -> Tensor:
    """Return (B, D): every map as a vector, one after another."""
    import torch

    from pellucid.functional.pooling import pool

    return torch.cat([pool(y_BCP, how) for y_BCP in maps.values()], dim=1)  # type: ignore[arg-type]


def _other_size(name: str, expected: int, found: int) -> DataError:
    return DataError(
        "samples of different sizes cannot be flattened into one table",
        where=name,
        expected=f"{expected:,} numbers, as the samples before",
        found=f"{found:,}",
        hint="pool by mean or max, or keep whole maps (pool: none)",
    )
