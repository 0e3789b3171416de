"""Look at every image once: decode, prepare, measure, keep, or say why not.

Files are decoded by a few threads (Pillow releases the interpreter lock while it decodes).

Shape letters: B images of one shape, H height, W width, C channels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pellucid.data.preparing import Preparation
from pellucid.data.reading import Picture, UnreadableImage
from pellucid.data.sources import Source
from pellucid.errors import DataError

THUMBNAIL = 8  # pixels per side of the thumbnails that near-duplicates are found by
_CHUNK = 128  # images decoded before they are measured together

Progress = Callable[[int, int], object]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one usable image showed.

    Args:
        index: its place in the source.
        width: pixels in the file; `height` likewise.
        mode: of the file, see `Picture`.
        bits: per channel in the file.
        notes: rules that changed something.
        prepared: height and width after preparation.
        digest: hash of the file's bytes.
        pixel_digest: hash of the prepared pixels.
        low: smallest prepared value, unit; `high` the largest.
        mean: per channel, unit values.
        square: mean square per channel.
        colourless: whether the channels are equal.
        thumbnail: 8×8 block means of the luma in 0…255, or None below 8 pixels.
    """

    index: int
    width: int
    height: int
    mode: str
    bits: int
    notes: tuple[str, ...]
    prepared: tuple[int, int]
    digest: str
    pixel_digest: bytes
    low: float
    high: float
    mean: tuple[float, ...]
    square: tuple[float, ...]
    colourless: bool
    thumbnail: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Skipped:
    """One image that cannot be used: `reason` is a category, `detail` the particulars."""

    index: int
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Scan:
    """Measurements of the usable images, the others, and prepared pixels (None over budget)."""

    usable: list[Measurement]
    skipped: list[Skipped]
    images_HWC: list[np.ndarray | None]  # noqa: N815


def scan(
    source: Source,
    preparation: Preparation,
    *,
    smallest: int = 1,
    cache_bytes: int = 0,
    strict: bool = False,
    indices: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Read every image (or `indices`) of a source.

    Args:
        source: what to read.
        preparation: channels and size of the pixels that are measured and kept.
        smallest: pixels that the short side in the file must have.
        cache_bytes: how many bytes of prepared pixels to keep.
        strict: stop at the first image that cannot be used.
        indices: which images; default all.
        progress: called with (done, total).

    Raises:
        DataError: with `strict`, naming the first image that cannot be used and why.
    """
    order = range(len(source)) if indices is None else indices
    kept: list[np.ndarray | None] = [None] * len(source)
    found = Scan([], [], kept)
    free = 0 if source.reader.memory_mapped and _is_free(source, preparation) else cache_bytes

    def load(index: int) -> tuple[Picture, np.ndarray, str] | UnreadableImage:
        try:
            picture = source.reader.read(index, preparation.short_side)
            if min(picture.width, picture.height) < smallest:
                raise UnreadableImage("too small", f"{picture.width}×{picture.height}")
            return picture, preparation(picture.pixels_HWC), source.reader.digest(index)
        except UnreadableImage as error:
            return error

    workers = min(8, os.cpu_count() or 1)
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # what Pillow warns of (damaged metadata, many pixels) is refused or counted by `reading`
        warnings.filterwarnings("ignore", module="PIL")
        for start in range(0, len(order), _CHUNK):
            chunk = order[start : start + _CHUNK]
            good = []
            for index, loaded in zip(chunk, pool.map(load, chunk), strict=True):
                if isinstance(loaded, UnreadableImage):
                    if strict:
                        raise _refused(source, index, loaded)
                    found.skipped.append(Skipped(index, loaded.reason, loaded.detail))
                    continue
                good.append((index, *loaded))
                if loaded[1].nbytes <= free:
                    free -= loaded[1].nbytes
                    kept[index] = loaded[1]
            found.usable.extend(_measure(good))
            if progress is not None:
                progress(start + len(chunk), len(order))
    return found


def _is_free(source: Source, preparation: Preparation) -> bool:
    """Say whether preparing costs nothing, so that a memory map already is the cache."""
    first = source.reader.read(0).pixels_HWC
    return first.dtype == np.uint8 and np.may_share_memory(first, preparation(first))


def _refused(source: Source, index: int, why: UnreadableImage) -> DataError:
    return DataError(
        "an image cannot be used and data.strict is set",
        where=f"{source.where}: {source.names[index]}",
        found=str(why),
        hint="remove or repair it, or leave strict off to skip and count such images",
    )


def _measure(loaded: list[tuple[int, Picture, np.ndarray, str]]) -> list[Measurement]:
    """Measure consecutive images of one shape together: arrays are much faster that way."""
    measured = []
    for _, run in itertools.groupby(loaded, key=lambda item: (item[2].shape, item[2].dtype)):
        items = list(run)
        statistics = _statistics(np.stack([pixels for _, _, pixels, _ in items]))
        for row, (index, picture, pixels, digest) in enumerate(items):
            measured.append(
                Measurement(
                    index, picture.width, picture.height, picture.mode, picture.bits,
                    picture.notes, (pixels.shape[0], pixels.shape[1]), digest,
                    hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8).digest(),
                    **{name: values[row] for name, values in statistics.items()},
                )
            )  # fmt: skip
    return measured


def _statistics(pixels_BHWC: np.ndarray) -> dict[str, list]:
    white = 255 if pixels_BHWC.dtype == np.uint8 else 1
    unit = pixels_BHWC.astype(np.float32) / white
    count, height, width, channels = unit.shape
    flat = unit.reshape(count, height * width, channels)
    first = pixels_BHWC[..., :1]
    luma = unit.mean(axis=3) * 255
    if min(height, width) >= THUMBNAIL:
        thumbnails = list(_block_means(luma).astype(np.float32))
    else:
        thumbnails = [None] * count
    return {
        "low": flat.min(axis=(1, 2)).tolist(),
        "high": flat.max(axis=(1, 2)).tolist(),
        "mean": [tuple(row) for row in flat.mean(axis=1).tolist()],
        "square": [tuple(row) for row in np.square(flat).mean(axis=1).tolist()],
        "colourless": (pixels_BHWC == first).all(axis=(1, 2, 3)).tolist(),
        "thumbnail": thumbnails,
    }


def _block_means(luma_BHW: np.ndarray) -> np.ndarray:
    """Average over a grid of 8×8 blocks (block sizes differ by at most one pixel)."""
    for axis in (1, 2):
        edges = np.linspace(0, luma_BHW.shape[axis], THUMBNAIL + 1).astype(int)
        sums = np.add.reduceat(luma_BHW, edges[:-1], axis=axis)
        shape = [1, 1, 1]
        shape[axis] = THUMBNAIL
        luma_BHW = sums / np.diff(edges).reshape(shape)
    return luma_BHW
