"""Leave one loss term out on a short fork, against an equal fork that keeps it."""

from __future__ import annotations

import dataclasses

import torch

from pellucid.diagnosis.case import Case, decibels
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.outputs import loss_mode
from pellucid.diagnosis.probes.training import held_error, parameters, total, train_for

STEPS = 120
_ENOUGH = 20


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Two forks of equal length.

    Args:
        steps: of each.
        kept, without: held mean squared error after them.
    """

    steps: int
    kept: float
    without: float

    @property
    def win_db(self) -> float:
        """dB won by leaving the term out."""
        return decibels(self.kept / max(self.without, 1e-20))


def without_term(case: Case, name: str, steps: int = STEPS) -> LeftOut | None:
    """Train two forks that differ in one term; None when too few steps fit.

    Both use a new Adam at the user's own rate (1e-3 where none is known), so that moments gathered
    under the term do not push on after it is gone; a discriminator does not move.
    """
    clock = Clock(min(8.0, 0.12 * case.clock.budget_seconds, case.clock.left / 2))
    kept, taken = _fork(case, {}, clock.share(0.5), steps)
    if taken < _ENOUGH:
        return None
    without, _ = _fork(case, {name: 0.0}, clock.share(1.0), taken)
    return LeftOut(taken, kept, without)


def _fork(case: Case, scale: dict[str, float], clock: Clock, steps: int) -> tuple[float, int]:
    losses = case.subject.loss_terms
    assert losses is not None
    adversary = case.subject.discriminator
    rivals = {id(p) for p in adversary.parameters()} if adversary is not None else set()
    with loss_mode(case):
        torch.manual_seed(0)
        moved = [p for p in parameters(case) if id(p) not in rivals]
        optimizer = torch.optim.Adam(moved, lr=_rate(case))

        def step(x: torch.Tensor) -> None:
            optimizer.zero_grad()
            total(losses(x), scale).backward()
            optimizer.step()

        taken = train_for(case, step, clock, steps)
        return held_error(case), taken


def _rate(case: Case) -> float:
    groups = [g for o in case.subject.optimizers for g in o.param_groups]
    known = [max(float(g["lr"]), float(g.get("initial_lr", 0.0))) for g in groups]
    return min(max(max(known, default=1e-3), 1e-4), 3e-3)
