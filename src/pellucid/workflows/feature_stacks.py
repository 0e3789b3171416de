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

from pellucid.workflows.user_stacks import UserStacks, open_user_stacks

if TYPE_CHECKING:
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

    stacks = open_user_stacks(run, path)
    size = data_facts(run.recipe).size
    too_small = [
        (r.name, f"too small ({r.height}×{r.width}, tiles are {size})")
        for r in stacks.store.regions
        if min(r.height, r.width) < size
    ]
    total = sum((r.height // size) * (r.width // size) for r in stacks.store.regions)
    return total, _rows(stacks, size, split), [*stacks.skipped, *too_small]


def _rows(stacks: UserStacks, size: int, split: str) -> Iterator[tuple[Tensor, dict[str, list]]]:
    for number, region in enumerate(stacks.store.regions):
        across = region.width // size
        if not across:
            continue
        lefts = [place * size for place in range(across)]
        for top in range(0, region.height - size + 1, size):
            strip = stacks.store.window(number, slice(top, top + size), slice(0, across * size))
            tiles_NCHW = torch.from_numpy(np.stack(np.split(strip, across, axis=2)))
            x_NCHW, _ = stacks.chain.forward(tiles_NCHW)
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
