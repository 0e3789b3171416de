"""What of a set of stacks can be used: regions, training pixels, the channels alive in them.

Shape letters: R regions, N pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pellucid.data.stacks.dividing import Divided
from pellucid.data.stacks.listing import Skip, Stacks
from pellucid.data.stacks.liveness import empty_regions
from pellucid.data.stacks.normalisers import Chain
from pellucid.data.stacks.store import Store
from pellucid.data.stacks.survey import Survey
from pellucid.errors import DataError

FIT_PIXELS = 2_000_000
"""Normalisers are fitted on at most so many training pixels, evenly spaced."""


def usable_regions(
    stacks: Stacks, found: Survey, *, size: int, keep_empty: bool
) -> tuple[list[int], list[Skip]]:
    """Return the places of the regions that can be used, and why the others cannot.

    Args:
        stacks: the listing.
        found: the survey of its regions.
        size: side of a tile in pixels; smaller regions hold none.
        keep_empty: use regions that hold background alone too.

    Raises:
        DataError: when no region can be used.
    """
    everywhere_C = (found.bad_RC == found.pixels_R[:, None]).all(0)
    empty = [] if keep_empty else empty_regions(found)
    usable, skipped = [], []
    for number, region in enumerate(stacks.regions):
        bad = found.bad_RC[number] * ~everywhere_C
        if min(region.height, region.width) < size:
            detail = f"{region.height}×{region.width}, tiles are {size}"
            skipped.append(Skip(region.name, "too small", detail))
        elif bad.any():
            worst = int(bad.argmax())
            detail = f"{int(bad[worst])} pixels of {stacks.channels[worst]}"
            skipped.append(Skip(region.name, "NaN or infinite values", detail))
        elif number in empty:
            detail = "background alone: every telling channel is silent"
            skipped.append(Skip(region.name, "empty region", detail))
        else:
            usable.append(number)
    if not usable:
        raise _nothing_usable(stacks, skipped, size)
    return usable, skipped


def training_pixels(store: Store, divided: Divided) -> np.ndarray:
    """Return (N, C) training pixels, evenly spaced, at most `FIT_PIXELS`."""
    own = divided.of("train")
    step = max(1, -(-sum(block.height * block.width for block in own) // FIT_PIXELS))
    parts, seen = [], 0
    for block in own:
        rows = slice(block.top, block.top + block.height)
        columns = slice(block.left, block.left + block.width)
        for _, band in store.bands(block.region, rows, columns):
            flat_CN = band.reshape(len(band), -1)
            parts.append(flat_CN[:, (-seen) % step :: step].T.copy())
            seen += flat_CN.shape[1]
    return np.concatenate(parts)


def live_channels(stacks: Stacks, dead: Mapping[str, str], *, asked: bool) -> list[int]:
    """Return the places of the channels that are fed.

    Args:
        stacks: the listing.
        dead: channel → why it cannot be learned, judged by the training part.
        asked: whether the channels were named by the user.

    Raises:
        DataError: when a channel that was asked for is dead, or all are.
    """
    if asked and dead:
        name, why = next(iter(dead.items()))
        raise DataError(
            f"channel '{name}' cannot be learned",
            where="data.channels",
            expected="channels that vary in the training part",
            found=why,
            hint="leave it out, or leave data.channels out to take all that are alive",
        )
    kept = [place for place, name in enumerate(stacks.channels) if name not in dead]
    if not kept:
        raise DataError(
            "no channel varies in the training part",
            where=stacks.where,
            found=", ".join(f"{name}: {why}" for name, why in list(dead.items())[:4]),
        )
    return kept


def fitted_chain(chain: Chain, pixels_NC: np.ndarray, names: tuple[str, ...]) -> Chain:
    """Fit an unfitted chain on (N, C) training values; a fitted one must have these channels."""
    if not chain.channels:
        return chain.fit(torch.from_numpy(np.ascontiguousarray(pixels_NC)), names)
    if chain.channels != names:
        raise DataError(
            "the normaliser belongs to other channels",
            where="data.channels",
            expected=", ".join(chain.channels),
            found=", ".join(names),
        )
    return chain


def dead_in_words(dead: Mapping[str, str], found: Survey) -> dict[str, str]:
    """Add "in the training part" where the channel lives elsewhere."""
    varies = dict(zip(found.channels, found.high_RC.max(0) > found.low_RC.min(0), strict=True))
    return {
        name: f"{why} in the training part" if varies[name] and "near" not in why else why
        for name, why in dead.items()
    }


def remarks_on(dead: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence about the channels that are not fed."""
    if not dead:
        return ()
    names = ", ".join(f"{name} ({why})" for name, why in dead.items())
    return (f"{len(dead)} channels are not fed: {names}",)


def _nothing_usable(stacks: Stacks, skipped: Sequence[Skip], size: int) -> DataError:
    first = skipped[0]
    return DataError(
        "none of the regions can be used",
        where=stacks.where,
        expected=f"regions of at least {size}×{size} finite pixels with a signal",
        found=f"{len(skipped)} unusable; the first is {first.name} "
        f"({first.reason}: {first.detail})",
        hint="a smaller data.size" if {s.reason for s in skipped} == {"too small"} else None,
    )
