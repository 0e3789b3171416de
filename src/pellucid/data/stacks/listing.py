"""List the regions of a folder or a file, whatever format they are in, under one panel.

A folder often holds the same regions several times (raw MCD and TXT, the TIFF made from them).
One format is read: the first of `_ORDER` that is there, because it says most about its channels.
Folders and files called mask… hold label masks and are left to `masks`.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pellucid.data.stacks import arrays, chunked, tiff
from pellucid.data.stacks.imc import open_mcd, open_txt
from pellucid.data.stacks.panel import Panel, find_panel
from pellucid.data.stacks.regions import Pixels, Region, UnreadableRegion
from pellucid.errors import DataError, nearest

Opener = Callable[[Path, Panel | None], list[Region]]
_OPENERS: dict[str, Opener] = {
    "zarr": chunked.open_chunked,
    "tiff with panel": tiff.open_tiff,
    "ome-tiff": tiff.open_tiff,
    "mcd": open_mcd,
    "txt": open_txt,
    "hdf5": chunked.open_chunked,
    "array": arrays.open_arrays,
    "tiff": tiff.open_tiff,
}
_ORDER = tuple(_OPENERS)
_TABLES = ("images.csv", "metadata.csv", "samples.csv")


@dataclasses.dataclass(frozen=True)
class Skip:
    """A file or region that is not used, and why."""

    name: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Stacks:
    """Regions with one list of channels.

    Args:
        where: what messages call the source.
        root: the folder below which masks are looked for.
        regions: in a stable order.
        channels: names, the same for every region.
        format: what was read.
        skipped: files that could not be opened.
        remarks: what else a reader must know.
    """

    where: str
    root: Path
    regions: tuple[Region, ...]
    channels: tuple[str, ...]
    format: str
    skipped: tuple[Skip, ...] = ()
    remarks: tuple[str, ...] = ()


def is_stacks(path: str | Path) -> bool:
    """Say whether a path holds stacks: a known format whose channels are not those of a picture.

    TIFF and arrays with 1, 3 or 4 channels are pictures unless a panel names their channels.
    """
    place = Path(path).expanduser()
    found = _files(place)
    if any(found[kind] for kind in ("zarr", "mcd", "hdf5", "ome-tiff", "tiff with panel")):
        return True
    if found["txt"]:
        return any(_is_imc_txt(file) for file in found["txt"][:1])
    for kind in ("tiff", "array"):
        for file in found[kind][:1]:
            try:
                regions = _OPENERS[kind](file, None)
            except (UnreadableRegion, DataError):
                return False
            return len(regions[0].channels) not in (1, 3, 4) and regions[0].width > 4
    return False


def open_stacks(
    path: str | Path, *, channels: Sequence[str] | None = None, strict: bool = False
) -> Stacks:
    """Open every region at `path`.

    Args:
        path: a folder at any depth, or one file or Zarr store.
        channels: names to use, in this order; None takes all, which must then be the same
            everywhere.
        strict: fail on the first file that cannot be opened instead of skipping it.

    Raises:
        DataError: when there is nothing to read, panels are mixed, or a channel is missing.
    """
    place = Path(path).expanduser()
    if not place.exists():
        siblings = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        guess = nearest(place.name, siblings)
        raise DataError(
            "no such file or folder",
            where=place,
            hint=f"did you mean '{place.parent / guess}'?" if guess else None,
        )
    found = _files(place)
    kinds = [kind for kind in _ORDER if found[kind]]
    if not kinds:
        raise DataError(
            "no stacks here",
            where=place,
            expected="MCD, TXT, TIFF, OME-TIFF, Zarr, HDF5 or NPY with channels × height × width",
        )
    regions: list[Region] = []
    skipped: list[Skip] = []
    used = ""
    for used in kinds:  # the next format where none of this one can be opened
        for file in found[used]:
            try:
                regions += _OPENERS[used](file, find_panel(file, place))
            except UnreadableRegion as problem:
                if strict:
                    raise DataError(
                        f"a stack cannot be read: {problem.reason}",
                        where=file,
                        found=problem.detail,
                    ) from problem
                skipped.append(Skip(_relative(file, place), problem.reason, problem.detail))
        if regions:
            break
    if not regions:
        first = skipped[0]
        raise DataError(
            "none of the stacks can be read",
            where=place,
            found=f"{len(skipped)} unusable; the first is {first.name} ({first.reason}: "
            f"{first.detail})",
        )
    root = place if place.is_dir() and not chunked.is_zarr(place) else place.parent
    names = _one_panel(regions, channels, place)
    regions = [_ordered(region, names) for region in _named_apart(regions, root)]
    return Stacks(
        str(place),
        root,
        tuple(_with_patients(regions, root)),
        names,
        used,
        tuple(skipped),
        _remarks(found, used, place),
    )


def _one_panel(regions: list[Region], wanted: Sequence[str] | None, where: Path) -> tuple[str, ...]:
    if wanted is not None:
        for region in regions:
            missing = [name for name in wanted if name not in region.channels]
            if missing:
                guess = nearest(missing[0], region.channels)
                raise DataError(
                    f"region '{region.name}' has no channel '{missing[0]}'",
                    where=where,
                    expected=", ".join(wanted),
                    found=", ".join(region.channels),
                    hint=f"did you mean '{guess}'?" if guess else None,
                )
        return tuple(wanted)
    first = regions[0]
    for region in regions[1:]:
        if set(region.channels) != set(first.channels):
            shared = [name for name in first.channels if all(name in r.channels for r in regions)]
            raise DataError(
                "regions have different panels",
                where=where,
                expected=f"the {len(first.channels)} channels of '{first.name}' everywhere",
                found=f"'{region.name}' " + _difference(set(first.channels), set(region.channels)),
                hint=f"data.channels=[{', '.join(shared)}] takes what all share"
                if shared
                else "put regions of one panel into a folder of their own",
            )
    return first.channels


def _difference(first: set[str], other: set[str]) -> str:
    parts = [
        f"{word} {', '.join(sorted(names)[:4])}{', …' if len(names) > 4 else ''}"
        for word, names in (("lacks", first - other), ("adds", other - first))
        if names
    ]
    return " and ".join(parts)


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """Some channels of other pixels, in another order."""

    pixels: Pixels
    places: tuple[int, ...]

    @property
    def streams(self) -> bool:
        return self.pixels.streams

    def read(self, channels: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
        return self.pixels.read([self.places[channel] for channel in channels], rows, columns)


def _ordered(region: Region, names: tuple[str, ...]) -> Region:
    if region.channels == names:
        return region
    places = tuple(region.channels.index(name) for name in names)
    return dataclasses.replace(region, channels=names, pixels=_Chosen(region.pixels, places))


def _named_apart(regions: list[Region], root: Path) -> list[Region]:
    """Give regions of equal names their folder as well."""
    counts = collections.Counter(region.name for region in regions)
    return [
        region
        if counts[region.name] == 1
        else dataclasses.replace(
            region, name=f"{_relative(region.path.parent, root)}/{region.name}".replace("./", "")
        )
        for region in regions
    ]


def _with_patients(regions: list[Region], root: Path) -> list[Region]:
    """Take patients and slides from images.csv, metadata.csv or samples.csv, if there is one."""
    for table in (folder / name for folder in (root, root.parent) for name in _TABLES):
        if not table.is_file():
            continue
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        key = next((k for k in ("image", "file", "name", "region") if rows and k in rows[0]), None)
        if key is None:
            continue
        told = {tiff.stem_of(Path(row[key])): row for row in rows if row[key]}
        return [
            dataclasses.replace(
                region,
                patient=told.get(region.name, {}).get("patient") or region.patient,
                slide=told.get(region.name, {}).get("slide") or region.slide,
            )
            for region in regions
        ]
    return regions


def _files(place: Path) -> dict[str, list[Path]]:
    """Return the files below a folder by format, without hidden ones and masks."""
    found: dict[str, list[Path]] = {kind: [] for kind in _ORDER}
    if place.is_file() or chunked.is_zarr(place):
        kind = _kind(place, place)
        if kind is not None:
            found[kind].append(place)
        return found
    for parent, folders, names in os.walk(place):
        here = Path(parent)
        for name in [name for name in folders if chunked.is_zarr(here / name)]:
            folders.remove(name)
            found["zarr"].append(here / name)
        folders[:] = sorted(n for n in folders if not n.startswith((".", "mask")))
        for name in sorted(n for n in names if not n.startswith((".", "mask"))):
            kind = _kind(here / name, place)
            if kind is not None:
                found[kind].append(here / name)
    return {kind: sorted(files) for kind, files in found.items()}


def _kind(path: Path, root: Path) -> str | None:
    suffix = path.suffix.lower()
    if path.is_dir():
        return "zarr"
    if suffix in tiff.EXTENSIONS:
        if tiff.is_ome(path):
            return "ome-tiff"
        return "tiff" if find_panel(path, root) is None else "tiff with panel"
    by_suffix = {".mcd": "mcd", ".txt": "txt"}
    by_suffix |= dict.fromkeys(chunked.HDF5, "hdf5") | dict.fromkeys(arrays.EXTENSIONS, "array")
    kind = by_suffix.get(suffix)
    return None if kind == "txt" and not _is_imc_txt(path) else kind


def _is_imc_txt(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(32).startswith((b"Start_push", b"\xef\xbb\xbfStart_push"))


def _relative(path: Path, root: Path) -> str:
    base = root if root.is_dir() else root.parent
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _remarks(found: dict[str, list[Path]], used: str, place: Path) -> tuple[str, ...]:
    others = {kind: files for kind, files in found.items() if files and kind != used}
    if not others:
        return ()
    left = "; ".join(
        f"{len(files)} {kind} in {_relative(files[0].parent, place)}/"
        for kind, files in others.items()
    )
    return (f"{used} is read ({len(found[used])} files); left out: {left}",)
