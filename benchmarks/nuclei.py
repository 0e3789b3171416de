"""Find nuclei in a stack by watershed: masks for measuring `tissue-cells` on a set without any.

    python benchmarks/nuclei.py --stack DATASETS/mibi/IMAGE.tiff --channel Nuc --out FOLDER

FOLDER then holds the stack (a link), its panel and `masks/`: a `data.path` of `tissue-cells`. It is
no segmentation to publish with: it makes cells of about the right size and place.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from pellucid.data.stacks import open_stacks
from pellucid.data.stacks.store import Store


def nuclei(image_HW: np.ndarray, *, blur: float = 2.0, apart: int = 6) -> np.ndarray:
    """Return uint16 labels, 0 outside.

    Args:
        image_HW: counts of a nuclear stain.
        blur: σ in pixels.
        apart: least distance between centres in pixels.
    """
    smooth = ndimage.gaussian_filter(np.log1p(image_HW.astype(np.float64)), blur)
    inside = smooth > threshold_otsu(smooth)
    centres = peak_local_max(smooth, min_distance=apart, labels=inside.astype(int))
    marks = np.zeros(image_HW.shape, np.int32)
    marks[tuple(centres.T)] = np.arange(1, len(centres) + 1)
    return watershed(-smooth, marks, mask=inside).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", type=Path, required=True)
    parser.add_argument("--channel", default="Nuc")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    stack = arguments.stack.resolve()
    opened = open_stacks(str(stack), channels=[arguments.channel])
    region = opened.regions[0]
    image = Store([region], [0]).window(0)[0]
    masks = arguments.out / "masks"
    masks.mkdir(parents=True)
    for file in stack.parent.glob(f"{stack.stem}*"):
        (arguments.out / file.name).symlink_to(file)
    labels = nuclei(image)
    tifffile.imwrite(masks / f"{region.name.rpartition('/')[2]}.tiff", labels)
    print(
        f"{labels.max()} nuclei of {np.bincount(labels.ravel())[1:].mean():.0f} pixels on average"
    )


if __name__ == "__main__":
    main()
