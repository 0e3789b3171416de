"""Which backward passes have filled a gradient when an optimiser applies it.

Hooks on the parameters note every arrival of a gradient with the pass it belongs to and forget
what a zero_grad has cleared; a hook on each optimiser reads the list when it steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.training import parameters

_STEPS = 3


@dataclasses.dataclass(frozen=True)
class Applied:
    """One step of one optimiser, over a whole side (discriminator or autoencoder).

    Args:
        side: "discriminator" or "autoencoder".
        passes: distinct backward passes summed in the gradient that is applied.
        foreign: passes among them, other than the side's own, that also reached the other side.
        share: largest ‖gradient of the foreign passes‖ / ‖gradient applied‖ over parameters.
    """

    side: str
    passes: int
    foreign: int
    share: float


@dataclasses.dataclass(frozen=True)
class Leak:
    """What was applied over a few training steps.

    Args:
        into_discriminator: largest share of the generator's gradient in a discriminator's step.
        into_autoencoder: largest share of the discriminator's loss in the autoencoder's step.
        steps: training steps watched.
        joint: the two sides were only ever reached by one and the same pass.
    """

    into_discriminator: float
    into_autoencoder: float
    steps: int
    joint: bool


@dataclasses.dataclass
class _Arrival:
    """One backward pass's contribution to one parameter."""

    task: int
    gradient: Tensor


class _Ledger:
    """Arrivals per parameter since it was last cleared."""

    def __init__(self, adversary: list[nn.Parameter], own: list[nn.Parameter]) -> None:
        self.side = {id(p): "discriminator" for p in adversary}
        self.side |= {id(p): "autoencoder" for p in own}
        self.parameters = [*adversary, *own]
        self.arrivals: dict[int, list[_Arrival]] = {}
        self.reached: dict[int, set[str]] = {}
        self.order: dict[int, int] = {}
        self.applied: list[tuple[str, int, list[_Arrival]]] = []

    def arrive(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        """Note a contribution, before it is added to `.grad`."""
        task = torch._C._current_graph_task_id()
        self.order.setdefault(task, len(self.order))
        self.reached.setdefault(task, set()).add(self.side[id(parameter)])
        held = parameter.grad
        if held is None or not bool(held.any()):
            self.arrivals[id(parameter)] = []
        kept = self.arrivals.setdefault(id(parameter), [])
        kept.append(_Arrival(task, gradient.detach().clone()))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note what an optimiser applies."""
        for group in optimizer.param_groups:
            for p in group["params"]:
                if id(p) in self.side and p.grad is not None and bool(p.grad.any()):
                    kept = list(self.arrivals.get(id(p), []))
                    self.applied.append((self.side[id(p)], id(p), kept))


def leak(case: Case) -> Leak | None:
    """Watch a few of the user's own steps; None when none of them moves the discriminator."""
    adversary, step = case.subject.discriminator, case.subject.training_step
    if adversary is None or step is None:
        return None
    rivals = [p for p in adversary.parameters() if p.is_leaf]
    rival_ids = {id(p) for p in rivals}
    own = [p for p in _generator(case) if id(p) not in rival_ids]
    ledger = _Ledger(rivals, own)
    with case.training_mode(), _watching(case, ledger):
        for index in range(_STEPS):
            step(case.batch_of(case.fit, index * 64))
    if not any(side == "discriminator" for side, _, _ in ledger.applied):
        return None
    own_passes = _own_passes(ledger)
    return Leak(
        _share(ledger, "discriminator", own_passes),
        _share(ledger, "autoencoder", own_passes),
        _STEPS,
        all(len(r) == 2 for r in ledger.reached.values()) and _one_pass_each(ledger),
    )


def _generator(case: Case) -> list[nn.Parameter]:
    """Return the autoencoder's parameters: the modules', else whatever the optimisers move."""
    named = [p for m in case.subject.modules.values() for p in m.parameters()]
    return [p for p in named if p.requires_grad] or parameters(case)


def _own_passes(ledger: _Ledger) -> dict[str, set[int]]:
    """Return the passes that are each side's own.

    A pass that reaches the discriminator alone is its own. Where none does, its own is the last
    one before it steps: its x_hat was not detached. All others belong to the autoencoder.
    """
    alone = {t for t, sides in ledger.reached.items() if sides == {"discriminator"}}
    if not alone:
        for side, _, arrivals in ledger.applied:
            if side == "discriminator" and arrivals:
                alone.add(arrivals[-1].task)
        if alone >= {t for t, sides in ledger.reached.items() if "autoencoder" in sides}:
            alone = set()  # one pass for both sides: nothing can be told apart
    return {"discriminator": alone, "autoencoder": set(ledger.reached) - alone}


def _share(ledger: _Ledger, side: str, own_passes: dict[str, set[int]]) -> float:
    """Return the largest share of the other side's passes in what a side's step applied."""
    if not own_passes["discriminator"]:
        return 0.0
    foreign_square: list[float] = []
    whole_square: list[float] = []
    for owner, _, arrivals in ledger.applied:
        if owner != side or not arrivals:
            continue
        foreign = [a.gradient for a in arrivals if a.task not in own_passes[side]]
        whole = torch.stack([a.gradient for a in arrivals]).sum(0)
        part = torch.stack(foreign).sum(0) if foreign else torch.zeros_like(whole)
        foreign_square.append(float(part.square().sum()))
        whole_square.append(float(max(whole.square().sum(), part.square().sum())))
    return (sum(foreign_square) / max(sum(whole_square), 1e-30)) ** 0.5


def _one_pass_each(ledger: _Ledger) -> bool:
    return all(len({a.task for a in arrivals}) <= 1 for _, _, arrivals in ledger.applied)


@contextlib.contextmanager
def _watching(case: Case, ledger: _Ledger) -> Iterator[None]:
    """Hook every parameter and every optimiser that can be found while the block runs."""
    handles: list[Any] = []
    for p in ledger.parameters:
        learned = p.requires_grad
        p.requires_grad_(True)  # a hook can only be hung on what may need a gradient
        handles.append(p.register_hook(lambda g, p=p: ledger.arrive(p, g)))
        p.requires_grad_(learned)
    optimizers = {id(o): o for o in (*case.subject.optimizers, *case.reachable.optimizers)}
    handles += [
        o.register_step_pre_hook(lambda o, args, kwargs: ledger.step(o))
        for o in optimizers.values()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
