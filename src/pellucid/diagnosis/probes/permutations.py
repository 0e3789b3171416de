"""Does the latent move when the input is only turned or reordered, and has its permuter decided?

Symbols: P a declared symmetry, μ the posterior mean.
"""

from __future__ import annotations

import dataclasses

import torch

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.latents import as_output

SAMPLES = 128


@dataclasses.dataclass(frozen=True)
class Permutations:
    """What was measured.

    Args:
        moved: √(E‖μ(P·x) − μ(x)‖² / E‖μ(x)‖²) over samples and symmetries; None without any.
        share: of samples and symmetries that move by more than a tenth of that of another sample.
        elements: symmetries tried.
        entropy: of the permuter's weights over its largest, or None.
        soft_hard: (error of the hard choice − error of the soft weights) / variance, or None.
    """

    moved: float | None
    share: float
    elements: int
    entropy: float | None
    soft_hard: float | None


def permutations(case: Case) -> Permutations:
    """Encode every sample as it lies and moved."""
    x = case.x[:SAMPLES]
    moved, share = None, 0.0
    moves = case.subject.symmetries
    if moves:
        own = case.latent.mean[: len(x)].flatten(1).double()
        far = float((own - own.roll(1, 0)).norm(dim=1).median()) if len(own) > 1 else 0.0
        squares, notable = [], []
        for move in moves:
            other = case.runner.encode(move(x.clone())).mean.flatten(1).double()
            distance = (other - own).norm(dim=1)
            squares.append(float(distance.square().mean()))
            notable.append(float((distance > 0.1 * far).double().mean()))
        mean_of = float(own.square().sum(1).mean())
        moved = (sum(squares) / len(squares) / max(mean_of, 1e-20)) ** 0.5
        share = sum(notable) / len(notable)
    return Permutations(moved, share, len(moves), _entropy(case, x), _soft_hard(case, x))


def _entropy(case: Case, x: torch.Tensor) -> float | None:
    permuter = case.subject.permuter
    if permuter is None:
        return None
    with torch.no_grad():
        parts = [permuter(case.runner.to_model(part)).float().cpu() for part in x.split(32)]
    weights = torch.cat(parts).double().clamp(0, 1)
    size = weights.shape[-1]
    if size < 2:
        return 0.0
    entropy = torch.special.entr(weights).sum(-1).mean()
    return float(entropy / torch.log(torch.tensor(float(size), dtype=torch.float64)))


def _soft_hard(case: Case, x: torch.Tensor) -> float | None:
    soft = case.subject.soft_forward
    if soft is None:
        return None
    with torch.no_grad():
        parts = []
        for part in x.split(32):
            live = case.runner.to_model(part)
            parts.append(as_output(soft(live.clone()), live).float().cpu())
    hard = case.runner.forward(x) if case.subject.forward is not None else case.x_hat[: len(x)]
    return (mean_square(hard - x) - mean_square(torch.cat(parts) - x)) / case.variance
