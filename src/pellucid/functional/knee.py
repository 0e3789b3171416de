"""The knee of a curve: where more of x stops paying in y."""

from __future__ import annotations

from collections.abc import Sequence


def knee(x: Sequence[float], y: Sequence[float]) -> int | None:
    """Return the index of the point farthest above the chord from the first to the last point.

    Both axes are scaled to [0, 1] first, so units do not matter. None for fewer than three points,
    for a curve that does not rise, or where no point lies above the chord.

    Args:
        x: cost of each point, any order.
        y: gain of each point.

    Source: Satopää et al. 2011, "Finding a 'kneedle' in a haystack", section II.
    """
    order = sorted(range(len(x)), key=lambda i: x[i])
    if len(order) < 3:
        return None
    first, last = order[0], order[-1]
    width, height = x[last] - x[first], y[last] - y[first]
    if width <= 0 or height <= 0:
        return None
    above = {i: (y[i] - y[first]) / height - (x[i] - x[first]) / width for i in order[1:-1]}
    best = max(above, key=lambda i: above[i])
    return best if above[best] > 0 else None
