"""Can the decoder draw a target at all? Latent and decoder parameters free, encoder bypassed.

Shape letters: n targets, d channels, P positions.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.probes.training import parameters

STEPS, FULL_RATE = 300, 200
ENOUGH = 100
"""Steps without which a failure shows nothing."""

FITTED = 1e-3


@dataclasses.dataclass(frozen=True)
class Drawing:
    """The best the decoder drew.

    Args:
        target: (n, C, P...) what was to be drawn.
        best: (n, C, P...) the output nearest to it.
        fvu: error / variance of the targets about the mean sample.
        late_win_db: dB won in the second half of the steps at the full rate; near 0 when it has
            stalled.
        moved: whether the error changed at all; not so behind a dead layer.
        linear_fvu: error of PCA with as many numbers on the same targets / the same variance.
        steps: Adam steps taken.
        parameters: how many decoder parameters were free.
    """

    target: Tensor
    best: Tensor
    fvu: float
    late_win_db: float
    linear_fvu: float
    moved: bool
    steps: int
    parameters: int


def one_target(case: Case) -> Drawing | None:
    """Draw one sample."""
    return _draw(case, 1)


def four_targets(case: Case) -> Drawing | None:
    """Draw the samples that R5 is overfitted to."""
    return _draw(case, 4)


def _draw(case: Case, count: int) -> Drawing | None:
    """Minimise the error over z and decoder parameters by Adam; None without gradients or time."""
    if case.runner.dtype != torch.float32:
        return None
    clock = Clock(min(4.0, 0.06 * case.clock.budget_seconds, case.clock.left))
    chosen = _typical(case, count)
    index = torch.arange(max(count, case.runner.batch if case.runner.batch < 4 else 1)) % count
    x = case.runner.to_model(case.x[chosen[index]])
    with case.training_mode():
        for module in case.reachable.roots:
            module.eval()
        z = case.runner.to_model(case.z[chosen[index]]).float().clone().requires_grad_()
        free = _reached(case, z, x)
        if free is None:
            return None
        scale = max(float(case.z.std()), 1e-3)
        groups = [{"params": [z], "lr": 0.1 * scale}]
        if free:
            groups.append({"params": free, "lr": 2e-3})
        best, history = _descend(case, groups, z, x, clock)
    if not history:  # no time was left
        return None
    best = best[:count]
    spread = max(mean_square(case.x[chosen] - case.mean_sample), 0.1 * case.variance)
    full = history[:FULL_RATE]
    earlier = min(full[: max(1, len(full) // 2)])
    late = 10 * torch.log10(torch.tensor(earlier / max(min(full), 1e-20)))
    linear = case.measure(references).pca.reconstruct(case.x[chosen]) - case.x[chosen]
    return Drawing(
        target=case.x[chosen],
        best=best,
        fvu=mean_square(best - case.x[chosen]) / spread,
        late_win_db=float(late),
        linear_fvu=mean_square(linear) / spread,
        moved=min(history) < 0.999 * history[0],
        steps=len(history),
        parameters=sum(p.numel() for p in free),
    )


def _descend(
    case: Case, groups: list[dict], z: Tensor, x: Tensor, clock: Clock
) -> tuple[Tensor, list[float]]:
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate)
    everything = [p for g in groups for p in g["params"]]
    best, history = x.cpu(), []
    while len(history) < STEPS and not clock.out:
        x_hat = case.runner.decode_live(z, x)
        loss = (x_hat - x).square().mean()
        value = float(loss.detach())
        if not history or value < min(history):
            best = x_hat.detach().float().cpu()
        history.append(value)
        if value < FITTED * case.variance:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(everything, 1.0)
        optimizer.step()
        schedule.step()
    return best, history


def _rate(step: int) -> float:
    """Return the full rate, then a straight fall to 0: a falling rate would look like a stall."""
    return min(1.0, (STEPS - step) / (STEPS - FULL_RATE))


def _reached(case: Case, z: Tensor, x: Tensor) -> list[torch.nn.Parameter] | None:
    """Return the parameters that decode depends on, or None when not even z reaches the output."""
    x_hat = case.runner.decode_live(z, x)
    if not x_hat.requires_grad:
        return None
    candidates = parameters(case)
    gradients = torch.autograd.grad(x_hat.square().sum(), [z, *candidates], allow_unused=True)
    free = [p for p, g in zip(candidates, gradients[1:], strict=True) if g is not None]
    return free if free or gradients[0] is not None else None


def _typical(case: Case, count: int) -> Tensor:
    """Return the indices of samples whose energy about the mean is nearest the average."""
    energy = (case.x - case.mean_sample).double().flatten(1).square().mean(1)
    return (energy - energy.mean()).abs().argsort()[:count]
