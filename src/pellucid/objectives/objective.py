"""The objective: a weighted sum of named terms and of the bottleneck's penalties."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.precision import at_least_float32
from pellucid.functional.value_range import ValueRange
from pellucid.objectives.term import Term
from pellucid.records import Penalty, TermValue

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # it becomes a column of the log


@dataclasses.dataclass(frozen=True)
class Weighted:
    """A term and its multiplier; 0 means observe: measured and logged, without gradient.

    Raises:
        RecipeError: when `weight` is negative or not finite.
    """

    term: Term
    weight: float

    def __post_init__(self) -> None:
        _check_weight(self.weight, type(self.term).__name__)


@dataclasses.dataclass(frozen=True)
class ObjectiveOutput:
    """What one batch costs.

    Args:
        total: scalar to minimise, Σ weight · value over terms and penalties of positive weight.
        terms: every term and penalty by name: detached `value`, `weight`, and `weighted` with
            its gradient path (without one when the weight is 0).
    """

    total: Tensor
    terms: dict[str, TermValue]


class Objective(nn.Module):
    """Sum weighted terms, each given its inputs in the range it expects.

    Args:
        terms: name → weighted term.
        value_range: the range of the `x_hat` and `target` it will be called with (the run's);
            needed as soon as a term `expects` a range of its own.

    Raises:
        RecipeError: without a term of positive weight, for a name that is not made of letters,
            digits, '-' and '_', or when `value_range` is needed and missing.
    """

    def __init__(
        self, terms: Mapping[str, Weighted], value_range: ValueRange | None = None
    ) -> None:
        super().__init__()
        for name, weighted in terms.items():
            if not NAME.fullmatch(name):
                raise RecipeError(f"'{name}' cannot name a term", expected="letters, digits, - _")
            if weighted.term.expects is not None and value_range is None:
                raise RecipeError(
                    f"the term '{name}' works on values in [{weighted.term.expects.low:g}, "
                    f"{weighted.term.expects.high:g}], and the objective does not know its range",
                    where="Objective",
                    expected="value_range=…",
                )
        if not sum(weighted.weight for weighted in terms.values()) > 0:
            raise RecipeError(
                "nothing is minimised",
                where="objective",
                expected="at least one term of positive weight",
                found=", ".join(terms) or "no term",
            )
        self.weights = {name: float(weighted.weight) for name, weighted in terms.items()}
        # A list, not a ModuleDict, which refuses names such as "values".
        self.terms = nn.ModuleList(weighted.term for weighted in terms.values())
        self.value_range = value_range

    def forward(
        self, x_hat: Tensor, target: Tensor, penalties: Mapping[str, Penalty] | None = None
    ) -> ObjectiveOutput:
        """Measure every term on one batch.

        Args:
            x_hat: (B, ...) reconstructions in `value_range`.
            target: (B, ...) what they should have been, in `value_range`.
            penalties: the bottleneck's.

        Raises:
            RecipeError: when a penalty has a term's name, or a weight that is negative or not
                finite.
            PellucidError: when the shapes differ.
        """
        penalties = penalties or {}
        clash = sorted(set(self.weights) & set(penalties))
        if clash:
            raise RecipeError(
                f"'{clash[0]}' names both a term and a penalty of the bottleneck",
                where="objective",
                hint="drop the term: the bottleneck already asks for it",
            )
        values: dict[str, TermValue] = {}
        for (name, weight), term in zip(self.weights.items(), self.terms, strict=True):
            assert isinstance(term, Term)
            with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):
                value = term(self._convert(x_hat, term), self._convert(target, term))
            values[name] = _term_value(value, weight)
        for name, penalty in penalties.items():
            _check_weight(penalty.weight, name)
            values[name] = _term_value(penalty.value, penalty.weight)
        parts = [at_least_float32(v.weighted) for v in values.values() if v.weight > 0]
        total = functools.reduce(torch.add, parts)
        return ObjectiveOutput(total, values)

    def _convert(self, x: Tensor, term: Term) -> Tensor:
        if term.expects is None or term.expects == self.value_range:
            return x
        assert self.value_range is not None
        return term.expects.from_unit(self.value_range.to_unit(x))


def _term_value(value: Tensor, weight: float) -> TermValue:
    """Weigh a value; an observed one is cut from the graph and cannot spoil the total."""
    observed = value.detach()
    weighted = value * weight if weight > 0 else torch.zeros_like(observed)
    return TermValue(observed, float(weight), weighted)


def _check_weight(weight: float, name: str) -> None:
    if not 0 <= weight < math.inf:
        raise RecipeError(
            f"the weight of '{name}' is not usable",
            where="objective",
            expected="a finite number ≥ 0 (0 observes)",
            found=weight,
        )
