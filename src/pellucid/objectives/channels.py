"""Terms that compare the channels of one place with each other."""

from __future__ import annotations

import math

from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.masked import cosine_distance
from pellucid.objectives.term import Term


class Cosine(Term):
    """Measure mean (1 − cos ∠(x̂, x)) between the channel vectors of every position, in [0, 2].

    It asks for the mixture of markers and is blind to their common level: use it beside a term of
    values. One channel has no angle and is refused.

    Args:
        epsilon: length below which a vector counts as dark, in the unit of the values.

    Raises:
        RecipeError: when `epsilon` is not a positive number.
    """

    def __init__(self, *, epsilon: float = 1e-2) -> None:
        super().__init__()
        if not 0 < epsilon < math.inf:
            raise RecipeError("a dark vector has a length", expected="> 0", found=epsilon)
        self.epsilon = epsilon

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return cosine_distance(x_hat, target, epsilon=self.epsilon).mean()
