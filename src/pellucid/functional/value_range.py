"""The one value-range contract: unit [0, 1] outside, the model's own range inside."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.errors import RecipeError


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """Map between unit range [0, 1], 8-bit values and the range a model works in.

    x_model = low + (high − low) · x_unit, and its exact inverse.

    Args:
        low: model value of black (unit 0).
        high: model value of white (unit 1).

    Raises:
        RecipeError: when `high` is not above `low`.
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise RecipeError(
                "a value range must rise", expected="low < high", found=(self.low, self.high)
            )

    @property
    def width(self) -> float:
        """Distance between black and white in model values."""
        return self.high - self.low

    def from_unit(self, x: Tensor) -> Tensor:
        """Map unit values to model values (any shape)."""
        return x * self.width + self.low

    def to_unit(self, x: Tensor) -> Tensor:
        """Map model values to unit values without clamping (any shape)."""
        return (x - self.low) / self.width

    def to_uint8(self, x: Tensor) -> Tensor:
        """Clamp to the range, scale to 0…255 and round to nearest (any shape)."""
        return (self.to_unit(x.float()).clamp(0, 1) * 255).round().to(torch.uint8)

    def from_uint8(self, x: Tensor) -> Tensor:
        """Map 8-bit values to float32 model values (any shape)."""
        return self.from_unit(x.to(torch.float32) / 255)
