"""Forks at several learning rates, and the size of one update beside the weights it moves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.training import held_error, own_step, parameters, train_for

STEPS = 80
FACTORS = (1.0, 0.1, 3.0, 10.0)
LOWER, HIGHER = (0.01, 0.001), (100.0, 1000.0)
_ENOUGH = 20
_DIVERGED = 1e6


@dataclasses.dataclass(frozen=True)
class Rate:
    """The learning rate as its user chose it.

    Args:
        value: largest rate of the groups; before a schedule lowered it, where that is recorded.
        now: largest rate of the groups as they stand.
        update_ratio: ‖Δθ‖/‖θ‖ of one step at `value`, median over weight matrices.
    """

    value: float
    now: float
    update_ratio: float

    @property
    def decayed(self) -> bool:
        """Whether a schedule has lowered it: the end of a training, not its rate."""
        return self.now < 0.5 * self.value


@dataclasses.dataclass(frozen=True)
class RateForks:
    """Equal forks that differ in the learning rate alone.

    Args:
        steps: optimisation steps of each.
        wins_db: {factor: dB won on held samples}; −60 when it diverged.
        fresh: True when the forks started from newly drawn parameters.
    """

    steps: int
    wins_db: dict[float, float]
    fresh: bool

    @property
    def best(self) -> float:
        """The factor that won most."""
        return max(self.wins_db, key=lambda f: self.wins_db[f])


def rate(case: Case) -> Rate | None:
    """Take two steps at the user's rate and measure the second; None without an optimiser."""
    step, optimizers = own_step(case), optimizers_of(case)
    if step is None or not optimizers:
        return None
    groups = [g for o in optimizers for g in o.param_groups]
    now = max(float(g["lr"]) for g in groups)
    chosen = max(max(float(g["lr"]), float(g.get("initial_lr", 0.0))) for g in groups)
    if not chosen > 0:
        return None
    with case.training_mode():
        paced = _paced(step, optimizers, 1.0)
        paced(case.batch_of(case.fit))
        weights = [p for p in parameters(case) if p.ndim >= 2]
        before = [p.detach().clone() for p in weights]
        paced(case.batch_of(case.fit, 64))
        ratios = [
            float((p.detach() - b).norm() / b.norm().clamp_min(1e-12))
            for p, b in zip(weights, before, strict=True)
        ]
    ratio = float(torch.tensor(ratios).median()) if ratios else math.nan
    return Rate(chosen, now, ratio)


def rate_forks(case: Case) -> RateForks | None:
    """Fork at ×{0.1, 1, 3, 10} of the rate, and further while the last one is the best."""
    return _forks(case, fresh=False)


def fresh_rate_forks(case: Case) -> RateForks | None:
    """Fork from newly drawn parameters: a model that a high rate has killed recovers at no rate."""
    return _forks(case, fresh=True)


def optimizers_of(case: Case) -> list[torch.optim.Optimizer]:
    """Return the optimisers that move the autoencoder, leaving a discriminator's own out."""
    adversary = case.subject.discriminator
    rivals = {id(p) for p in adversary.parameters()} if adversary is not None else set()
    candidates = case.subject.optimizers or case.reachable.optimizers
    return [
        o
        for o in candidates
        if any(id(p) not in rivals for g in o.param_groups for p in g["params"])
    ]


def _forks(case: Case, *, fresh: bool) -> RateForks | None:
    """Run one fork after another until the clock of this probe is out."""
    clock = Clock(min(10.0, 0.16 * case.clock.budget_seconds, case.clock.left / 2))
    before = case.variance if fresh else _held(case)
    after, steps = _fork(case, 1.0, clock.share(0.2), STEPS, fresh=fresh)
    if steps < _ENOUGH:
        return None
    wins = {1.0: _win(before, after)}
    # Upwards first: a rate that is far too low needs the most forks to be seen as such.
    for factor in (max(FACTORS), *HIGHER, *(f for f in FACTORS if f not in (1.0, 10.0)), *LOWER):
        if clock.out or not _worth(factor, wins):
            continue
        after, taken = _fork(case, factor, clock.share(1.0), steps, fresh=fresh)
        if taken == steps:
            wins[factor] = _win(before, after)
    return RateForks(steps, wins, fresh)


def _worth(factor: float, wins: dict[float, float]) -> bool:
    """Go on beyond the usual factors only while the outermost one is the best so far."""
    best = max(wins, key=lambda f: wins[f])
    if factor in HIGHER:
        return best == factor / 10
    if factor in LOWER:
        return best == 10 * factor or (factor == LOWER[0] and max(wins.values()) < 0.5)
    return True


def _held(case: Case) -> float:
    x = case.x[:128]
    return mean_square(case.x_hat[:128] - x)


def _win(before: float, after: float) -> float:
    if not math.isfinite(after) or after > _DIVERGED * before:
        return -60.0
    return decibels(before / max(after, 1e-20))


def _fork(case: Case, factor: float, clock: Clock, steps: int, *, fresh: bool) -> tuple[float, int]:
    """Return the held error after a fork, and the steps taken."""
    step = own_step(case)
    assert step is not None
    with case.training_mode():
        torch.manual_seed(0)
        if fresh:
            redraw(case)
        taken = train_for(case, _paced(step, optimizers_of(case), factor), clock, steps)
        return held_error(case), taken


def redraw(case: Case) -> None:
    """Draw parameters anew and forget the optimisers' moments."""
    adversary, fixed = case.subject.discriminator, case.subject.loss_networks.values()
    kept = {id(m) for root in (adversary, *fixed) if root is not None for m in root.modules()}
    for module in case.reachable.modules:
        draw = getattr(module, "reset_parameters", None)
        if callable(draw) and id(module) not in kept:
            draw()
    for optimizer in optimizers_of(case):
        optimizer.state.clear()


def _paced(
    step: Callable[[Tensor], object], optimizers: list[torch.optim.Optimizer], factor: float
) -> Callable[[Tensor], None]:
    """Return the step with every rate set to `factor` times the chosen one before it is taken.

    A schedule inside the user's step may move the rates in between; they are set again each time.
    """
    rates = [
        [max(float(g["lr"]), float(g.get("initial_lr", 0.0))) for g in o.param_groups]
        for o in optimizers
    ]

    def paced(x: Tensor) -> None:
        for optimizer, chosen in zip(optimizers, rates, strict=True):
            for group, value in zip(optimizer.param_groups, chosen, strict=True):
                group["lr"] = value * factor
        step(x)

    return paced


def can_redraw(case: Case) -> bool:
    """Say whether every parameter that learns belongs to a module that can draw it anew."""
    drawn = {
        id(p)
        for m in case.reachable.modules
        if callable(getattr(m, "reset_parameters", None))
        for p in nn.Module.parameters(m)
    }
    return all(id(p) in drawn for p in parameters(case))
