"""Train the decoder alone on what it is given, q(z), in a short fork."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, decibels, per_sample, set_mode
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.affine import bootstrap_db
from pellucid.diagnosis.probes.training import parameters, train_for
from pellucid.diagnosis.runner import decoded_latent

STEPS = 120


@dataclasses.dataclass(frozen=True)
class Tuned:
    """Held-out effect of the fork.

    Args:
        win_db: dB won on held samples; low, high its 95 % interval.
        steps: optimisation steps taken.
    """

    win_db: float
    low: float
    high: float
    steps: int


def tuned_decoder(case: Case) -> Tuned | None:
    """Minimise the squared error over the decoder's parameters; None when there are none."""
    if case.runner.dtype != torch.float32:
        return None
    clock = Clock(min(6.0, 0.1 * case.clock.budget_seconds, case.clock.left))
    before = per_sample(case.x_hat - case.x)
    with case.training_mode():
        set_mode(case.reachable.roots, training=False)
        x = case.batch_of(case.fit)
        z = decoded_latent(case.runner.encode_live(x)).detach()
        free = _reached(case, z, x)
        if not free:
            return None
        optimizer = torch.optim.Adam(free, lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0)

        def step(x: Tensor) -> None:
            with torch.no_grad():
                z = decoded_latent(case.runner.encode_live(x))
            optimizer.zero_grad()
            (case.runner.decode_live(z.detach(), x) - x).square().mean().backward()
            optimizer.step()
            schedule.step()

        taken = train_for(case, step, clock, STEPS)
        after = per_sample(case.runner.roundtrip(case.x)[1] - case.x)
    low, high = bootstrap_db(before, after)
    win = decibels(float(before.mean() / after.mean().clamp_min(1e-20)))
    return Tuned(win, low, high, taken) if taken >= 20 else None


def _reached(case: Case, z: Tensor, x: Tensor) -> list[torch.nn.Parameter]:
    """Return the parameters that decode depends on."""
    candidates = parameters(case)
    x_hat = case.runner.decode_live(z, x)
    if not x_hat.requires_grad or not candidates:
        return []
    gradients = torch.autograd.grad(x_hat.square().sum(), candidates, allow_unused=True)
    return [p for p, g in zip(candidates, gradients, strict=True) if g is not None]
