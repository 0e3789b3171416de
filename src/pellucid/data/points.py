"""Landmarks from a CSV: one row per image, in pixels of the image file.

Two forms are read: `image, NAME_x, NAME_y, …` (also `NAME.x`, `NAME x`), and DeepLabCut's three
heading rows (scorer, bodyparts, coords). An empty cell or NaN is a missing point.

Shape letters: K images, L landmarks.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from pathlib import Path

import numpy as np

from pellucid.errors import DataError

_AXIS = re.compile(r"^(?P<name>.+?)[_.\- ](?P<axis>[xy])$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Points:
    """Landmarks of images, in the order of the file.

    Args:
        where: the file.
        images: (K,) names, as written.
        names: (L,) of the landmarks.
        xy: (K, L, 2) pixels, x to the right and y down; NaN where missing.
    """

    where: str
    images: tuple[str, ...]
    names: tuple[str, ...]
    xy: np.ndarray

    @property
    def missing(self) -> int:
        """How many points are missing."""
        return int(np.isnan(self.xy).any(-1).sum())


def read_points(path: str | Path) -> Points:
    """Read landmarks.

    Raises:
        DataError: when there is no such file, no pair of columns, a cell that is no number, half a
            point, or an image twice.
    """
    place = Path(path)
    if not place.is_file():
        raise DataError("no such file of landmarks", where=place)
    try:
        with place.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("cannot read the landmarks", where=place, found=error) from error
    if len(rows) < 2:
        raise DataError("no landmarks in this file", where=place, found=f"{len(rows)} rows")
    columns, body, first = _columns(rows, place)
    images, xy = [], np.full((len(body), len(columns), 2), np.nan)
    for index, row in enumerate(body):
        images.append(row[first - 1] if first > 1 else row[0])
        if first > 1:  # DeepLabCut splits folders over columns
            images[-1] = "/".join(cell for cell in row[:first] if cell)
        for landmark, (_, across, down) in enumerate(columns):
            for axis, column in enumerate((across, down)):
                cell = row[column] if column < len(row) else ""
                xy[index, landmark, axis] = _number(cell, f"{place}, row of {images[-1]}")
    _check_whole(xy, images, [name for name, *_ in columns], place)
    return Points(str(place), tuple(images), tuple(name for name, *_ in columns), xy)


def _columns(
    rows: list[list[str]], place: Path
) -> tuple[list[tuple[str, int, int]], list[list[str]], int]:
    """Return (name, columns of x and y) per landmark, the images' rows, where points begin."""
    if rows[0][0].strip().lower() == "scorer" and len(rows) > 3:
        names, axes = rows[1], rows[2]
        found = [(names[i].strip(), axes[i].strip().lower(), i) for i in range(len(axes))]
        body = rows[3:]
        first = next(i for i, axis in enumerate(axes) if axis.strip().lower() in ("x", "y"))
    else:
        matches = [(_AXIS.match(cell.strip()), i) for i, cell in enumerate(rows[0])]
        found = [(m["name"], m["axis"].lower(), i) for m, i in matches if m is not None]
        body, first = rows[1:], 1
    by_name: dict[str, dict[str, int]] = {}
    for name, axis, index in found:
        if axis in ("x", "y"):
            by_name.setdefault(name, {})[axis] = index
    lonely = [name for name, axes in by_name.items() if len(axes) != 2]
    if not by_name or lonely:
        raise DataError(
            f"'{lonely[0]}' has one of x and y" if lonely else "no columns of points",
            where=place,
            expected="image, NAME_x, NAME_y, … (or DeepLabCut's three heading rows)",
            found=", ".join(rows[0][:8]),
        )
    return [(name, axes["x"], axes["y"]) for name, axes in by_name.items()], body, first


def _number(cell: str, where: str) -> float:
    text = cell.strip()
    if not text or text.lower() in ("nan", "na", "none", "null"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise DataError("a coordinate is no number", where=where, found=text) from None
    if math.isinf(value):
        raise DataError("a coordinate is infinite", where=where, found=text)
    return value


def _check_whole(xy: np.ndarray, images: list[str], names: list[str], place: Path) -> None:
    half = np.isnan(xy).any(-1) & ~np.isnan(xy).all(-1)
    if half.any():
        index, landmark = np.argwhere(half)[0]
        raise DataError(
            "a point has one of x and y",
            where=f"{place}, row of {images[index]}",
            expected="both, or neither for a missing point",
            found=f"{names[landmark]}: {xy[index, landmark].tolist()}",
        )
    if len(set(images)) < len(images):
        twice = next(name for name in images if images.count(name) > 1)
        raise DataError("an image occurs twice", where=place, found=twice)
