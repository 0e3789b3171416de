"""`key.path=LOW..HIGH`: the values one key of a recipe takes in a sweep."""

from __future__ import annotations

import dataclasses

from pellucid.errors import RecipeError
from pellucid.recipe.overrides import parse_override
from pellucid.recipe.text import parse_yaml


@dataclasses.dataclass(frozen=True)
class Span:
    """The values one key takes.

    Args:
        key: its path in the recipe, "bottleneck.weight".
        low: smallest value.
        high: largest value.
        log: spaced evenly in the logarithm, else in the value.
        whole: rounded to whole numbers.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    def values(self, points: int) -> list[float]:
        """Return the values in rising order; rounding may leave fewer.

        Raises:
            RecipeError: for fewer than two points.
        """
        if points < 2:
            raise RecipeError("a sweep needs two points or more", where="--points", found=points)
        shares = [k / (points - 1) for k in range(points)]
        if self.log:
            ratio = self.high / self.low
            found = [self.low * ratio**share for share in shares]
        else:
            found = [self.low + (self.high - self.low) * share for share in shares]
        if self.whole:
            return [float(v) for v in sorted({round(value) for value in found})]
        return [float(f"{value:.6g}") for value in found]


def parse_span(text: str) -> Span:
    """Read "bottleneck.weight=1e-6..1e-2".

    Raises:
        RecipeError: when it is no key with two rising numbers.
    """
    keys, value = parse_override(text)
    low, dots, high = str(value).partition("..")
    bounds = [parse_yaml(part or "null", where=text) for part in (low, high)]
    fits = bool(dots) and all(
        isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds
    )
    if not fits or not bounds[0] < bounds[1]:
        raise RecipeError(
            "a sweep goes from a number to a larger one",
            expected="key.path=LOW..HIGH, e.g. bottleneck.weight=1e-6..1e-2",
            found=text,
        )
    whole = all(isinstance(bound, int) for bound in bounds)
    return Span(
        ".".join(keys),
        float(bounds[0]),
        float(bounds[1]),
        log=bounds[0] > 0 and bounds[1] / bounds[0] >= 10,
        whole=whole,
    )
