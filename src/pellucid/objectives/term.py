"""What every term of an objective promises."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch import Tensor, nn

from pellucid.functional.precision import at_least_float32
from pellucid.functional.shapes import check_pair
from pellucid.functional.value_range import ValueRange


class Term(nn.Module, abc.ABC):
    """Base of all terms: (x_hat, target) → non-negative scalar, mean over elements and batch.

    Attributes:
        expects: the range the term needs its inputs in, or None when any will do (then the value
            carries the unit of the values it was given). `Objective` converts; used alone, a term
            takes its inputs as they are.
        minimum: the value at x_hat = target.
    """

    expects: ClassVar[ValueRange | None] = None
    minimum: float = 0.0

    def forward(self, x_hat: Tensor, target: Tensor) -> Tensor:
        """Measure in at least float32, whatever autocast made of the inputs.

        Args:
            x_hat: (B, ...) reconstructions.
            target: (B, ...) what they should have been.

        Raises:
            PellucidError: when the shapes differ, or the term cannot measure such a shape.
        """
        check_pair(x_hat, target, where=type(self).__name__)
        return self.measure(at_least_float32(x_hat), at_least_float32(target))

    @abc.abstractmethod
    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        """Return the scalar for two tensors of equal shape in float32 or float64."""
