"""Label masks: one integer per cell, 0 outside, as TIFF beside the stacks.

A mask has the name of its region and lies in a folder called mask… below the set or beside it.

Shape letters: H height, W width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pellucid.data.stacks.regions import Region
from pellucid.data.stacks.tiff import EXTENSIONS, stem_of
from pellucid.errors import DataError, require


def find_masks(root: Path, regions: tuple[Region, ...]) -> dict[str, Path]:
    """Return region name → mask file, for the regions that have one.

    Args:
        root: folder of the set; its own and its parent's mask… folders are searched.
        regions: whose masks are looked for.
    """
    folders = [
        folder
        for base in (root, root.parent)
        for folder in sorted(base.glob("mask*"))
        if folder.is_dir()
    ]
    by_stem: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in EXTENSIONS:
                by_stem.setdefault(stem_of(file), file)
    names = {region.name: region.name.rpartition("/")[2] for region in regions}
    return {name: by_stem[stem] for name, stem in names.items() if stem in by_stem}


def read_mask(path: Path, region: Region) -> np.ndarray:
    """Return (H, W) int32 labels.

    Raises:
        DataError: when it cannot be read, is no label image, or has another size.
    """
    tifffile = require("tifffile", extra="tissue", purpose="reading label masks")
    try:
        labels_HW = np.squeeze(tifffile.imread(path))
    except Exception as error:  # tifffile has no base class for damaged files
        raise DataError("cannot read this mask", where=path, found=error) from error
    if labels_HW.ndim != 2 or labels_HW.dtype.kind not in "iu":
        raise DataError(
            "this is no label mask",
            where=path,
            expected="(height, width) of integers, 0 outside cells",
            found=f"{labels_HW.dtype} of shape {labels_HW.shape}",
        )
    if labels_HW.shape != (region.height, region.width):
        raise DataError(
            "mask and stack differ in size",
            where=path,
            expected=f"{region.height}×{region.width}, as region '{region.name}'",
            found="×".join(map(str, labels_HW.shape)),
        )
    return labels_HW.astype(np.int32)
