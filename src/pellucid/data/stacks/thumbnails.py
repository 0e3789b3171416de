"""A small picture per channel, of the regions where it varies most.

Shape letters: C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np

from pellucid.data.stacks.store import Store
from pellucid.data.stacks.survey import Survey

Thumbnails = dict[str, list[tuple[str, np.ndarray]]]
"""Channel → (region, uint8 picture)."""

REGIONS = 3
SIDE = 256


def thumbnails(store: Store, found: Survey) -> Thumbnails:
    """Draw arcsinh(values): black is 0, white the channel's 99.5th percentile over all regions.

    A region larger than `SIDE` is averaged over squares of pixels. Several regions of a channel
    share one scale.
    """
    shown = np.argsort(-found.std_RC.sum(1))[:REGIONS]
    small = {int(number): _reduced(store, int(number)) for number in shown}
    pixels = np.arcsinh(np.maximum(np.nan_to_num(found.pooled()), 0))
    pictures: Thumbnails = {}
    for place, name in enumerate(found.channels):
        high = max(
            float(np.percentile(pixels[:, place], 99.5)),
            max(float(values[place].max()) for values in small.values()) / 4,
            1e-6,
        )
        pictures[name] = [
            (
                found.regions[number],
                (np.clip(values[place] / high, 0, 1) * 255).round().astype(np.uint8),
            )
            for number, values in small.items()
        ]
    return pictures


def _reduced(store: Store, number: int) -> np.ndarray:
    """Return (C, h, w) arcsinh values of a region, averaged over squares, band by band."""
    region = store.regions[number]
    square = -(-max(region.height, region.width) // SIDE)
    height, width = region.height // square, region.width // square
    total = np.zeros((len(store.channels), height, width), np.float32)
    for rows, band_CHW in store.bands(number):
        values = np.arcsinh(np.maximum(np.nan_to_num(band_CHW), 0))[:, :, : width * square]
        across = values.reshape(*values.shape[:2], width, square).mean(3)
        own = np.arange(rows.start, rows.stop) // square
        kept = own < height
        for row in np.unique(own[kept]):
            total[:, row] += across[:, own == row].sum(1) / square
    return total
