"""frozen-module: parameters that are meant to learn do not move in a training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.training import own_step
from pellucid.diagnosis.rules.access import modules, training
from pellucid.diagnosis.rules.codebook_ownership import live_codebooks

STEPS = 2


def missing(case: Case) -> str | None:
    """Modules, and a step that really is the user's own."""
    subject = case.subject
    if subject.training_step is None and not (subject.loss_terms and subject.optimizers):
        return "Subject.training_step, or loss_terms and optimizers"
    return modules(case) or training(case)


def examine(case: Case) -> Finding | None:
    """Assert a module none of whose learnable parameters moved."""
    movement = case.measure(moved)
    owned = {id(p) for o in case.subject.optimizers for g in o.param_groups for p in g["params"]}
    still = [n for n, (share, _, reached) in movement.items() if share == 0.0 and not reached]
    if not still or (len(still) == len(movement) and not case.subject.optimizers):
        return None
    why = []
    for name in still:
        parameters = learnable(case, name)
        if owned and not any(id(p) in owned for p in parameters):
            why.append(f"{name} is in no optimiser")
        elif not any(p.requires_grad for p in parameters):
            why.append(f"{name} has requires_grad off")
        else:
            why.append(f"no gradient reaches {name}")
    return Finding(
        id="frozen-module",
        confidence=0.95,
        severity=len(still) / len(movement),
        severity_unit="share of modules",
        summary=f"{', '.join(still)} did not move in {STEPS} training steps ({'; '.join(why)})",
        evidence=tuple(
            Evidence(f"‖Δθ‖/‖θ‖ of {name}", size, "1", "> 0")
            for name, (_, size, _) in movement.items()
        ),
        ruled_out=(
            RuledOut(
                "under-training",
                "a step was taken, and other modules moved"
                if len(still) < len(movement)
                else "steps change nothing at all",
            ),
        ),
        treatment="hand all parameters to the optimiser after the modules are built, keep "
        "requires_grad on, and take no_grad/detach off their path; or declare the module in "
        "Subject.frozen when it is meant to stay",
        expects=("‖Δθ‖ becomes positive for every module",),
    )


def moved(case: Case) -> dict[str, tuple[float, float, bool]]:
    """Return per module what a training step or two did to it.

    (share of parameters that moved, ‖Δθ‖/‖θ‖, whether an optimiser owns it and a gradient reached
    it). A module that was reached and does not move is dead, not frozen. Codebooks and batch
    statistics are no parameters here; declared freezing is exempt.
    """
    names = [n for n in case.subject.modules if learnable(case, n)]
    step = own_step(case)
    assert step is not None
    with case.training_mode():
        before = {n: [p.detach().clone() for p in learnable(case, n)] for n in names}
        for name in names:
            for parameter in learnable(case, name):
                parameter.grad = None  # what earlier training left there proves nothing
        for index in range(STEPS):
            step(case.batch_of(case.fit, index * 64))
        return {
            n: (*_change(before[n], learnable(case, n)), _reached(case, learnable(case, n)))
            for n in names
        }


def _reached(case: Case, parameters: list[nn.Parameter]) -> bool:
    owned = {id(p) for o in case.subject.optimizers for g in o.param_groups for p in g["params"]}
    return any(
        p.requires_grad and p.grad is not None and (id(p) in owned or not owned) for p in parameters
    )


def learnable(case: Case, name: str) -> list[nn.Parameter]:
    """Return a module's parameters that are not declared frozen."""
    books = {id(b) for b in case.measure(live_codebooks)}  # their owner is another row's business
    frozen = books | {
        id(p)
        for f in case.subject.frozen
        if (m := case.frozen_module(f)) is not None
        for p in m.parameters()
    }
    return [
        p
        for p in case.subject.modules[name].parameters()
        if id(p) not in frozen and p.numel() and p.is_floating_point()
    ]


def _change(before: list[Tensor], after: list[nn.Parameter]) -> tuple[float, float]:
    differences = [(a.detach() - b).norm() for b, a in zip(before, after, strict=True)]
    share = sum(float(d) > 0 for d in differences) / len(differences)
    size = torch.stack(differences).norm() / torch.stack(
        [b.norm() for b in before]
    ).norm().clamp_min(1e-12)
    return share, float(size)
