"""Tiles of a user's stacks for features: normalised as in training, placed in their region.

Shape letters: N tiles, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import RunError

if TYPE_CHECKING:
    from pellucid.data.stacks.normalisers import Chain
    from pellucid.data.stacks.store import Store
    from pellucid.workflows.run import Run


def stack_tiles(
    run: Run, path: str | Path, *, split: str
) -> tuple[int, Iterator[tuple[Tensor, dict[str, list]]], list[tuple[str, str]]]:
    """Return how many separate tiles there are, a row of them at a time, and what was skipped.

    Args:
        run: of stacks.
        path: a file or folder of stacks that have the run's channels.
        split: what the tiles' column of that name says.

    Raises:
        DataError: when there is nothing to read, or a channel is missing.
        RunError: when the run has no normaliser.
    """
    from pellucid.build.assemble import data_facts
    from pellucid.data.stacks import open_stacks
    from pellucid.data.stacks.store import Store

    chain = run.normaliser()
    if chain is None:
        raise RunError("this run has no normaliser", where=run.folder.normaliser)
    stacks = open_stacks(path, channels=chain.channels)
    size = data_facts(run.recipe).size
    store = Store(
        stacks.regions, range(len(chain.channels)), hot_pixels=run.recipe.data.get("hot_pixels")
    )
    skipped = [(s.name, f"{s.reason} ({s.detail})") for s in stacks.skipped]
    skipped += [
        (r.name, f"too small ({r.height}×{r.width}, tiles are {size})")
        for r in stacks.regions
        if min(r.height, r.width) < size
    ]
    total = sum((r.height // size) * (r.width // size) for r in stacks.regions)
    return total, _rows(store, chain, size, split), skipped


def _rows(
    store: Store, chain: Chain, size: int, split: str
) -> Iterator[tuple[Tensor, dict[str, list]]]:
    for number, region in enumerate(store.regions):
        across = region.width // size
        if not across:
            continue
        lefts = [place * size for place in range(across)]
        for top in range(0, region.height - size + 1, size):
            strip = store.window(number, slice(top, top + size), slice(0, across * size))
            tiles_NCHW = torch.from_numpy(np.stack(np.split(strip, across, axis=2)))
            x_NCHW, _ = chain.forward(tiles_NCHW)
            yield (
                x_NCHW,
                {
                    "name": [region.name] * across,
                    "split": [split] * across,
                    "group": [region.slide] * across,
                    "top": [top] * across,
                    "left": lefts,
                    "y": [top + size / 2] * across,
                    "x": [left + size / 2 for left in lefts],
                },
            )
