"""What a data source holds, as one JSON-able record."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pellucid.data.duplicates import Duplicates
from pellucid.data.scan import Measurement, Scan, Skipped
from pellucid.data.sources import Source

_EXAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """One recipe that fits, and why.

    Args:
        recipe: its name.
        why: one sentence.
        command: what to type.
    """

    recipe: str
    why: str
    command: str


@dataclasses.dataclass(frozen=True)
class DataReport:
    """Describe a set of images.

    Args:
        source: path or name.
        found: images found.
        examined: how many of them were decoded; fewer than `found` when sampled.
        count: how many of the examined can be used.
        skipped: reason → {"count", "examples": ["name: detail", …]}.
        ignored: files of other types per extension.
        classes: images per class, empty without labels.
        groups: number of groups (never divided between splits).
        widths: {"min", "median", "max"} pixels in the files; `heights` likewise.
        sizes: the commonest sizes, "400×533" → count.
        modes: Pillow mode or array type → count.
        bits: bits per channel → count.
        notes: rule that changed something → count, e.g. "rotated by EXIF".
        colourless: images without colour, whatever their mode.
        total_pixels: sum of width × height over the examined images.
        low: smallest value, unit (0 black, 1 white); `high` the largest.
        channel_mean: per channel, unit values, every image weighing the same.
        channel_std: per channel over all pixels, likewise.
        measured_at: which pixels the values were measured on.
        exact_duplicates: {"sets", "images", "examples"} of identical images.
        near_duplicates: {"pairs", "across_splits", "examples"} of images that look the same.
        splits: images per split, empty before a split.
        suggestions: recipes that fit.
        remarks: what else a reader must know.
    """

    source: str
    found: int
    examined: int
    count: int
    skipped: dict[str, dict[str, Any]]
    ignored: dict[str, int]
    classes: dict[str, int]
    groups: int
    widths: dict[str, float]
    heights: dict[str, float]
    sizes: dict[str, int]
    modes: dict[str, int]
    bits: dict[str, int]
    notes: dict[str, int]
    colourless: int
    total_pixels: int
    low: float
    high: float
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]
    measured_at: str
    exact_duplicates: dict[str, Any]
    near_duplicates: dict[str, Any]
    splits: dict[str, int] = dataclasses.field(default_factory=dict)
    suggestions: tuple[Suggestion, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plain dictionary written to data.json."""
        return dataclasses.asdict(self)


def describe(
    source: Source,
    scan: Scan,
    duplicates: Duplicates,
    *,
    examined: int,
    measured_at: str,
    split_of: Mapping[int, str] | None = None,
) -> DataReport:
    """Summarise measurements.

    Args:
        source: what was scanned.
        scan: its measurements; at least one image is usable.
        duplicates: places in `scan.usable`.
        examined: how many images were read.
        measured_at: which pixels were measured.
        split_of: index in the source → split.
    """
    usable = scan.usable
    splits = split_of or {}
    mean = np.array([m.mean for m in usable]).mean(axis=0)
    square = np.array([m.square for m in usable]).mean(axis=0)
    labels = source.labels
    chosen = [] if labels is None else [labels[m.index] for m in usable]
    return DataReport(
        source=source.where,
        found=len(source),
        examined=examined,
        count=len(usable),
        skipped=by_reason((skip.reason, _told(source, skip)) for skip in scan.skipped),
        ignored=source.ignored,
        classes={source.classes[k]: n for k, n in sorted(collections.Counter(chosen).items())},
        groups=len({source.groups[m.index] for m in usable}),
        widths=_spread([m.width for m in usable]),
        heights=_spread([m.height for m in usable]),
        sizes=counts([f"{m.width}×{m.height}" for m in usable], most=5),
        modes=counts([m.mode for m in usable]),
        bits=counts([str(m.bits) for m in usable]),
        notes=counts([note for m in usable for note in m.notes]),
        colourless=sum(m.colourless for m in usable),
        total_pixels=sum(m.width * m.height for m in usable),
        low=min(m.low for m in usable),
        high=max(m.high for m in usable),
        channel_mean=tuple(mean.tolist()),
        channel_std=tuple(np.sqrt(np.maximum(square - mean**2, 0)).tolist()),
        measured_at=measured_at,
        exact_duplicates=_exact(source, usable, duplicates),
        near_duplicates=_near(source, usable, duplicates, splits),
        splits=counts(list(splits.values())),
    )


def _told(source: Source, skip: Skipped) -> str:
    name = source.names[skip.index]
    return f"{name}: {skip.detail}" if skip.detail else name


def by_reason(skips: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Return reason → {"count", "examples"} of what was skipped.

    Args:
        skips: the reason, and the item in words.
    """
    found: dict[str, list[str]] = collections.defaultdict(list)
    for reason, item in skips:
        found[reason].append(item)
    return {
        reason: {"count": len(items), "examples": items[:_EXAMPLES]}
        for reason, items in sorted(found.items())
    }


def _exact(source: Source, usable: list[Measurement], duplicates: Duplicates) -> dict[str, Any]:
    return {
        "sets": len(duplicates.exact),
        "images": sum(len(places) for places in duplicates.exact),
        "examples": [
            [source.names[usable[place].index] for place in places[:_EXAMPLES]]
            for places in duplicates.exact[:_EXAMPLES]
        ],
    }


def _near(
    source: Source,
    usable: list[Measurement],
    duplicates: Duplicates,
    splits: Mapping[int, str],
) -> dict[str, Any]:
    pairs = [(usable[a].index, usable[b].index) for a, b in duplicates.near]
    across = [pair for pair in pairs if splits.get(pair[0]) != splits.get(pair[1])]
    shown = (across or pairs)[:_EXAMPLES]
    return {
        "pairs": len(pairs),
        "across_splits": len(across),
        "examples": [[source.names[a], source.names[b]] for a, b in shown],
    }


def _spread(values: list[int]) -> dict[str, float]:
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


def counts(values: Iterable[str], most: int | None = None) -> dict[str, int]:
    """Return value → how often, the commonest first."""
    return dict(collections.Counter(values).most_common(most))
