"""Read which part of which image matters: boxes from CSV, COCO, JSON or .npz; landmarks from CSV.

* CSV with a column `image` (or image_path, path, file, filename) and either `x0,y0,x1,y1` (xmin,
  ymin, xmax, ymax), or `x,y,width,height` (x,y,w,h), or landmarks as pairs `NAME_x,NAME_y`, whose
  bounding box then counts. A column `label` (or class, category) is optional.
* COCO JSON (`images`, `annotations`, `categories`), boxes as x, y, width, height.
* JSON or .npz with `image_paths` and `bboxes` (N × 4, see `box_format`), optionally `labels`.
* .npy dictionaries are pickles and are never loaded; the message says how to convert one.

Pixels are counted from the upper left corner of the upright image, 0 its left border. An empty
cell and "nan" are missing numbers. Nothing is checked against the images here: `boxed` does that
when it reads them.

Shape letters: N boxes, K landmarks.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pellucid.errors import DataError, nearest

BoxFormat = Literal["xyxy", "xywh"]
SUFFIXES = (".csv", ".tsv", ".json", ".npz", ".npy")

_IMAGE = ("image", "image_path", "path", "file", "filename", "file_name")
_LABEL = ("label", "class", "category")
_CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"))
_SIZES = (("x", "y", "width", "height"), ("x", "y", "w", "h"))


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Boxes of images, in the order of the file.

    Args:
        where: the file.
        images: (N) path of the image of each box, as written.
        boxes_N4: left, top, right, bottom in pixels; NaN where a number is missing.
        labels: (N) text, or None without labels.
        missing_points: (N) landmarks without a place; 0 for boxes.
    """

    where: Path
    images: tuple[str, ...]
    boxes_N4: np.ndarray
    labels: tuple[str, ...] | None = None
    missing_points: tuple[int, ...] = ()


def read_annotations(path: Path, box_format: BoxFormat = "xyxy") -> Annotations:
    """Read a file of boxes or landmarks.

    Args:
        path: .csv, .tsv, .json, .npz or .npy.
        box_format: of `bboxes` in JSON and .npz; CSV columns and COCO say it themselves.

    Raises:
        DataError: when the file is no such thing, or is a pickle.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _from_table(path, "\t" if suffix == ".tsv" else ",")
    if suffix == ".json":
        return _from_json(path, box_format)
    if suffix == ".npz":
        return _from_npz(path, box_format)
    raise pickled_dictionary(path)


def holds_annotations(path: Path) -> bool:
    """Say cheaply whether a file speaks of images and boxes or landmarks."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            header = _header(path, "\t" if suffix == ".tsv" else ",")
            return _column(header, _IMAGE) is not None and _geometry(header) is not None
        if suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return "bboxes.npy" in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return suffix == ".json"


def pickled_dictionary(path: Path) -> DataError:
    """Return the error for a .npy that holds Python objects, with the way out."""
    return DataError(
        "this file holds Python objects: a pickle can run code when opened and is never loaded",
        where=path,
        expected="plain arrays: an .npz (or JSON) with `image_paths` and `bboxes`",
        hint="if it is a dictionary of boxes and you trust it, convert it once: "
        f"d = numpy.load('{path.name}', allow_pickle=True).item(); numpy.savez('{path.stem}.npz', "
        "image_paths=numpy.array(d['image_paths'], str), bboxes=numpy.array(d['bboxes'], float))",
    )


def _from_table(path: Path, delimiter: str) -> Annotations:
    header, rows = _rows(path, delimiter)
    image = _column(header, _IMAGE)
    geometry = _geometry(header)
    if image is None or geometry is None:
        guess = nearest("image", header) if image is None else None
        raise DataError(
            "this table names no boxes and no landmarks",
            where=path,
            expected="a column `image`, and x0,y0,x1,y1 or x,y,width,height or NAME_x,NAME_y pairs",
            found=", ".join(header) or "no header",
            hint=f"rename '{guess}' to 'image'" if guess else None,
        )
    kind, columns = geometry
    numbers = np.array(
        [
            [_number(row.get(name), path, line, name) for name in columns]
            for line, row in enumerate(rows, 2)
        ],
        float,
    ).reshape(-1, len(columns))
    missing: tuple[int, ...] = ()
    if kind == "points":
        boxes, missing = _around(numbers.reshape(len(rows), -1, 2))
    else:
        boxes = _corners(numbers, "xywh" if kind == "sizes" else "xyxy")
    label = _column(header, _LABEL)
    labels = None if label is None else tuple(row.get(label) or "" for row in rows)
    return _annotations(path, [row.get(image) or "" for row in rows], boxes, labels, missing)


def _from_json(path: Path, box_format: BoxFormat) -> Annotations:
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("this JSON cannot be read", where=path, found=error) from error
    if isinstance(node, Mapping) and {"images", "annotations"} <= set(node):
        return _from_coco(path, node)
    if isinstance(node, Mapping) and {"image_paths", "bboxes"} <= set(node):
        return _from_columns(path, node, box_format)
    raise DataError(
        "this JSON names no boxes",
        where=path,
        expected="COCO (`images`, `annotations`), or `image_paths` and `bboxes`",
        found=", ".join(map(str, node)) if isinstance(node, Mapping) else type(node).__name__,
    )


def _from_coco(path: Path, node: Mapping[str, Any]) -> Annotations:
    try:
        files = {image["id"]: str(image["file_name"]) for image in node["images"]}
        names = {c["id"]: str(c["name"]) for c in node.get("categories", [])}
        found = [a for a in node["annotations"] if "bbox" in a]
        images = [files[annotation["image_id"]] for annotation in found]
        boxes = np.array([a["bbox"] for a in found], float).reshape(-1, 4)
        labels = [names.get(a.get("category_id"), str(a.get("category_id"))) for a in found]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "this COCO file is not complete",
            where=path,
            expected="images with id, file_name; annotations with image_id, bbox [x, y, w, h]",
            found=f"{type(error).__name__}: {error}",
        ) from error
    return _annotations(path, images, _corners(boxes, "xywh"), tuple(labels) if names else None)


def _from_npz(path: Path, box_format: BoxFormat) -> Annotations:
    try:
        with np.load(path, allow_pickle=False) as archive:
            node = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if "pickle" in str(error) or "bject" in str(error):
            raise pickled_dictionary(path) from error
        raise DataError("this .npz cannot be read", where=path, found=error) from error
    return _from_columns(path, node, box_format)


def _from_columns(path: Path, node: Mapping[str, Any], box_format: BoxFormat) -> Annotations:
    images = [str(name) for name in np.asarray(node["image_paths"]).reshape(-1).tolist()]
    try:
        boxes = np.array(node["bboxes"], float)
    except (TypeError, ValueError) as error:
        raise DataError("`bboxes` are not numbers", where=path, found=error) from error
    if boxes.shape != (len(images), 4):
        raise DataError(
            "`bboxes` do not fit `image_paths`",
            where=path,
            expected=f"{len(images)} × 4 numbers, one box per path (repeat a path for more)",
            found="×".join(map(str, boxes.shape)),
        )
    labels = node.get("labels")
    if labels is not None and len(labels) != len(images):
        raise DataError(
            "`labels` do not fit `image_paths`",
            where=path,
            expected=len(images),
            found=len(labels),
        )
    texts = None if labels is None else tuple(str(v) for v in np.asarray(labels).tolist())
    return _annotations(path, images, _corners(boxes, box_format), texts)


def _annotations(
    path: Path,
    images: Sequence[str],
    boxes_N4: np.ndarray,
    labels: tuple[str, ...] | None,
    missing: tuple[int, ...] = (),
) -> Annotations:
    nameless = [row for row, name in enumerate(images, 1) if not name.strip()]
    if nameless or not len(images):
        raise DataError(
            "a box without an image" if nameless else "a file without boxes",
            where=path,
            found=f"{len(nameless)} of {len(images)}, the first is entry {nameless[0]}"
            if nameless
            else "no entries",
        )
    return Annotations(path, tuple(images), boxes_N4, labels, missing or tuple([0] * len(images)))


def _corners(numbers_N4: np.ndarray, box_format: BoxFormat) -> np.ndarray:
    if box_format == "xyxy":
        return numbers_N4
    return np.concatenate([numbers_N4[:, :2], numbers_N4[:, :2] + numbers_N4[:, 2:]], axis=1)


def _around(points_NK2: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return bounding boxes of the points that are there (NaN below two), and how many are not."""
    boxes, missing = np.full((len(points_NK2), 4), math.nan), []
    for row in range(len(points_NK2)):
        points = points_NK2[row][np.isfinite(points_NK2[row]).all(axis=1)]
        missing.append(points_NK2.shape[1] - len(points))
        if len(points) >= 2:
            boxes[row] = [*points.min(axis=0), *points.max(axis=0)]
    return boxes, tuple(missing)


def _geometry(header: Sequence[str]) -> tuple[str, list[str]] | None:
    lowered = {name.lower(): name for name in header}
    for kind, choices in (("corners", _CORNERS), ("sizes", _SIZES)):
        for choice in choices:
            if set(choice) <= set(lowered):
                return kind, [lowered[name] for name in choice]
    stems = [name[:-2] for name in header if name.endswith("_x") and f"{name[:-2]}_y" in header]
    if len(stems) >= 2:
        return "points", [f"{stem}_{axis}" for stem in stems for axis in "xy"]
    return None


def _column(header: Sequence[str], names: Sequence[str]) -> str | None:
    lowered = {name.lower(): name for name in header}
    return next((lowered[name] for name in names if name in lowered), None)


def _header(path: Path, delimiter: str) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]


def _rows(path: Path, delimiter: str) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("this table cannot be read", where=path, found=error) from error
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    return [name.strip() for name in reader.fieldnames or []], list(reader)


def _number(text: str | None, path: Path, line: int, column: str) -> float:
    if text is None or not text.strip():
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise DataError(
            "not a number",
            where=f"{path}, line {line}, column {column}",
            expected="pixels, or an empty cell",
            found=repr(text),
        ) from None
