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
from pellucid.objectives.adaptive import bounded_factor
from pellucid.objectives.adversarial import ADVERSARIAL
from pellucid.objectives.balancer import Balancer
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
        total: scalar to minimise, Σ weight · value over terms and penalties of positive weight;
            under a balancer Σ scale · value over terms, and the penalties as they are.
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
        balancer: makes the weights of terms shares of the gradient at x̂; None leaves them
            multipliers. Where nothing is differentiated (validation) they are multipliers too.

    Raises:
        RecipeError: without a term of positive weight, for a name that is not made of letters,
            digits, '-' and '_', or when `value_range` is needed and missing.
    """

    def __init__(
        self,
        terms: Mapping[str, Weighted],
        value_range: ValueRange | None = None,
        balancer: Balancer | None = None,
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
        self.balancer = balancer

    def forward(
        self,
        x_hat: Tensor,
        target: Tensor,
        penalties: Mapping[str, Penalty] | None = None,
        adversarial: Mapping[str, Penalty] | None = None,
        *,
        adaptive: float | None = None,
    ) -> ObjectiveOutput:
        """Measure every term on one batch.

        Args:
            x_hat: (B, ...) reconstructions in `value_range`.
            target: (B, ...) what they should have been, in `value_range`.
            penalties: the bottleneck's.
            adversarial: what a discriminator asks of x_hat; weighed like the objective's own terms.
            adaptive: bound of the factor that makes the term "adversarial" pull at x_hat as hard as
                the objective's own terms do, times its weight; None leaves its weight as it is.

        Raises:
            RecipeError: when a penalty has a term's name, or a weight that is negative or not
                finite.
            PellucidError: when the shapes differ.
        """
        penalties, adversarial = penalties or {}, adversarial or {}
        _check_names(self.weights, penalties, adversarial)
        measured: dict[str, tuple[Tensor, float]] = {}
        for (name, weight), term in zip(self.weights.items(), self.terms, strict=True):
            assert isinstance(term, Term)
            with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):
                value = term(self._convert(x_hat, term), self._convert(target, term))
            measured[name] = value, weight
        differentiates = x_hat.requires_grad and torch.is_grad_enabled()
        asked_of_it = {name: (term.value, term.weight) for name, term in adversarial.items()}
        if adaptive is not None and differentiates and ADVERSARIAL in asked_of_it:
            value, weight = asked_of_it[ADVERSARIAL]
            factor = bounded_factor(x_hat, list(measured.values()), value, bound=adaptive)
            asked_of_it[ADVERSARIAL] = value, weight * factor
        measured |= asked_of_it
        asked = {name: _term_value(p.value, p.weight) for name, p in penalties.items()}
        if self.balancer is None or not differentiates:
            values = {name: _term_value(*pair) for name, pair in measured.items()} | asked
            return ObjectiveOutput(_sum(values), values)
        return _balanced(self.balancer, x_hat, measured, asked)

    def _convert(self, x: Tensor, term: Term) -> Tensor:
        if term.expects is None or term.expects == self.value_range:
            return x
        assert self.value_range is not None
        return term.expects.from_unit(self.value_range.to_unit(x))


def _balanced(
    balancer: Balancer,
    x_hat: Tensor,
    measured: Mapping[str, tuple[Tensor, float]],
    asked: Mapping[str, TermValue],
) -> ObjectiveOutput:
    """Scale the terms by their gradients at x̂, and sum without going through them again."""
    gradients = {
        name: torch.autograd.grad(value, [x_hat], retain_graph=True)[0]
        for name, (value, weight) in measured.items()
        if weight > 0
    }
    weights = {name: measured[name][1] for name in gradients}
    scales = balancer(gradients, weights)
    values = {
        name: TermValue(value.detach(), weight, value * scales[name])
        if name in scales
        else _term_value(value, weight)
        for name, (value, weight) in measured.items()
    }
    # ∂/∂x̂ is known: the same number with that gradient saves a second pass through the terms
    pull = torch.stack([gradients[name] * scale for name, scale in scales.items()]).sum(0)
    worth = torch.stack([values[name].weighted.detach() for name in scales]).sum()
    terms = worth + ((x_hat - x_hat.detach()) * pull).sum()
    parts = [at_least_float32(v.weighted) for v in asked.values() if v.weight > 0]
    return ObjectiveOutput(functools.reduce(torch.add, parts, terms), values | dict(asked))


def _sum(values: Mapping[str, TermValue]) -> Tensor:
    parts = [at_least_float32(v.weighted) for v in values.values() if v.weight > 0]
    return functools.reduce(torch.add, parts)


def _check_names(
    terms: Mapping[str, float], penalties: Mapping[str, Penalty], adversarial: Mapping[str, Penalty]
) -> None:
    clash = sorted(set(terms) & set(penalties))
    if clash:
        raise RecipeError(
            f"'{clash[0]}' names both a term and a penalty of the bottleneck",
            where="objective",
            hint="drop the term: the bottleneck already asks for it",
        )
    clash = sorted(set(adversarial) & (set(terms) | set(penalties)))
    if clash:
        raise RecipeError(
            f"'{clash[0]}' names both a term and what the adversary asks for", where="objective"
        )
    for name, asked in {**penalties, **adversarial}.items():
        _check_weight(asked.weight, name)


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
