"""Write and read feature files; the ending names the format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pellucid.atomic_files import whole_file, whole_folder
from pellucid.errors import DataError, unknown_name
from pellucid.export import h5ad, npz, parquet, zarr_group
from pellucid.export.table import FeatureTable

Format = Literal["npz", "parquet", "zarr", "h5ad"]

FORMATS: dict[str, tuple[Callable[[FeatureTable, Path], None], Callable[[Path], FeatureTable]]] = {
    "npz": (npz.write, npz.read),
    "parquet": (parquet.write, parquet.read),
    "zarr": (zarr_group.write, zarr_group.read),
    "h5ad": (h5ad.write, h5ad.read),
}


def format_of(path: Path, wanted: str | None = None) -> str:
    """Return the format that a file's ending and, where given, `wanted` agree on.

    Raises:
        RecipeError: for an unknown format.
        DataError: when the two disagree.
    """
    ending = path.suffix.lower().removeprefix(".")
    name = wanted or ending
    if name not in FORMATS:
        raise unknown_name("format", name or path.name, FORMATS, where="--to, or the file's ending")
    if ending != name:
        raise DataError(
            "the file's ending says another format",
            where=path,
            expected=f".{name}",
            found=path.suffix or "no ending",
        )
    return name


def write_table(table: FeatureTable, path: Path, *, to: str | None = None) -> None:
    """Write a table atomically.

    Raises:
        RecipeError: for an unknown format.
        DataError: when the format cannot hold this table.
        MissingExtraError: when the format's library is not installed.
        RunError: when it cannot be written.
    """
    name = format_of(path, to)
    write, _ = FORMATS[name]
    with whole_folder(path) if name == "zarr" else whole_file(path) as temporary:
        write(table, temporary)


def load_table(path: str | Path) -> FeatureTable:
    """Read a features file into memory.

    Raises:
        RunError: when it is missing or none that `pellucid features` wrote.
        MissingExtraError: when the format's library is not installed.
    """
    place = Path(path)
    _, read = FORMATS[format_of(place)]
    if not place.exists():
        raise DataError("no such features file", where=place)
    return read(place)
