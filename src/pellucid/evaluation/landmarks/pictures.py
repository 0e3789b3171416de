"""Draw true and predicted points: a ring where a point is, a cross where it was found.

Shape letters: L landmarks.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

_COLOURS = (
    (0, 158, 255),
    (255, 122, 0),
    (0, 200, 120),
    (230, 80, 190),
    (240, 200, 0),
    (150, 120, 255),
)
_SIDE = 320
_FINE = 2  # drawn larger and reduced, which smooths the lines
_ROOM = 0.7


def colour(landmark: int) -> tuple[int, int, int]:
    """Return the colour of a landmark."""
    return _COLOURS[landmark % len(_COLOURS)]


def draw_points(path: Path, true_L2: np.ndarray, predicted_L2: np.ndarray) -> bytes:
    """Return a PNG of the part of an image that holds the points, with both sets drawn.

    Args:
        path: the image.
        true_L2: in its pixels, NaN where missing.
        predicted_L2: likewise; one far away is drawn at the border, towards it.
    """
    from PIL import Image, ImageDraw, ImageOps

    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    known = true_L2[np.isfinite(true_L2).all(-1)]
    middle = (known.max(0) + known.min(0)) / 2
    side = max(24.0, float((known.max(0) - known.min(0)).max()) * (1 + 2 * _ROOM))
    left, top = (middle - side / 2).tolist()
    box = (round(left), round(top), round(left + side), round(top + side))
    width = _SIDE * _FINE
    part = image.crop(box).resize((width, width), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(part)
    scale = width / (box[2] - box[0])
    for landmark, (true, found) in enumerate(zip(true_L2, predicted_L2, strict=True)):
        shade = colour(landmark)
        if np.isfinite(found).all():
            x, y = np.clip((found - box[:2]) * scale, 8, width - 8).tolist()
            for dx, dy in ((9, 9), (9, -9)):
                ends = [(x - dx, y - dy), (x + dx, y + dy)]
                pen.line(ends, fill=(0, 0, 0), width=8)
                pen.line(ends, fill=shade, width=4)
        if np.isfinite(true).all():
            x, y = ((true - box[:2]) * scale).tolist()
            for radius, ink, line in ((15, (0, 0, 0), 6), (14, shade, 3)):
                pen.ellipse(
                    (x - radius, y - radius, x + radius, y + radius), outline=ink, width=line
                )
    buffer = io.BytesIO()
    part.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
