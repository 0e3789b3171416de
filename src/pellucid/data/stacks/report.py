"""What is known about a set of stacks: for data.json, the terminal and the page.

Shape letters: R regions, C channels.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.data.report import Suggestion, by_reason
from pellucid.data.stacks.listing import Skip, Stacks
from pellucid.data.stacks.liveness import dead_channels, silent_RC
from pellucid.data.stacks.survey import Survey

PERCENTILES = (1, 50, 90, 99, 99.9)
SATURATED = 0.001
"""Share of pixels at the largest value from which a channel counts as saturated."""
_PAIRS = 8


@dataclasses.dataclass(frozen=True)
class StackReport:
    """Describe a set of stacks.

    Args:
        kind: "stacks".
        source: path.
        format: what was read.
        found: regions found.
        examined: regions read.
        count: regions that can be used.
        skipped: reason → {"count", "examples"}.
        sizes: "H×W" → regions.
        slides: slide → regions.
        patients: patient → regions, where named.
        masks: regions with a mask.
        channels: one node per channel: name, low, high, mean, std, zero (share of zeros),
            percentiles, saturated, state ("live", or why it is dead), silent (regions), used.
        std_spread: loudest over quietest std of channels that are not dead.
        correlated: pairs of channels that follow each other, strongest first.
        batch: slide against slide: channel, ratio of the extreme slide means, the slides.
        split_by: what the splits never divide, where the set is split.
        splits: blocks per split, empty before a split.
        normalisation: steps that are (or would be) applied, in words.
        why: reasons for them.
        suggestions: recipes that fit.
        remarks: what else a reader must know.
        cells: that the masks hold, where they were measured.
    """

    source: str
    format: str
    found: int
    examined: int
    count: int
    skipped: dict[str, dict[str, Any]]
    sizes: dict[str, int]
    slides: dict[str, int]
    patients: dict[str, int]
    masks: int
    channels: list[dict[str, Any]]
    std_spread: float | None
    correlated: list[dict[str, Any]]
    batch: list[dict[str, Any]]
    split_by: str = ""
    splits: dict[str, int] = dataclasses.field(default_factory=dict)
    normalisation: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    remarks: tuple[str, ...] = ()
    cells: int = 0
    kind: str = "stacks"

    def to_json(self) -> dict[str, Any]:
        """Return the plain dictionary written to data.json."""
        return dataclasses.asdict(self)


def describe(
    stacks: Stacks,
    found: Survey,
    *,
    masks: int,
    skipped: Sequence[Skip] = (),
    dead: Mapping[str, str] | None = None,
    used: Sequence[str] | None = None,
) -> StackReport:
    """Summarise a survey.

    Args:
        stacks: the listing.
        found: the survey of its usable regions.
        masks: regions with a mask.
        skipped: regions left out after the survey.
        dead: channel → why it is not fed; None judges by all pixels.
        used: channels that are fed; None takes all that are not dead.
    """
    pixels = found.pooled()
    if dead is None:
        places = dead_channels(pixels)
        dead = {found.channels[place]: why for place, why in places.items()}
    live = [i for i, name in enumerate(found.channels) if name not in dead]
    usable = {region.name for region in stacks.regions} & set(found.regions)
    regions = [region for region in stacks.regions if region.name in usable]
    std_C = found.pooled_std()
    stds = std_C[live]
    return StackReport(
        source=stacks.where,
        format=stacks.format,
        found=len(stacks.regions) + len({skip.name for skip in stacks.skipped}),
        examined=len(stacks.regions),
        count=len(found.regions),
        skipped=by_reason(
            (skip.reason, f"{skip.name}: {skip.detail}") for skip in (*stacks.skipped, *skipped)
        ),
        sizes=_counts([f"{region.height}×{region.width}" for region in regions]),
        slides=_counts([region.slide for region in regions]),
        patients=_counts([region.patient for region in regions if region.patient]),
        masks=masks,
        channels=_channels(found, pixels, dead, live if used is None else None, used),
        std_spread=_rounded(stds.max() / stds.min()) if len(live) > 1 and stds.min() > 0 else None,
        correlated=_correlated(found, pixels, live),
        batch=_batch(found, live),
    )


def _channels(
    found: Survey,
    pixels_NC: np.ndarray,
    dead: Mapping[str, str],
    live: Sequence[int] | None,
    used: Sequence[str] | None,
) -> list[dict[str, Any]]:
    weight_R = found.pixels_R / found.pixels_R.sum()
    std_C = found.pooled_std()
    silent = silent_RC(found)
    nodes = []
    for place, name in enumerate(found.channels):
        values = pixels_NC[:, place]
        saturated = float(weight_R @ found.top_RC[:, place])
        high = float(found.high_RC[:, place].max())
        nodes.append(
            {
                "name": name,
                "low": _rounded(found.low_RC[:, place].min()),
                "high": _rounded(high),
                "mean": _rounded(weight_R @ found.mean_RC[:, place]),
                "std": _rounded(std_C[place]),
                "zero": _rounded(weight_R @ found.zero_RC[:, place]),
                "percentiles": {
                    f"{p:g}": _rounded(np.percentile(values, p)) if len(values) else None
                    for p in PERCENTILES
                },
                "saturated": _rounded(saturated) if saturated > SATURATED and high > 0 else 0.0,
                "not_a_number": int(found.bad_RC[:, place].sum()),
                "state": dead.get(name, "live"),
                "silent": [found.regions[r] for r in np.flatnonzero(silent[:, place])]
                if len(found.regions) > 1
                else [],
                "used": name in used if used is not None else place in (live or ()),
            }
        )
    return nodes


def _correlated(found: Survey, pixels_NC: np.ndarray, live: Sequence[int]) -> list[dict[str, Any]]:
    if len(live) < 2 or len(pixels_NC) < 2:
        return []
    compressed = np.arcsinh(pixels_NC[:, live].astype(np.float64))
    matrix = np.nan_to_num(np.corrcoef(compressed.T))
    pairs = sorted(itertools.combinations(range(len(live)), 2), key=lambda pair: -abs(matrix[pair]))
    return [
        {
            "channels": [found.channels[live[first]], found.channels[live[second]]],
            "r": _rounded(float(matrix[first, second])),
        }
        for first, second in pairs[:_PAIRS]
    ]


def _batch(found: Survey, live: Sequence[int]) -> list[dict[str, Any]]:
    """Compare slide means channel by channel; ratios of the highest over the lowest."""
    slides = sorted(set(found.slides))
    if len(slides) < 2:
        return []
    means = []
    for slide in slides:
        member = np.array([own == slide for own in found.slides])
        weight = found.pixels_R * member
        means.append((weight / weight.sum()) @ found.mean_RC)
    means_SC = np.array(means)
    nodes = []
    for place in live:
        column = means_SC[:, place]
        low, high = int(column.argmin()), int(column.argmax())
        ratio = column[high] / max(column[low], 1e-9)
        nodes.append(
            {
                "channel": found.channels[place],
                "ratio": _rounded(ratio),
                "lowest": slides[low],
                "highest": slides[high],
            }
        )
    return sorted(nodes, key=lambda node: -node["ratio"])[:_PAIRS]


def _counts(values: Sequence[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}


def _rounded(value: float) -> float:
    return float(f"{float(value):.5g}")
