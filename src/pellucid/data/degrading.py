"""Degrade a model's input while its target stays clean.

In the order in which a camera would: blur, then sensor noise, then JPEG; last, blocks are hidden.
Each strength is drawn anew per sample, uniformly from 0 (or from the best quality, 95) to the
stated worst.

Shape letters: H height, W width, C channels, R rows and Q columns of blocks.
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image

from pellucid.errors import DataError

_BEST_QUALITY = 95
_GREY = 0.5  # what stands in a hidden block, in unit values


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Worst strengths of what is done to the input; the defaults do nothing.

    Args:
        noise: standard deviation of Gaussian noise in unit values (0.1 is 25 levels of 255).
        blur: standard deviation of a Gaussian blur in pixels.
        jpeg: lowest JPEG quality, 1…95, or None.
        mask: largest share of the square blocks that are hidden behind grey; a model that restores
            them has to know what belongs there (masked autoencoders: He et al. 2022).
        mask_size: pixels along one side of a block; the grid of blocks is shifted at random.

    Raises:
        DataError: when a strength has no meaning.
    """

    noise: float = 0.0
    blur: float = 0.0
    jpeg: int | None = None
    mask: float = 0.0
    mask_size: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.mask < 1:
            raise DataError(
                "a mask hides a share of the blocks",
                where="data.mask",
                expected="a number from 0 to below 1",
                found=self.mask,
            )
        if self.mask_size < 1:
            raise DataError(
                "a block has at least one pixel", where="data.mask_size", found=self.mask_size
            )
        if self.noise < 0 or self.blur < 0:
            raise DataError(
                "a degradation cannot be negative",
                where="data.noise, data.blur",
                found=f"noise {self.noise}, blur {self.blur}",
            )
        if self.jpeg is not None and not 1 <= self.jpeg <= _BEST_QUALITY:
            raise DataError(
                "no such JPEG quality", where="data.jpeg", expected="1…95", found=self.jpeg
            )

    def __bool__(self) -> bool:
        return self.noise > 0 or self.blur > 0 or self.jpeg is not None or self.mask > 0

    def __call__(self, unit_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a degraded copy, float32 in [0, 1].

        Args:
            unit_HWC: float32 in [0, 1].
            rng: the sample's own generator.
        """
        if self.blur > 0:
            unit_HWC = gaussian_blur(unit_HWC, rng.uniform(0, self.blur))
        if self.noise > 0:
            strength = np.float32(rng.uniform(0, self.noise))
            noise = rng.standard_normal(unit_HWC.shape, dtype=np.float32)
            unit_HWC = (unit_HWC + strength * noise).clip(0, 1)
        if self.jpeg is not None:
            unit_HWC = _jpeg(unit_HWC, int(rng.integers(self.jpeg, _BEST_QUALITY + 1)))
        if self.mask > 0:
            unit_HWC = hide_blocks(unit_HWC, rng.uniform(0, self.mask), self.mask_size, rng)
        return unit_HWC


def gaussian_blur(unit_HWC: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve rows and columns with a Gaussian cut at 3 σ; borders are mirrored."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(unit_HWC, (sigma, sigma, 0), mode="reflect", truncate=3.0)


def hide_blocks(
    unit_HWC: np.ndarray, share: float, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Return a copy whose blocks of size × size pixels are grey, each with probability `share`."""
    height, width = unit_HWC.shape[:2]
    down, across = rng.integers(size, size=2)
    hidden_RQ = rng.random((height // size + 2, width // size + 2)) < share
    hidden_HW = np.kron(hidden_RQ, np.ones((size, size), bool))
    hidden_HW = hidden_HW[down : down + height, across : across + width]
    return np.where(hidden_HW[..., None], np.float32(_GREY), unit_HWC)


def _jpeg(unit_HWC: np.ndarray, quality: int) -> np.ndarray:
    levels = np.rint(unit_HWC * 255).astype(np.uint8)
    flat = levels[..., 0] if levels.shape[2] == 1 else levels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer)).reshape(levels.shape)
    return decoded.astype(np.float32) / 255
