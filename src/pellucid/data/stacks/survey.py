"""Measure every channel of every region in one pass of bounded memory.

Shape letters: R regions, C channels, N sampled pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from pellucid.data.stacks.store import Store

Progress = Callable[[int, int], None]
SAMPLES = 50_000
"""Pixels of a region that percentiles and correlations are taken from, evenly spaced."""


@dataclasses.dataclass(frozen=True)
class Survey:
    """What the channels of regions hold; non-finite values are counted and left out.

    Args:
        channels: names.
        regions: names.
        slides: slide per region.
        pixels_R: height × width.
        low_RC: smallest value.
        high_RC: largest value.
        mean_RC: mean.
        std_RC: standard deviation.
        zero_RC: share of zeros.
        top_RC: share of pixels at the largest value.
        bad_RC: NaN and infinite pixels.
        samples: per region, (N, C) pixels.
    """

    channels: tuple[str, ...]
    regions: tuple[str, ...]
    slides: tuple[str, ...]
    pixels_R: np.ndarray
    low_RC: np.ndarray
    high_RC: np.ndarray
    mean_RC: np.ndarray
    std_RC: np.ndarray
    zero_RC: np.ndarray
    top_RC: np.ndarray
    bad_RC: np.ndarray
    samples: tuple[np.ndarray, ...]

    def pooled(self, regions: Sequence[int] | None = None, most: int = 500_000) -> np.ndarray:
        """Return up to `most` sampled pixels (N, C) of some regions, finite in every channel."""
        chosen = range(len(self.regions)) if regions is None else regions
        joined = np.concatenate([self.samples[number] for number in chosen])
        joined = joined[np.isfinite(joined).all(1)] if not np.isfinite(joined).all() else joined
        step = max(1, -(-len(joined) // most))
        return joined[::step]

    def pooled_std(self) -> np.ndarray:
        """Return (C,) standard deviation over all pixels of all regions."""
        share = self.pixels_R / self.pixels_R.sum()
        mean = share @ self.mean_RC
        second = share @ (self.std_RC**2 + self.mean_RC**2)
        return np.sqrt(np.maximum(second - mean**2, 0))


def survey(store: Store, *, progress: Progress | None = None) -> Survey:
    """Measure every region of a store, band by band."""
    rows: dict[str, list[np.ndarray]] = {}
    samples, pixels = [], []
    for number, region in enumerate(store.regions):
        if progress is not None:
            progress(number, len(store.regions))
        total = region.height * region.width
        measured, taken = _region(store, number, max(1, total // SAMPLES))
        pixels.append(total)
        samples.append(taken)
        for key, value in measured.items():
            rows.setdefault(key, []).append(value)
    if progress is not None:
        progress(len(store.regions), len(store.regions))
    names = store.regions[0].channels
    return Survey(
        tuple(names[channel] for channel in store.channels),
        tuple(region.name for region in store.regions),
        tuple(region.slide for region in store.regions),
        np.array(pixels),
        samples=tuple(samples),
        **{f"{key}_RC": np.stack(values) for key, values in rows.items()},
    )


def _region(store: Store, number: int, step: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    count = len(store.channels)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    total, square, zeros = np.zeros(count), np.zeros(count), np.zeros(count)
    bad, top, seen = np.zeros(count, np.int64), np.zeros(count), 0
    taken = []
    for _, band_CHW in store.bands(number):
        flat_CN = band_CHW.reshape(count, -1)
        taken.append(flat_CN[:, (-seen) % step :: step].T.copy())
        seen += flat_CN.shape[1]
        finite = np.isfinite(flat_CN)
        if not finite.all():
            bad += (~finite).sum(1)
            flat_CN = np.where(finite, flat_CN, np.nan)
            if finite.any(1).all():
                own_low, own_high = np.nanmin(flat_CN, 1), np.nanmax(flat_CN, 1)
            else:
                some = finite.any(1)
                own_low, own_high = np.full(count, np.inf), np.full(count, -np.inf)
                own_low[some] = np.nanmin(flat_CN[some], 1)
                own_high[some] = np.nanmax(flat_CN[some], 1)
        else:
            own_low, own_high = flat_CN.min(1), flat_CN.max(1)
        at_top = (flat_CN == own_high[:, None]).sum(1)
        top = np.where(own_high > high, at_top, top + np.where(own_high == high, at_top, 0))
        low, high = np.minimum(low, own_low), np.maximum(high, own_high)
        values = np.nan_to_num(flat_CN, copy=False)
        total += values.sum(1, dtype=np.float64)
        square += np.einsum("cn,cn->c", values, values, dtype=np.float64)
        zeros += (values == 0).sum(1)
    good = np.maximum(seen - bad, 1)
    mean = total / good
    return {
        "low": np.where(np.isfinite(low), low, 0.0),
        "high": np.where(np.isfinite(high), high, 0.0),
        "mean": mean,
        "std": np.sqrt(np.maximum(square / good - mean**2, 0)),
        "zero": (zeros - bad) / good,
        "top": top / good,
        "bad": bad,
    }, np.concatenate(taken)
