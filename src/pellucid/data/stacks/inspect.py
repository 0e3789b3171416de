"""Look at stacks before anything is trained: what is there, what is dead, how to normalise it.

Shape letters: C channels, N pixels.
"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import numpy as np

from pellucid.data.report import Suggestion
from pellucid.data.stacks.hot_pixels import remove_hot_pixels
from pellucid.data.stacks.listing import Skip, Stacks, open_stacks
from pellucid.data.stacks.liveness import empty_regions
from pellucid.data.stacks.masks import find_masks
from pellucid.data.stacks.report import StackReport, describe
from pellucid.data.stacks.store import Store
from pellucid.data.stacks.survey import Progress, Survey, survey
from pellucid.data.stacks.thumbnails import Thumbnails, thumbnails

HOT = 50.0
"""Counts above all neighbours from which steinbock's examples call a pixel hot."""
JUDGED = 0.01
"""Share of pixels that must not be zero for a marker to be judged, as in the evaluation."""
_TILE, _SMALL_TILE = 32, 16
_LOOK = 512  # side of the window in which hot pixels are counted
_COUNTS_END = 1000.0  # above, values are camera levels rather than ion counts


def inspect_stacks(
    source: str | Path,
    *,
    cache_megabytes: int = 512,
    progress: Progress | None = None,
) -> tuple[StackReport, Thumbnails]:
    """Examine a folder or a file of stacks, one band of rows at a time.

    Args:
        source: path, see `listing.open_stacks`.
        cache_megabytes: memory for regions, so that they are read once.
        progress: called with (done, total).

    Returns:
        The report, and a small picture per channel of the regions where it varies most.

    Raises:
        DataError: when there is nothing to read, or panels are mixed.
    """
    stacks = open_stacks(source)
    store = Store(
        stacks.regions, range(len(stacks.channels)), cache_bytes=cache_megabytes * 1_000_000
    )
    found = survey(store, progress=progress)
    empty = [stacks.regions[number].name for number in empty_regions(found)]
    skipped = [Skip(name, "empty region", "background alone") for name in empty]
    masks = find_masks(stacks.root, stacks.regions)
    report = describe(stacks, found, masks=len(masks), skipped=skipped)
    steps, why = choose_normalisation(found)
    hot = _hot_pixels(store)
    if hot:
        why = (*why, f"{hot} pixels exceed all their neighbours by more than {HOT:g}: "
               f"data.hot_pixels={HOT:g} replaces them.")  # fmt: skip
    report = dataclasses.replace(report, count=len(stacks.regions) - len(empty))
    report = dataclasses.replace(
        report,
        normalisation=steps,
        why=why,
        remarks=(*stacks.remarks, *_remarks(report, found)),
        suggestions=suggest(report, stacks, hot=hot),
    )
    return report, thumbnails(store, found)


def choose_normalisation(found: Survey) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the steps that fit, in words, and why."""
    pixels = found.pooled()
    mean_C, std_C = pixels.mean(0), pixels.std(0)
    live = std_C > 0
    if not live.any():
        return (), ("No channel varies, so there is nothing to normalise.",)
    if np.abs(mean_C[live]).max() < 0.5 and np.abs(std_C[live] - 1).max() < 0.5:
        return (), ("Means are about 0 and standard deviations about 1: it is normalised already.",)
    spread = std_C[live].max() / std_C[live].min()
    high = np.percentile(pixels[:, live], 99, axis=0)
    tail = float(np.median(std_C[live] ** 2 / np.maximum(np.abs(mean_C[live]), 1e-9)))
    why = [
        f"Standard deviations differ {spread:.3g}-fold between channels: without a z-score the "
        "loudest would own the error."
    ]
    if float(pixels.min()) < 0:
        return ("zscore",), (*why, "There are negative values, so no logarithm.")
    typical = float(np.median(high[high > 0])) if (high > 0).any() else 1.0
    cofactor = 1.0 if typical < _COUNTS_END else float(f"{typical / 20:.1g}")
    zeros = float(np.median((pixels[:, live] == 0).mean(0)))
    why.append(
        f"Values are counts with long tails (median variance over mean {tail:.3g}, {zeros:.0%} "
        f"zeros in the median channel): arcsinh with cofactor {cofactor:g} keeps small counts "
        "linear and stops rare bright pixels from ruling."
    )
    return (f"arcsinh (cofactor {cofactor:g})", "zscore"), tuple(why)


def suggest(report: StackReport, stacks: Stacks, *, hot: int) -> tuple[Suggestion, ...]:
    """Return the recipes that fit, best first."""
    from pellucid.recipe import recipe_names

    place = f"data.path={shlex.quote(report.source)}"
    sides = [min(region.height, region.width) for region in stacks.regions]
    words = [f"pellucid train tissue-stack {place}"]
    if np.median(sides) < 2 * _TILE:
        words.append(f"data.size={_SMALL_TILE}")
    if hot:
        words.append(f"data.hot_pixels={HOT:g}")
    live = sum(node["state"] == "live" for node in report.channels)
    noun = "region" if report.count == 1 else "regions"
    why = f"{report.count} {noun} of {live} channels that vary"
    found = [Suggestion("tissue-stack", why, " ".join(words))]
    if report.masks and "tissue-cells" in recipe_names():
        masked = "1 region has a cell mask" if report.masks == 1 else (
            f"{report.masks} regions have cell masks"
        )  # fmt: skip
        why = f"{masked}: cells and their neighbours as graphs"
        words = [f"pellucid train tissue-cells {place}"]
        words += [f"data.hot_pixels={HOT:g}"] if hot else []
        found.append(Suggestion("tissue-cells", why, " ".join(words)))
    return tuple(found)


def _hot_pixels(store: Store) -> int:
    """Count hot pixels in the middle of every region."""
    total = 0
    for number, region in enumerate(store.regions):
        rows, columns = (
            slice(max(0, (n - _LOOK) // 2), (n + _LOOK) // 2) for n in (region.height, region.width)
        )
        window = store.window(number, rows, columns)
        if np.nanmax(window) > HOT:
            total += int((remove_hot_pixels(window, HOT) != window).sum())
    return total


def _remarks(report: StackReport, found: Survey) -> list[str]:
    remarks = []
    bad = {node["name"]: node["not_a_number"] for node in report.channels if node["not_a_number"]}
    if bad:
        listed = ", ".join(f"{name} ({count} pixels)" for name, count in bad.items())
        remarks.append(f"NaN or infinite values in {listed}")
    dead = {n["name"]: n["state"] for n in report.channels if n["state"] != "live"}
    if dead:
        listed = ", ".join(f"{name} ({why})" for name, why in dead.items())
        remarks.append(f"{len(dead)} channels would not be fed: {listed}")
    silent = {n["name"]: len(n["silent"]) for n in report.channels if n["silent"]}
    if silent:
        listed = ", ".join(f"{name} in {count}" for name, count in silent.items())
        remarks.append(f"silent channels (below 5 % of their usual spread), regions: {listed}")
    sparse = [n["name"] for n in report.channels if n["state"] == "live" and n["zero"] > 1 - JUDGED]
    if sparse:
        remarks.append(
            f"{len(sparse)} channels are not zero in less than {JUDGED:.0%} of the pixels, so they "
            f"would be fed but not judged: {', '.join(sparse)}"
        )
    twins = [n for n in report.correlated if abs(n["r"]) > 0.95]
    if twins:
        listed = ", ".join(" and ".join(n["channels"]) for n in twins)
        remarks.append(f"these channels say the same: {listed}")
    far = [n for n in report.batch if n["ratio"] > 3]
    if far and len(set(found.slides)) > 1:
        remarks.append(
            f"{len(far)} channels differ more than threefold between slides, most "
            f"{far[0]['channel']} ({far[0]['ratio']:.3g}-fold): split by slide before believing a "
            "held-out number"
        )
    return remarks
