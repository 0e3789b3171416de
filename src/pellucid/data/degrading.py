"""Degrade a model's input while its target stays clean.

In the order in which a camera would: blur, then sensor noise, then JPEG. Each strength is drawn
anew per sample, uniformly from 0 (or from the best quality, 95) to the stated worst.

Shape letters: H height, W width, C channels.
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image

from pellucid.errors import DataError

_BEST_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Worst strengths of what is done to the input; the defaults do nothing.

    Args:
        noise: standard deviation of Gaussian noise in unit values (0.1 is 25 levels of 255).
        blur: standard deviation of a Gaussian blur in pixels.
        jpeg: lowest JPEG quality, 1…95, or None.

    Raises:
        DataError: when a strength has no meaning.
    """

    noise: float = 0.0
    blur: float = 0.0
    jpeg: int | None = None

    def __post_init__(self) -> None:
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
        return self.noise > 0 or self.blur > 0 or self.jpeg is not None

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
        return unit_HWC


def gaussian_blur(unit_HWC: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve rows and columns with a Gaussian cut at 3 σ; borders are mirrored."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(unit_HWC, (sigma, sigma, 0), mode="reflect", truncate=3.0)


def _jpeg(unit_HWC: np.ndarray, quality: int) -> np.ndarray:
    levels = np.rint(unit_HWC * 255).astype(np.uint8)
    flat = levels[..., 0] if levels.shape[2] == 1 else levels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer)).reshape(levels.shape)
    return decoded.astype(np.float32) / 255
