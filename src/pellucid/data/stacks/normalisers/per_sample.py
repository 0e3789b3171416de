"""Divide every sample's channels by their own level, and keep that level beside the sample.

Absolute marker levels are gone from what the model sees. They come back only because the scale
travels with the sample: a chain refuses to invert without it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pellucid.errors import RecipeError, unknown_name

Level = Literal["mean", "std", "p99"]
_LEVELS = ("mean", "std", "p99")


class PerSample:
    """y = x / s, with s the level of the sample's own channel.

    Args:
        level: "mean", "std" or "p99" of the channel within the sample.
        floor: smallest s, in the unit of the values, so that an empty sample is not blown up.

    Raises:
        RecipeError: for another level, or a floor that is not positive.
    """

    def __init__(self, *, level: Level = "p99", floor: float = 0.1) -> None:
        if level not in _LEVELS:
            raise unknown_name("level", level, _LEVELS, where="per-sample.level")
        if not floor > 0:
            raise RecipeError("a floor is positive", where="per-sample.floor", found=floor)
        self.level, self.floor = level, floor

    def measure(self, x_BCP: Tensor) -> Tensor:
        """Return s, (B, C)."""
        flat_BCP = x_BCP.float().flatten(2)
        if self.level == "mean":
            s_BC = flat_BCP.mean(2)
        elif self.level == "std":
            s_BC = flat_BCP.std(2, correction=0)
        else:
            s_BC = torch.quantile(flat_BCP, 0.99, dim=2)
        return s_BC.clamp_min(self.floor)
