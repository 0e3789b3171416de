"""Where crops lie.

Shape letters: H height, W width.
"""

from __future__ import annotations

import math


def grid_crops(height: int, width: int, size: int, count: int) -> list[tuple[int, int]]:
    """Return (top, left) of up to `count` crops spread evenly over an image.

    One crop is the centre. Several lie on a grid of the image's own proportions. An image holds at
    most ⌈H/size⌉·⌈W/size⌉ of them, so that no two are nearly the same.

    Args:
        height: of the image, at least `size`; `width` likewise.
        size: side of a crop.
        count: how many are wanted.
    """
    count = min(count, math.ceil(height / size) * math.ceil(width / size))
    most_columns = math.ceil(width / size)
    columns = min(most_columns, max(1, round(math.sqrt(count * width / height))))
    rows = min(math.ceil(height / size), math.ceil(count / columns))
    columns = min(most_columns, math.ceil(count / rows))
    places = [
        (_spread(row, rows, height - size), _spread(column, columns, width - size))
        for row in range(rows)
        for column in range(columns)
    ]
    if len(places) == count:
        return places
    return [places[round(i * (len(places) - 1) / max(1, count - 1))] for i in range(count)]


def _spread(place: int, places: int, room: int) -> int:
    """Return offset `place` of `places`, evenly from 0 to `room`; a single one is in the middle."""
    return room // 2 if places == 1 else round(place * room / (places - 1))
