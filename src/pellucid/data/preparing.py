"""Bring a picture to the channels and the short side that a model will be fed from.

Grayscale becomes colour by replication; colour becomes grayscale by ITU-R 601-2 luma
(0.299 R + 0.587 G + 0.114 B, Pillow's own integer arithmetic on 8 bits). Resizing is Pillow's
bicubic filter, which is antialiased when it shrinks. Float pictures keep float precision.

Shape letters: H height, W width, C channels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Convert channels and resize; pictures of the right form pass through without a copy.

    Args:
        channels: 1 or 3.
        short_side: pixels of the shorter side afterwards, None to keep the size.
        enlarge: whether smaller pictures are enlarged to it.
    """

    channels: int
    short_side: int | None = None
    enlarge: bool = True

    def __call__(self, pixels_HWC: np.ndarray) -> np.ndarray:
        """Return (H, W, channels) pixels of the same type: uint8, or float32 in [0, 1]."""
        height, width = self.shape(*pixels_HWC.shape[:2])
        resized = resize(to_channels(pixels_HWC, self.channels, early=True), height, width)
        return to_channels(resized, self.channels)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after preparation."""
        short = min(height, width)
        if self.short_side is None or short == self.short_side:
            return height, width
        if short < self.short_side and not self.enlarge:
            return height, width
        scale = self.short_side / short
        return (
            max(self.short_side, round(height * scale)),
            max(self.short_side, round(width * scale)),
        )


def to_channels(pixels_HWC: np.ndarray, channels: int, *, early: bool = False) -> np.ndarray:
    """Convert between 1 and 3 channels; `early` only ever reduces (so that resizing does less)."""
    if pixels_HWC.shape[2] == channels or (early and channels == 3):
        return pixels_HWC
    if channels == 3:
        return np.repeat(pixels_HWC, 3, axis=2)
    if pixels_HWC.dtype == np.uint8:
        weights = np.array([19595, 38470, 7471], np.uint32)  # 65536 × the luma weights
        luma = (pixels_HWC.astype(np.uint32) @ weights + 0x8000) >> 16
        return luma.astype(np.uint8)[..., None]
    return (pixels_HWC @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]


def resize(pixels_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize with antialiased bicubic filtering; float pictures are clipped back to [0, 1]."""
    if pixels_HWC.shape[:2] == (height, width):
        return pixels_HWC
    if pixels_HWC.dtype == np.uint8:
        flat = pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC
        image = Image.fromarray(np.ascontiguousarray(flat))
        resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
        return resized.reshape(height, width, -1)
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for plane in np.moveaxis(pixels_HWC, 2, 0)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2).clip(0, 1)
