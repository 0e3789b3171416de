"""Find images that are the same, and images that look the same.

Exact: equal hashes of the prepared pixels. Near: 8×8 thumbnails whose mean absolute difference is
at most `NEAR_LEVELS` of 255; candidates share one of four bands of a 56-bit difference hash, so
that pairs up to three bits apart are candidates (pigeonhole) without comparing all N² pairs.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

from pellucid.data.scan import THUMBNAIL, Measurement

NEAR_LEVELS = 2.0
_EDGE = 2.0  # levels between neighbours that count as a rise: flat areas give steady zeros
_BANDS = 4
_WINDOW = 16  # neighbours compared in brightness order within one band value
_MOST_PAIRS = 10_000


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """Indices into the measurements.

    Args:
        exact: sets of identical images.
        near: pairs of different images that look the same, at most 10,000.
    """

    exact: list[list[int]]
    near: list[tuple[int, int]]


def find_duplicates(measurements: list[Measurement]) -> Duplicates:
    """Group identical images and pair similar ones (one of each identical set is compared)."""
    by_pixels = collections.defaultdict(list)
    for place, measurement in enumerate(measurements):
        by_pixels[measurement.prepared, measurement.pixel_digest].append(place)
    exact = [places for places in by_pixels.values() if len(places) > 1]
    distinct = [places[0] for places in by_pixels.values()]
    return Duplicates(exact, _near_pairs(measurements, distinct))


def merge_groups(groups: list[str], exact: list[list[int]]) -> list[str]:
    """Unite the groups that share identical images under their first name.

    Args:
        groups: group name per image.
        exact: sets of identical images.
    """
    parent = {name: name for name in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for places in exact:
        roots = sorted({root(groups[place]) for place in places})
        for other in roots[1:]:
            parent[other] = roots[0]
    return [root(name) for name in groups]


def _near_pairs(measurements: list[Measurement], places: list[int]) -> list[tuple[int, int]]:
    places = [place for place in places if measurements[place].thumbnail is not None]
    if len(places) < 2:
        return []
    thumbnails = np.stack([np.asarray(measurements[place].thumbnail) for place in places])
    bits = (np.diff(thumbnails, axis=2) > _EDGE).reshape(len(places), _BANDS, -1)
    weights = 1 << np.arange(bits.shape[2], dtype=np.int64)
    flat = thumbnails.reshape(len(places), THUMBNAIL * THUMBNAIL)
    brightness = flat.mean(axis=1)
    found: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        keys = bits[:, band] @ weights
        order = np.lexsort((brightness, keys))
        for step in range(1, min(_WINDOW, len(places) - 1) + 1):
            first, second = order[:-step], order[step:]
            together = (keys[first] == keys[second]) & (
                np.abs(brightness[first] - brightness[second]) <= NEAR_LEVELS
            )
            first, second = first[together], second[together]
            close = np.abs(flat[first] - flat[second]).mean(axis=1) <= NEAR_LEVELS
            for a, b in zip(first[close].tolist(), second[close].tolist(), strict=True):
                found.add((min(places[a], places[b]), max(places[a], places[b])))
            if len(found) >= _MOST_PAIRS:
                return sorted(found)[:_MOST_PAIRS]
    return sorted(found)
