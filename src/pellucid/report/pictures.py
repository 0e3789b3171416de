"""The run's PNGs: read, compared, inlined.

Shape letters: H, W pixels, C colours. Levels are 8-bit display levels, 0 to 255.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from pathlib import Path

import numpy as np

from pellucid.errors import RunError
from pellucid.report.wording import finite

# Black → violet → orange → pale yellow, lightness rising all the way (dark is a small error).
_SCALE_STOPS = (
    (0.00, (0, 0, 8)),
    (0.15, (33, 12, 74)),
    (0.30, (87, 16, 110)),
    (0.45, (138, 34, 106)),
    (0.60, (188, 55, 84)),
    (0.72, (227, 89, 51)),
    (0.84, (249, 140, 10)),
    (0.93, (249, 201, 50)),
    (1.00, (252, 255, 164)),
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image ready to be inlined.

    Args:
        uri: a data URI.
        width: pixels; likewise `height`.
        tiny: whether it must be enlarged without smoothing.
    """

    uri: str
    width: int
    height: int
    tiny: bool


def read_levels(path: Path) -> np.ndarray:
    """Read an image as display levels (H, W, 3), float32 in [0, 255]; 16-bit is scaled down.

    Raises:
        RunError: when the file is missing or is not an image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode in ("I;16", "I;16B", "I;16L", "I"):
                levels_HW = np.asarray(image, dtype=np.float32) / 257.0
                return np.repeat(levels_HW[..., None], 3, axis=-1)
            return np.asarray(image.convert("RGB"), dtype=np.float32)
    except (OSError, ValueError) as error:
        raise RunError("cannot read a picture of this run", where=path, found=error) from error


def error_levels(a_HWC: np.ndarray, b_HWC: np.ndarray) -> np.ndarray:
    """Return the absolute difference averaged over colours, (H, W), in levels."""
    return np.abs(a_HWC - b_HWC).mean(axis=-1)


def psnr(a_HWC: np.ndarray, b_HWC: np.ndarray) -> float:
    """Return 10·log₁₀(255² / MSE) in dB; infinite when the two are equal."""
    mse = float(np.mean(np.square(a_HWC - b_HWC)))
    return 10 * math.log10(255.0**2 / mse) if mse > 0 else math.inf


def scale_end(errors: list[np.ndarray]) -> int:
    """Choose where the colour scale saturates: the 99th percentile, rounded up to 8 levels."""
    if not errors:
        return 64
    top = max(finite(float(np.percentile(error, 99)) for error in errors), default=0.0)
    return int(min(256, max(16, 8 * math.ceil(top / 8))))


def error_map(errors_HW: np.ndarray, end: int) -> np.ndarray:
    """Colour errors by the scale: 0 is black, `end` levels and above is pale yellow; (H, W, 3)."""
    share = np.clip(errors_HW / end, 0.0, 1.0)
    stops = [stop for stop, _ in _SCALE_STOPS]
    planes = [np.interp(share, stops, [colour[c] for _, colour in _SCALE_STOPS]) for c in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def scale_gradient() -> str:
    """Return the colour scale as CSS gradient stops."""
    return ", ".join(f"rgb{colour} {stop:.0%}" for stop, colour in _SCALE_STOPS)


def inline(levels_HWC: np.ndarray, *, longest: int = 512) -> Picture:
    """Encode levels as a PNG data URI; a side above `longest` pixels is reduced to it.

    Args:
        levels_HWC: (H, W, 3) in [0, 255].
        longest: the longest side kept.
    """
    from PIL import Image

    image = Image.fromarray(np.clip(levels_HWC, 0, 255).round().astype(np.uint8))
    width, height = image.size
    if max(width, height) > longest:
        shrink = longest / max(width, height)
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(uri, width, height, tiny=max(width, height) <= 192)
