"""Short forks: train a little under a snapshot, measure, and put everything back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case, decibels, mean_square, set_mode
from pellucid.diagnosis.clock import Clock

Loss = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Fork:
    """A fork before and after.

    Args:
        steps: optimisation steps taken.
        before, after: mean squared error of decode(encode(x)) in eval mode on held samples.
    """

    steps: int
    before: float
    after: float

    @property
    def win_db(self) -> float:
        """dB won by the steps."""
        return decibels(self.before / max(self.after, 1e-20))


def parameters(case: Case) -> list[nn.Parameter]:
    """Return the parameters a fork may move: the optimisers', else the modules', minus frozen."""
    if case.subject.optimizers:
        found = [p for o in case.subject.optimizers for g in o.param_groups for p in g["params"]]
    else:
        found = [p for m in case.subject.modules.values() for p in m.parameters()]
        if not found:
            found = [p for m in case.reachable.modules for p in m.parameters(recurse=False)]
    frozen = {
        id(p)
        for name in case.subject.frozen
        if (module := case.frozen_module(name)) is not None
        for p in module.parameters()
    }
    distinct = {id(p): p for p in found if id(p) not in frozen and p.requires_grad}
    return list(distinct.values())


def total(terms: Mapping[str, Tensor], scale: Mapping[str, float] | None = None) -> Tensor:
    """Return the sum of weighted terms, some of them rescaled."""
    scale = scale or {}
    values = [v * scale.get(n, 1.0) for n, v in terms.items()]
    return torch.stack([v.reshape(()) for v in values]).sum()


def own_step(case: Case) -> Callable[[Tensor], None] | None:
    """Return the user's training step, or one made of their losses and optimisers; None without."""
    subject = case.subject
    if subject.training_step is not None:
        return subject.training_step
    if subject.loss_terms is None:
        return None
    loss_terms = subject.loss_terms
    return stepper(case, lambda x: total(loss_terms(x)))


def stepper(case: Case, loss: Loss, learning_rate: float = 1e-3) -> Callable[[Tensor], None]:
    """Return a step on a loss, by the user's optimisers or by Adam on the modules' parameters."""
    optimizers = list(case.subject.optimizers)
    if not optimizers:
        optimizers = [torch.optim.Adam(parameters(case), lr=learning_rate)]

    def step(x: Tensor) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(x).backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def train_for(
    case: Case,
    step: Callable[[Tensor], None],
    clock: Clock,
    steps: int,
    x_NCP: Tensor | None = None,
) -> int:
    """Take steps over the training samples until the clock or the count runs out; return how many.

    Call inside `case.training_mode()`.
    """
    x_NCP = case.fit if x_NCP is None else x_NCP
    size = min(len(x_NCP), 32 if case.runner.batch == 1 else case.runner.batch, 64)
    generator = torch.Generator().manual_seed(0)
    taken = 0
    while taken < steps and not clock.out:
        index = torch.randint(len(x_NCP), (size,), generator=generator)
        step(case.runner.to_model(x_NCP[index]))
        taken += 1
    return taken


def held_error(case: Case, count: int = 128) -> float:
    """Return the error of decode(encode(x)) in eval mode as the model stands now."""
    set_mode(case.reachable.roots, training=False)
    x = case.x[:count]
    error = mean_square(case.runner.roundtrip(x)[1] - x)
    set_mode(case.reachable.roots, training=True)
    return error


def continued(case: Case) -> Fork | None:
    """Continue the user's own training a little; None when no step can be taken."""
    step = own_step(case)
    if step is None or not (case.subject.trainable and parameters(case)):
        return None
    clock = Clock(min(5.0, 0.08 * case.clock.budget_seconds, case.clock.left / 2))
    with case.training_mode():
        before = held_error(case)
        taken = train_for(case, step, clock, steps=150)
        after = held_error(case)
    return Fork(taken, before, after) if taken >= 5 else None


def outlearned(case: Case, win_db: float) -> float:
    """Return the confidence that training on wins far more than a repair of `win_db` would.

    Units, offsets and levels are off in a young model too, by the way. Planted in a trained one
    they are all that further steps can mend; in a young one they are the smaller part. 0 without a
    fork.
    """
    if not case.subject.trainable or case.clock.out:
        return 0.0
    fork = case.measure(continued)
    if fork is None:
        return 0.0
    return case.threshold("under-training.beyond_db").confidence(fork.win_db - win_db)
