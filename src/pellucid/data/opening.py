"""Decide what `path` and `name` mean and open it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import get_args

from pellucid.data.annotations import SUFFIXES, holds_annotations
from pellucid.data.arrays import open_array_file
from pellucid.data.boxed import BoxRules, open_boxes
from pellucid.data.folders import open_folder
from pellucid.data.named import NAMED, open_photographs, open_torchvision
from pellucid.data.reading import EXTENSIONS
from pellucid.data.sources import Grouping, Source
from pellucid.errors import DataError, unknown_name


def open_source(
    path: str | None,
    name: str | None,
    *,
    root: str | None = None,
    group: Grouping = "file",
    float_range: tuple[float, float] = (0.0, 1.0),
    boxes: BoxRules | None = None,
) -> Source:
    """Open `path` (a folder, an array, boxes or landmarks) or, without one, the named set.

    Raises:
        DataError: when there is nothing to read there.
        RecipeError: when the name or the grouping does not exist.
    """
    if group not in get_args(Grouping):
        raise unknown_name("grouping", group, get_args(Grouping), where="data.group")
    if path is not None:
        place = Path(path).expanduser()
        if place.is_dir():
            return open_folder(place, group, float_range)
        if place.is_file() and place.suffix.lower() in SUFFIXES and holds_annotations(place):
            return open_boxes(place, group, float_range, boxes)
        if place.suffix.lower() in (".npy", ".npz") and place.is_file():
            _check_array_grouping(group, place)
            return open_array_file(place, float_range)
        raise _no_such_source(place)
    if name is None:
        raise DataError(
            "no images were named",
            where="data",
            expected="data.path=FOLDER, data.path=FILE (.npy, .npz, boxes as .csv or .json), or "
            f"data.name={'|'.join(NAMED)}",
        )
    if name not in NAMED:
        raise unknown_name("image set", name, NAMED, where="data.name")
    if name == "photographs":
        return open_photographs()
    _check_array_grouping(group, name)
    return open_torchvision(name, root)


def _check_array_grouping(group: str, where: object) -> None:
    if group != "file":
        raise DataError(
            "arrays have no folders or file names to group by",
            where=where,
            expected="data.group=file, or an .npz with a `groups` array",
            found=f"data.group={group}",
        )


def _no_such_source(place: Path) -> DataError:
    if place.is_file():
        return DataError(
            "this file is not a set of images",
            where=place,
            expected="a folder of images, an array (.npy, .npz), or boxes or landmarks (.csv with "
            "a column `image`, COCO .json, .npz with `image_paths` and `bboxes`)",
            hint="one image cannot be split; name the folder that holds several"
            if place.suffix.lower() in EXTENSIONS
            else None,
        )
    siblings = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
    close = difflib.get_close_matches(place.name, siblings, n=1)
    return DataError(
        "no such file or folder",
        where=place,
        hint=f"did you mean '{place.parent / close[0]}'?" if close else None,
    )
