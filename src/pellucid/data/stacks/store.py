"""Windows of regions as float32, hot pixels taken out, held in memory while there is room.

A window costs what it shows: of a region that is not held, only the window (and one pixel around
it, for the filter) is read.

Shape letters: C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pellucid.data.stacks.hot_pixels import remove_hot_pixels
from pellucid.data.stacks.regions import Region

BAND_BYTES = 32_000_000
"""Of float32 that a pass over a region holds at once."""


class Store:
    """Read windows of some channels of regions.

    Args:
        regions: with one list of channels.
        channels: places of the channels that are used.
        hot_pixels: threshold of `remove_hot_pixels`, or None.
        cache_bytes: memory for whole regions, in the files' own number types.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        channels: Sequence[int],
        *,
        hot_pixels: float | None = None,
        cache_bytes: int = 0,
    ) -> None:
        self.regions, self.channels = list(regions), list(channels)
        self.hot_pixels = hot_pixels
        self._left = cache_bytes
        self._held: dict[int, np.ndarray] = {}

    def window(
        self, number: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> np.ndarray:
        """Return (C, h, w) float32 of region `number`."""
        region = self.regions[number]
        rows, columns = (
            slice(*part.indices(size)[:2])
            for part, size in ((rows, region.height), (columns, region.width))
        )
        held = self._held.get(number)
        if held is None:
            held = self._hold(number)
        if held is not None:
            return held[:, rows, columns].astype(np.float32)
        return self._read(region, rows, columns).astype(np.float32)

    def bands(
        self, number: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield a window from top to bottom in bands of bounded memory: rows, (C, h, w)."""
        region = self.regions[number]
        top, bottom, _ = rows.indices(region.height)
        left, right, _ = columns.indices(region.width)
        row = 4 * len(self.channels) * (right - left)
        height = max(1, BAND_BYTES // max(1, row))
        for start in range(top, bottom, height):
            band = slice(start, min(start + height, bottom))
            yield band, self.window(number, band, columns)

    def _read(self, region: Region, rows: slice, columns: slice) -> np.ndarray:
        if self.hot_pixels is None:
            return region.read(self.channels, rows, columns)
        top, left = max(0, rows.start - 1), max(0, columns.start - 1)
        around = region.read(
            self.channels, slice(top, rows.stop + 1), slice(left, columns.stop + 1)
        )
        filtered = remove_hot_pixels(around, self.hot_pixels)
        down, right = rows.start - top, columns.start - left
        return filtered[
            :, down : down + rows.stop - rows.start, right : right + columns.stop - columns.start
        ]

    def _hold(self, number: int) -> np.ndarray | None:
        """Keep the whole region where the budget allows; decide from one pixel's number type."""
        region = self.regions[number]
        pixel = region.read(self.channels[:1], slice(0, 1), slice(0, 1))
        size = pixel.dtype.itemsize * len(self.channels) * region.height * region.width
        if size > self._left:
            return None
        self._left -= size
        whole = self._read(region, slice(0, region.height), slice(0, region.width))
        self._held[number] = whole
        return whole
