"""The images that landmarks were marked in, as a run's model sees them, and lengths in them.

Shape letters: K images, L landmarks, C channels, H, W pixels.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pellucid.errors import DataError, nearest
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data.points import Points


@dataclasses.dataclass(frozen=True)
class LandmarkImages:
    """The images that points belong to, as the model sees them.

    Args:
        names: (K,) as in the points file.
        paths: (K,) files.
        x: (1, C, H, W) each, in the model's range, at the scale the run was trained at.
        scale: (K,) pixels of the file per pixel of x.
        sizes: (K, 2) width and height of the files.
        xy: (K, L, 2) points in pixels of the file; NaN where missing or outside.
        outside: points outside their image, now missing.
        left_out: names in the points file without an image.
    """

    names: list[str]
    paths: list[Path]
    x: list[Tensor]
    scale: np.ndarray
    sizes: np.ndarray
    xy: np.ndarray
    outside: list[str]
    left_out: list[str]


def open_images(run: Run, listed: Points, folder: Path) -> LandmarkImages:
    """Find and read every image; a name without a file is left out and counted.

    Args:
        run: of images; they are brought to its scale and range.
        listed: the points.
        folder: where the images are.

    Raises:
        DataError: when the folder or every image is missing, or one cannot be read.
    """
    from pellucid.build.assemble import data_facts
    from pellucid.data.preparing import Preparation
    from pellucid.data.reading import UnreadableImage, read_picture
    from pellucid.workflows.feature_sources import to_model

    if not folder.is_dir():
        raise DataError("no such folder of images", where=folder)
    resize = run.recipe.data.get("resize", 1.125)
    size = data_facts(run.recipe).size
    short_side = None if resize is None else round(size * resize)
    preparation = Preparation(data_facts(run.recipe).channels, short_side)
    names, paths, x, sizes, kept, left_out = [], [], [], [], [], []
    for row, name in enumerate(listed.images):
        path = next((p for p in (folder / name, folder / Path(name).name) if p.is_file()), None)
        if path is None:
            left_out.append(name)
            continue
        try:
            picture = read_picture(path)
        except UnreadableImage as problem:
            raise DataError("this image cannot be used", where=path, found=problem) from problem
        x.append(to_model(preparation(picture.pixels_HWC)[None], run))
        sizes.append((picture.width, picture.height))
        names.append(name)
        paths.append(path)
        kept.append(row)
    if not names:
        raise _none_there(listed, folder)
    xy, size_K2 = listed.xy[kept].copy(), np.asarray(sizes, float)
    beyond = (xy < 0).any(-1) | (xy > size_K2[:, None]).any(-1)
    outside = [f"{names[k]}: {listed.names[i]}" for k, i in np.argwhere(beyond)]
    xy[beyond] = np.nan
    scale = np.asarray([size[1] / one.shape[-2] for size, one in zip(sizes, x, strict=True)])
    return LandmarkImages(names, paths, x, scale, size_K2, xy, outside, left_out)


def _none_there(listed: Points, folder: Path) -> DataError:
    there = sorted(p.name for p in folder.iterdir() if p.is_file())
    close = nearest(Path(listed.images[0]).name, there)
    return DataError(
        "none of the images are there",
        where=folder,
        expected=f"{listed.images[0]} and {len(listed.images) - 1} more of {listed.where}",
        hint=f"the nearest is '{close}'" if close else "say --images DIR",
    )


def lengths(
    found: LandmarkImages, names: tuple[str, ...], normaliser: str
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the normaliser and the diagonal of every image, and the normaliser in words.

    Args:
        found: the images.
        names: of the landmarks.
        normaliser: "extent", "diagonal", or "NAME-NAME" of two landmarks.

    Raises:
        DataError: for another normaliser.
    """
    from pellucid.metrics.landmarks import extent

    diagonal_K = np.linalg.norm(found.sizes, axis=-1)
    if normaliser == "diagonal":
        return diagonal_K, diagonal_K, "the diagonal of the image"
    if normaliser == "extent":
        return extent(found.xy), diagonal_K, "the largest distance between two points of the image"
    for cut in (i for i, letter in enumerate(normaliser) if letter == "-"):
        pair = (normaliser[:cut], normaliser[cut + 1 :])
        if set(pair) <= set(names):
            a, b = (found.xy[:, names.index(name)] for name in pair)
            return np.linalg.norm(a - b, axis=-1), diagonal_K, f"the distance {pair[0]}–{pair[1]}"
    raise DataError(
        f"no such normaliser '{normaliser}'",
        where="normaliser",
        expected="extent, diagonal, or NAME-NAME of two landmarks",
        found=f"landmarks are {', '.join(names)}",
    )
