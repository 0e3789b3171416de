"""Look at every image once: decode, prepare, measure, keep, or say why not.

Files are decoded by a few threads (Pillow releases the interpreter lock while it decodes).

Shape letters: B images of one shape, H height, W width, C channels.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from pellucid.data.preparing import Preparation
from pellucid.data.reading import Picture, UnreadableImage
from pellucid.data.sources import Source
from pellucid.errors import DataError

THUMBNAIL = 8  # pixels per side of the thumbnails that near-duplicates are found by
_CHUNK = 128  # most images that are decoded before they are measured together
_CHUNK_BYTES = 64_000_000  # and about how many bytes of them

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

    @property
    def why(self) -> str:
        """The reason with its particulars, for messages."""
        return f"{self.reason}, {self.detail}" if self.detail else self.reason


@dataclasses.dataclass(frozen=True)
class Scan:
    """Measurements of the usable images, the others, and prepared pixels (None over budget)."""

    usable: list[Measurement]
    skipped: list[Skipped]
    images_HWC: list[np.ndarray | None]


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
    found = Scan([], [], [None] * len(source))
    free = 0 if source.reader.memory_mapped and _is_free(source, preparation) else cache_bytes
    workers = min(8, os.cpu_count() or 1)
    start, size = 0, workers
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # what Pillow warns of (damaged metadata, many pixels) is refused or counted by `reading`
        warnings.filterwarnings("ignore", module="PIL")
        while start < len(order):
            chunk = order[start : start + size]
            load = functools.partial(_load, source, preparation, smallest)
            good = []
            for loaded in _in_threads(pool, workers, load, chunk):
                if isinstance(loaded, Skipped):
                    if strict:
                        raise _refused(source, loaded)
                    found.skipped.append(loaded)
                    continue
                good.append(loaded)
                if loaded.pixels_HWC.nbytes <= free:
                    free -= loaded.pixels_HWC.nbytes
                    found.images_HWC[loaded.index] = loaded.pixels_HWC
            found.usable.extend(_measure(good))
            start += len(chunk)
            largest = max((loaded.pixels_HWC.nbytes for loaded in good), default=1)
            size = max(workers, min(_CHUNK, _CHUNK_BYTES // largest))
            if progress is not None:
                progress(start, len(order))
    return found


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """One image in memory: what the file said, and the prepared pixels only."""

    index: int
    picture: Picture
    digest: str

    @property
    def pixels_HWC(self) -> np.ndarray:
        return self.picture.pixels_HWC


def _load(source: Source, preparation: Preparation, smallest: int, index: int) -> _Loaded | Skipped:
    try:
        picture = source.reader.read(index, preparation.short_side)
        if min(picture.width, picture.height) < smallest:
            raise UnreadableImage("too small", f"{picture.width}×{picture.height}")
        prepared = dataclasses.replace(picture, pixels_HWC=preparation(picture.pixels_HWC))
        return _Loaded(index, prepared, source.reader.digest(index))
    except UnreadableImage as error:
        return Skipped(index, error.reason, error.detail)


def _in_threads(
    pool: ThreadPoolExecutor,
    workers: int,
    load: Callable[[int], _Loaded | Skipped],
    indices: Sequence[int],
) -> Iterator[_Loaded | Skipped]:
    """Yield loaded images in order; a thread loads several per errand, or errands cost more."""
    share = math.ceil(len(indices) / (4 * workers))
    errands = [indices[at : at + share] for at in range(0, len(indices), share)]
    for results in pool.map(lambda errand: [load(index) for index in errand], errands):
        yield from results


def _is_free(source: Source, preparation: Preparation) -> bool:
    """Say whether preparing costs nothing, so that a memory map already is the cache."""
    first = source.reader.read(0).pixels_HWC
    return first.dtype == np.uint8 and np.may_share_memory(first, preparation(first))


def _refused(source: Source, skipped: Skipped) -> DataError:
    return DataError(
        "an image cannot be used and data.strict is set",
        where=f"{source.where}: {source.names[skipped.index]}",
        found=skipped.why,
        hint="remove or repair it, or leave strict off to skip and count such images",
    )


def _measure(loaded: list[_Loaded]) -> list[Measurement]:
    """Measure consecutive images of one shape together: arrays are much faster that way."""
    measured = []
    for _, run in itertools.groupby(
        loaded, key=lambda one: (one.pixels_HWC.shape, one.pixels_HWC.dtype)
    ):
        ones = list(run)
        statistics = _statistics(np.stack([one.pixels_HWC for one in ones]))
        for row, one in enumerate(ones):
            picture, pixels = one.picture, np.ascontiguousarray(one.pixels_HWC)
            measured.append(
                Measurement(
                    one.index, picture.width, picture.height, picture.mode, picture.bits,
                    picture.notes, (pixels.shape[0], pixels.shape[1]), one.digest,
                    hashlib.blake2b(pixels.data, digest_size=8).digest(),
                    **{name: values[row] for name, values in statistics.items()},
                )
            )  # fmt: skip
    return measured


def _statistics(pixels_BHWC: np.ndarray) -> dict[str, list]:
    white = 255 if pixels_BHWC.dtype == np.uint8 else 1
    x_BHWC = torch.from_numpy(pixels_BHWC).float() / white
    luma_BHW = x_BHWC.mean(dim=3)
    if min(luma_BHW.shape[1:]) >= THUMBNAIL:
        thumbnails = list((adaptive_avg_pool2d(luma_BHW, THUMBNAIL) * 255).numpy())
    else:
        thumbnails = [None] * len(x_BHWC)
    return {
        "low": x_BHWC.amin(dim=(1, 2, 3)).tolist(),
        "high": x_BHWC.amax(dim=(1, 2, 3)).tolist(),
        "mean": [tuple(row) for row in x_BHWC.mean(dim=(1, 2)).tolist()],
        "square": [tuple(row) for row in x_BHWC.square().mean(dim=(1, 2)).tolist()],
        "colourless": (x_BHWC == x_BHWC[..., :1]).all(dim=3).flatten(1).all(dim=1).tolist(),
        "thumbnail": thumbnails,
    }
