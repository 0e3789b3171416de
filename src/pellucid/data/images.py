"""Images for training and evaluation: read once, split once, cropped on demand.

A folder is read by the rules of `reading`, an array by those of `arrays`; both are then brought to
the wanted channels and size by the rules of `preparing`, split by those of `splits`.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from pellucid.data.boxed import BoxRules
from pellucid.data.cache import PixelCache
from pellucid.data.crops import grid_crops
from pellucid.data.dataset import Augmentation, ImageSplit
from pellucid.data.degrading import Degradation
from pellucid.data.duplicates import Duplicates, find_duplicates, merge_groups
from pellucid.data.opening import open_source
from pellucid.data.preparing import Preparation
from pellucid.data.report import DataReport, describe
from pellucid.data.scan import Scan, scan
from pellucid.data.sources import Source
from pellucid.data.splits import Fractions, division_record, keep_or_assign
from pellucid.errors import DataError
from pellucid.functional.value_range import ValueRange


class ImageData:
    """Read images and offer `.train`, `.validation` and `.test`.

    Also `.splits` (JSON: who is where, with content digests), `.report` (`DataReport`),
    `.value_range`, `.classes`, `.size`, `.channels`.

    Args:
        path: folder of images, .npy or .npz, or boxes or landmarks (.csv, COCO or other .json,
            .npz; see `annotations`); wins over `name`.
        name: a set to use without a path.
        root: folder of downloaded sets; default ~/.cache/pellucid/datasets.
        size: side of the square crops in pixels.
        channels: 1 (luma) or 3.
        resize: the short side becomes round(size · resize) before cropping, at least `size`;
            None crops at native resolution. Smaller images are enlarged up to twice, smaller ones
            still are skipped; with None, any below `size`.
        value_range: model values of black and white.
        validation: share of the groups held out for choices made while training.
        test: share of the groups held out for the final numbers; a named set with test images of
            its own keeps those instead.
        group: what is never divided between splits: each file, each folder, or files that differ
            only in a trailing number ("stem"). An .npz may hold `groups` instead.
        splits: `.splits` of an earlier run to keep to; shares and seed then divide nothing anew.
            Images that came later are left out; missing or changed ones are an error.
        train_crops: samples per training image and epoch.
        crops_per_image: evaluation crops per image, on an even grid.
        random_crop: crop training images at random places, else at their centre.
        flip: mirror training images at random.
        noise: worst noise on the training input (not its target), see `Degradation`.
        blur: worst blur, likewise.
        jpeg: worst JPEG quality, likewise.
        mask: largest share of the training input's blocks that are hidden, likewise.
        mask_size: pixels along one side of such a block.
        float_range: values of black and white in floating-point files and arrays.
        image_root: folder that the paths in a file of boxes start from; None takes the file's own.
        box_format: of `bboxes` in .json and .npz: corners, or corner and size.
        box_margin: added around every box, as a share of its longer side.
        box_square: lengthen a box's shorter side as far as its image allows.
        cache_megabytes: memory for prepared images; the rest is decoded when asked for.
        strict: fail on the first unusable image instead of skipping and counting it.
        seed: of splits and augmentation.

    Raises:
        DataError: when the images cannot be used; says which and what would do.
        RecipeError: when `name` or `group` does not exist.
    """

    def __init__(
        self,
        path: str | None = None,
        name: Literal["photographs", "cifar10", "mnist", "fashion-mnist"] | None = None,
        root: str | None = None,
        size: int = 64,
        channels: Literal[1, 3] = 3,
        resize: float | None = 1.125,
        value_range: tuple[float, float] = (-1.0, 1.0),
        validation: float = 0.1,
        test: float = 0.1,
        group: Literal["file", "folder", "stem"] = "file",
        splits: Mapping[str, Any] | None = None,
        train_crops: int = 1,
        crops_per_image: int = 1,
        random_crop: bool = True,
        flip: bool = True,
        noise: float = 0.0,
        blur: float = 0.0,
        jpeg: int | None = None,
        mask: float = 0.0,
        mask_size: int = 8,
        float_range: tuple[float, float] = (0.0, 1.0),
        image_root: str | None = None,
        box_format: Literal["xyxy", "xywh"] = "xyxy",
        box_margin: float = 0.0,
        box_square: bool = True,
        cache_megabytes: int = 1024,
        strict: bool = False,
        seed: int = 0,
    ) -> None:
        _check_form(size, channels, resize, float_range, seed)
        _check_counts(train_crops, crops_per_image, cache_megabytes)
        self.size, self.channels, self.seed = size, int(channels), seed
        self.value_range = ValueRange(*value_range)
        fractions = Fractions(validation, test)
        degradation = Degradation(noise, blur, jpeg, mask, mask_size)
        augmentation = Augmentation(random_crop, flip, degradation, seed)
        boxes = BoxRules(image_root, box_format, box_margin, box_square)
        source = open_source(
            path, name, root=root, group=group, float_range=float_range, boxes=boxes
        )
        self.classes = source.classes

        short_side = None if resize is None else round(size * resize)
        preparation = Preparation(channels, short_side)
        smallest = size if resize is None else math.ceil(size / 2)
        seen = scan(
            source,
            preparation,
            smallest=smallest,
            cache_bytes=cache_megabytes * 1_000_000,
            strict=strict,
        )
        if not seen.usable:
            raise _nothing_usable(source, seen, size, smallest)
        duplicates = find_duplicates(seen.usable)
        groups = merge_groups([source.groups[m.index] for m in seen.usable], duplicates.exact)
        digests = {source.names[m.index]: m.digest for m in seen.usable}
        split_of = keep_or_assign(
            digests,
            groups,
            fractions,
            seed,
            where=source.where,
            written=splits,
            official_test=_official(source, seen),
        )
        self.splits = division_record(split_of, digests, where=source.where, seed=seed)

        self.report = _described(source, seen, duplicates, split_of, short_side)
        pixels = PixelCache(source.reader, preparation, seen.images_HWC)
        build = _SplitBuilder(source, seen, groups, split_of, pixels, size, self.value_range)
        self.train = build("train", 1, train_crops, augmentation)
        self.validation = build("validation", crops_per_image)
        self.test = build("test", crops_per_image)


@dataclasses.dataclass(frozen=True)
class _SplitBuilder:
    """Build the dataset of one split from what the splits share."""

    source: Source
    seen: Scan
    groups: list[str]
    split_of: list[str | None]
    pixels: PixelCache
    size: int
    value_range: ValueRange

    def __call__(
        self, split: str, crops: int, repeats: int = 1, augmentation: Augmentation | None = None
    ) -> ImageSplit:
        chosen = [m for m, s in zip(self.seen.usable, self.split_of, strict=True) if s == split]
        places = [
            (m.index, *place) for m in chosen for place in grid_crops(*m.prepared, self.size, crops)
        ]
        table = np.array(places * repeats, np.int64).reshape(-1, 3)
        numbers = {name: number for number, name in enumerate(sorted(set(self.groups)))}
        group_of = np.full(len(self.source), -1, np.int64)
        for m, name in zip(self.seen.usable, self.groups, strict=True):
            group_of[m.index] = numbers[name]
        labels = self.source.labels
        return ImageSplit(
            self.pixels,
            table,
            self.size,
            self.value_range,
            self.source.names,
            group_of,
            None if labels is None else np.array(labels, np.int64),
            augmentation,
        )


def _check_form(
    size: int,
    channels: int,
    resize: float | None,
    float_range: tuple[float, float],
    seed: int,
) -> None:
    if size < 1:
        raise DataError("crops need a size", where="data.size", expected="≥ 1", found=size)
    if channels not in (1, 3):
        raise DataError(
            "no such number of channels", where="data.channels", expected="1 or 3", found=channels
        )
    if resize is not None and round(size * resize) < size:
        raise DataError(
            "the resized image would be smaller than the crop",
            where="data.resize",
            expected="at least 1, or null for native resolution",
            found=resize,
        )
    if not float_range[0] < float_range[1]:
        raise DataError(
            "a range must rise", where="data.float_range", expected="black < white",
            found=list(float_range),
        )  # fmt: skip
    if seed < 0:
        raise DataError("a seed is not negative", where="data.seed", found=seed)


def _check_counts(train_crops: int, crops_per_image: int, cache_megabytes: int) -> None:
    for key, value, least in (
        ("train_crops", train_crops, 1),
        ("crops_per_image", crops_per_image, 1),
        ("cache_megabytes", cache_megabytes, 0),
    ):
        if value < least:
            raise DataError(
                f"'{key}' is too small", where=f"data.{key}", expected=f"≥ {least}", found=value
            )


def _official(source: Source, seen: Scan) -> list[bool] | None:
    """Say which usable images the set itself keeps for testing, or None when it says nothing."""
    official = source.official_test
    return None if official is None else [m.index in official for m in seen.usable]


def _described(
    source: Source,
    seen: Scan,
    duplicates: Duplicates,
    split_of: list[str | None],
    short_side: int | None,
) -> DataReport:
    report = describe(
        source,
        seen,
        duplicates,
        examined=len(source),
        measured_at="native size" if short_side is None else f"short side {short_side} pixels",
        split_of={m.index: s for m, s in zip(seen.usable, split_of, strict=True) if s},
    )
    return dataclasses.replace(report, remarks=_remarks(report, left_out=split_of.count(None)))


def _remarks(report: DataReport, left_out: int) -> tuple[str, ...]:
    remarks = []
    if left_out:
        remarks.append(f"{left_out} images are not in the written splits and are left out")
    across = report.near_duplicates["across_splits"]
    if across:
        remarks.append(
            f"{across} pairs that look the same lie in different splits, so held-out numbers may "
            "flatter; data.group=folder or stem keeps series together"
        )
    return tuple(remarks)


def _nothing_usable(source: Source, seen: Scan, size: int, smallest: int) -> DataError:
    counts = collections.Counter(skip.reason for skip in seen.skipped)
    first = seen.skipped[0]
    only_small = set(counts) == {"too small"}
    return DataError(
        "none of the images can be used",
        where=source.where,
        expected=f"images with a short side of at least {smallest} pixels for crops of {size}",
        found=", ".join(f"{n} × {reason}" for reason, n in counts.most_common())
        + f"; the first is {source.names[first.index]} ({first.why})",
        hint="choose a smaller data.size" if only_small else None,
    )
