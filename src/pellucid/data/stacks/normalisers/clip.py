"""Clip channels at percentiles of the training values, and optionally bring them to [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pellucid.data.stacks.normalisers.contract import Normaliser, along_channels, spread
from pellucid.errors import RecipeError


class Clip(Normaliser):
    """y = clamp(x, low_c, high_c), or its place between the two.

    A channel whose percentiles coincide (sparser than 1 − high) is clipped at its extremes.

    Args:
        low: percentile of the lower bound.
        high: percentile of the upper bound.
        to_unit: also map [low_c, high_c] to [0, 1].

    Raises:
        RecipeError: when the percentiles do not rise within [0, 100].
    """

    low_C: Tensor
    high_C: Tensor

    def __init__(self, *, low: float = 0.0, high: float = 99.9, to_unit: bool = False) -> None:
        if not 0 <= low < high <= 100:
            raise RecipeError(
                "percentiles rise", where="clip", expected="0 ≤ low < high ≤ 100", found=(low, high)
            )
        self.low, self.high, self.to_unit = low, high, to_unit

    def fit(self, x_NC: Tensor) -> None:
        ordered_NC = x_NC.float().sort(0).values
        last = len(ordered_NC) - 1
        low, high = (ordered_NC[round(p / 100 * last)] for p in (self.low, self.high))
        flat = high <= low
        self.low_C = torch.where(flat, ordered_NC[0], low)
        self.high_C = torch.where(flat, ordered_NC[-1], high)

    def forward(self, x_BCP: Tensor) -> Tensor:
        low, high = (along_channels(v, x_BCP) for v in (self.low_C, self.high_C))
        y = x_BCP.float().clamp(low, high)
        return (y - low) / spread(high - low) if self.to_unit else y

    def inverse(self, y_BCP: Tensor) -> Tensor:
        if not self.to_unit:
            return y_BCP
        low, high = (along_channels(v, y_BCP) for v in (self.low_C, self.high_C))
        return y_BCP * spread(high - low) + low

    def state(self) -> dict[str, Tensor]:
        return {"low": self.low_C, "high": self.high_C}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.low_C, self.high_C = state["low"], state["high"]
