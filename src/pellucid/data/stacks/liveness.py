"""Which channels and regions carry something: dead, near-constant, not a number, empty.

Shape letters: R regions, C channels, N pixels.
"""

from __future__ import annotations

import numpy as np

from pellucid.data.stacks.survey import Survey

RARE = 1e-4
"""A channel whose value differs from its commonest in no larger share of pixels says nothing."""
QUIET = 0.05
"""A channel is silent in a region when its std there is below this share of its usual one."""


def dead_channels(pixels_NC: np.ndarray) -> dict[int, str]:
    """Return place → why for the channels that cannot be learned from these pixels.

    Args:
        pixels_NC: pixels of the training part, finite or not.
    """
    found = {}
    for channel, values in enumerate(pixels_NC.T):
        finite = values[np.isfinite(values)]
        if not len(finite):
            found[channel] = "not a number anywhere"
        elif finite.min() == finite.max():
            found[channel] = "all zero" if finite[0] == 0 else f"constant at {finite[0]:g}"
        elif _rarely_different(finite):
            share = 1 - _commonest_share(finite)
            found[channel] = f"near-constant: {share:.2g} of its pixels differ"
    return found


def _rarely_different(values_N: np.ndarray) -> bool:
    middle = np.median(values_N)  # the commonest value, where anything is that common
    return float(np.mean(values_N != middle)) <= RARE


def _commonest_share(values_N: np.ndarray) -> float:
    return float(np.mean(values_N == np.median(values_N)))


def silent_RC(found: Survey) -> np.ndarray:
    """Return (R, C): the channel lies far below its usual spread in this region.

    The usual one is the median of its stds over the regions that reach half its largest, so that
    a channel which is silent in most regions is still seen to be.
    """
    largest_C = found.std_RC.max(0)
    usual_C = np.array(
        [
            np.median(column[column >= 0.5 * top]) if top > 0 else 0.0
            for column, top in zip(found.std_RC.T, largest_C, strict=True)
        ]
    )
    return found.std_RC <= QUIET * usual_C


def empty_regions(found: Survey) -> list[int]:
    """Return the regions that hold background alone.

    Background looks alike everywhere, so a region is judged by the channels that tell: those whose
    std differs more than tenfold between regions. It is empty when all of them are silent in it.
    Where none tells, only a region without any variation is empty.
    """
    telling_C = found.std_RC.max(0) > 10 * found.std_RC.min(0)
    if len(found.regions) < 2 or not telling_C.any():
        return [int(r) for r in np.flatnonzero((found.std_RC == 0).all(1))]
    return [int(r) for r in np.flatnonzero(silent_RC(found)[:, telling_C].all(1))]
