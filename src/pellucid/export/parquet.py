"""Features as Parquet: one column per number, for pandas, polars and DuckDB.

What is not a number of the features stands in columns `sample.NAME`; the schema's metadata holds
the key `pellucid` with JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pellucid.errors import DataError, RunError, require
from pellucid.export.table import FeatureTable, from_about

MOST_COLUMNS = 16_384
_ROWS = 4096
_PREFIX = "sample."


def write(table: FeatureTable, path: Path) -> None:
    """Write in groups of rows.

    Raises:
        DataError: for whole maps, or more columns than readers bear.
    """
    pa = require("pyarrow", extra="features", purpose="writing Parquet")
    pq = require("pyarrow.parquet", extra="features", purpose="writing Parquet")
    if table.x is None:
        raise DataError(
            "a table has no room for whole maps",
            where="pool",
            expected="mean, max or flatten; or npz, zarr or h5ad",
            found="none",
        )
    if len(table.columns) > MOST_COLUMNS:
        raise DataError(
            "too many columns for a table",
            expected=f"at most {MOST_COLUMNS:,}",
            found=f"{len(table.columns):,}",
            hint="pool by mean or max, or write npz or zarr",
        )
    told = {f"{_PREFIX}{name}": pa.array(column) for name, column in table.samples.items()}
    fields = [pa.field(name, column.type) for name, column in told.items()]
    fields += [pa.field(name, pa.float32()) for name in table.columns]
    schema = pa.schema(fields, metadata={"pellucid": json.dumps(table.about())})
    with pq.ParquetWriter(str(path), schema) as writer:
        for start in range(0, len(table), _ROWS):
            rows = slice(start, start + _ROWS)
            about = [column[start : start + _ROWS] for column in told.values()]
            numbers = [pa.array(column) for column in np.ascontiguousarray(table.x[rows].T)]
            writer.write_table(pa.Table.from_arrays([*about, *numbers], schema=schema))


def read(path: Path) -> FeatureTable:
    """Read what `write` wrote.

    Raises:
        RunError: when it is damaged or something else.
    """
    pa = require("pyarrow", extra="features", purpose="reading Parquet")
    pq = require("pyarrow.parquet", extra="features", purpose="reading Parquet")
    try:
        content = pq.read_table(str(path))
    except (OSError, pa.ArrowException) as error:
        raise RunError("cannot read these features", where=path, found=error) from error
    metadata = content.schema.metadata or {}
    about = json.loads(metadata[b"pellucid"]) if b"pellucid" in metadata else None
    told = from_about(about, path)
    columns = [name for name in content.column_names if not name.startswith(_PREFIX)]
    x = np.empty((content.num_rows, len(columns)), np.float32)
    for index, name in enumerate(columns):
        x[:, index] = content[name].to_numpy()
    samples = {
        name.removeprefix(_PREFIX): np.asarray(content[name].to_pylist())
        for name in content.column_names
        if name.startswith(_PREFIX)
    }
    return FeatureTable(**told, samples=samples, columns=tuple(columns), x=x)
