"""What every method returns, and the checks they share."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.codebooks.rules import Rule
from pellucid.errors import PellucidError


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A codebook before it has a name.

    Args:
        vectors_KD: what the codes stand for.
        rule: latents → codes.
        facts: what the fit says of itself: iterations, convergence, connectivity …
    """

    vectors_KD: Tensor
    rule: Rule
    facts: dict[str, Any]


def check_size(points_ND: np.ndarray, size: int) -> None:
    """Refuse a codebook that is larger than the different points it is fitted on.

    Raises:
        PellucidError: with both numbers.
    """
    if size < 2:
        raise PellucidError("a codebook needs codes", where="--size", expected="≥ 2", found=size)
    if size > len(points_ND):
        different = len(points_ND)
    elif size > len(points_ND) // 2:
        different = len(np.unique(points_ND, axis=0))
    else:
        return
    if size > different:
        raise PellucidError(
            "a codebook cannot have more codes than there are points",
            where="--size",
            expected=f"≤ {different}, the different latents it is fitted on",
            found=size,
            hint="a smaller --size, or more --points",
        )
