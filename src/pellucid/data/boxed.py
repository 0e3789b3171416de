"""Open the parts of images that boxes or landmarks name, as if each were an image of its own.

Boxes of one image share a group, so no split divides an image. A box that reaches beyond its image
is clipped and counted; one that lies outside, is empty or lacks a number is skipped and counted.

Shape letters: H height, W width, C channels.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.annotations import Annotations, BoxFormat, read_annotations
from pellucid.data.folders import group_name
from pellucid.data.reading import Picture, UnreadableImage, read_picture
from pellucid.data.sources import Grouping, Source
from pellucid.errors import DataError

_SLACK = 1.0  # pixels a box may reach beyond its image without being called clipped
_LEAST = 2  # pixels a box must keep along each side


@dataclasses.dataclass(frozen=True)
class BoxRules:
    """How a box becomes a crop.

    Args:
        image_root: folder that relative image paths start from; None takes that of the file.
        format: of `bboxes` in JSON and .npz files.
        margin: added on every side, as a share of the box's longer side.
        square: lengthen the shorter side as far as the image allows.

    Raises:
        DataError: for a margin that would leave nothing.
    """

    image_root: str | None = None
    format: BoxFormat = "xyxy"
    margin: float = 0.0
    square: bool = True

    def __post_init__(self) -> None:
        if not -0.5 < self.margin < math.inf:
            raise DataError(
                "a margin this negative leaves nothing of a box",
                where="data.box_margin",
                expected="above −0.5, as a share of the longer side",
                found=self.margin,
            )


class BoxReader:
    """Read the crop of box i.

    Args:
        paths: image of each box.
        boxes_N4: left, top, right, bottom in pixels.
        missing_points: landmarks without a place, per box.
        rules: how a box becomes a crop.
        float_range: values of black and white in floating-point TIFF.
    """

    memory_mapped = False

    def __init__(
        self,
        paths: list[Path],
        boxes_N4: np.ndarray,
        missing_points: tuple[int, ...],
        rules: BoxRules,
        float_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.paths, self.boxes_N4, self.missing_points = paths, boxes_N4, missing_points
        self.rules, self.float_range = rules, float_range
        self._last: tuple[Path, Picture] | None = None  # boxes of one image follow each other

    def read(self, index: int, short_side: int | None = None) -> Picture:
        """Return the crop; its width and height are those of the box.

        Raises:
            UnreadableImage: when the image is missing or unreadable, or the box cannot be cut.
        """
        box = self.boxes_N4[index]
        if not np.isfinite(box).all():
            raise UnreadableImage("box or points without numbers", _text(box))
        picture = self._picture(self.paths[index])
        left, top, right, bottom, clipped = place(box, picture.width, picture.height, self.rules)
        notes = picture.notes + (("box clipped to the image",) if clipped else ())
        if self.missing_points[index]:
            notes += ("some landmarks missing",)
        crop = np.ascontiguousarray(picture.pixels_HWC[top:bottom, left:right])
        return dataclasses.replace(
            picture, pixels_HWC=crop, width=right - left, height=bottom - top, notes=notes
        )

    def digest(self, index: int) -> str:
        """Return a 64-bit hexadecimal hash of the file's bytes, the box and the rules."""
        hasher = hashlib.blake2b(digest_size=8)
        hasher.update(self.paths[index].read_bytes())
        hasher.update(f"{_text(self.boxes_N4[index])} {self.rules}".encode())
        return hasher.hexdigest()

    def _picture(self, path: Path) -> Picture:
        last = self._last
        if last is not None and last[0] == path:
            return last[1]
        if not path.is_file():
            raise UnreadableImage("missing file", path)
        picture = read_picture(path, None, self.float_range)
        self._last = (path, picture)
        return picture

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


def open_boxes(
    path: Path,
    group: Grouping = "file",
    float_range: tuple[float, float] = (0.0, 1.0),
    rules: BoxRules | None = None,
) -> Source:
    """Open a file of boxes or landmarks as a source of crops.

    Raises:
        DataError: when it is no such file, or none of its images exists.
    """
    rules = rules or BoxRules()
    found = read_annotations(path, rules.format)
    root = path.parent if rules.image_root is None else Path(rules.image_root).expanduser()
    paths = [root / image for image in found.images]
    _refuse_all_missing(found, paths, root)
    seen: collections.Counter[str] = collections.Counter()
    names = []
    for image in found.images:
        names.append(f"{image}#{seen[image]}")
        seen[image] += 1
    classes = () if found.labels is None else tuple(sorted(set(found.labels)))
    return Source(
        where=str(path),
        names=tuple(names),
        groups=tuple(group_name(image, group) for image in found.images),
        reader=BoxReader(paths, found.boxes_N4, found.missing_points, rules, float_range),
        labels=None if found.labels is None else tuple(classes.index(v) for v in found.labels),
        classes=classes,
    )


def place(
    box: np.ndarray, width: int, height: int, rules: BoxRules
) -> tuple[int, int, int, int, bool]:
    """Return left, top, right, bottom in whole pixels of the image, and whether it was clipped.

    Raises:
        UnreadableImage: when nothing of the box lies in the image.
    """
    left, top, right, bottom = (float(v) for v in box)
    if right - left <= 0 or bottom - top <= 0:
        raise UnreadableImage("empty box", _text(box))
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise UnreadableImage("box outside the image", f"{_text(box)} in {width}×{height}")
    clipped = min(left, top) < -_SLACK or right > width + _SLACK or bottom > height + _SLACK
    left, right = max(left, 0.0), min(right, float(width))
    top, bottom = max(top, 0.0), min(bottom, float(height))
    margin = rules.margin * max(right - left, bottom - top)
    left, right, top, bottom = left - margin, right + margin, top - margin, bottom + margin
    if rules.square:
        side = max(right - left, bottom - top)
        left, right = _lengthened(left, right, min(side, width))
        top, bottom = _lengthened(top, bottom, min(side, height))
    first, last = _inside(left, right, width), _inside(top, bottom, height)
    if min(first[1] - first[0], last[1] - last[0]) < _LEAST:
        raise UnreadableImage("empty box", f"{_text(box)} in {width}×{height}")
    return first[0], last[0], first[1], last[1], clipped


def _lengthened(low: float, high: float, length: float) -> tuple[float, float]:
    """Lengthen an interval around its middle; one that is long enough stays."""
    short = max(0.0, length - (high - low))
    return low - short / 2, high + short / 2


def _inside(low: float, high: float, size: int) -> tuple[int, int]:
    """Round to whole pixels and shift into [0, size), cutting only what is longer than that."""
    length = min(size, max(1, round(high - low)))
    start = min(max(0, round((low + high - length) / 2)), size - length)
    return start, start + length


def _refuse_all_missing(found: Annotations, paths: list[Path], root: Path) -> None:
    if not any(path.is_file() for path in paths[:1000]):
        raise DataError(
            "none of the images that this file names is there",
            where=found.where,
            expected=f"images below {root}",
            found=f"no {paths[0]}",
            hint="data.image_root=FOLDER says where relative paths start",
        )


def _text(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
