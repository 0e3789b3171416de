"""One optimiser step without Lightning: for estimates, and for a diagnosis of a finished run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch

from pellucid.training.forward import run_forward

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder
    from pellucid.objectives.objective import Objective
    from pellucid.training.opponent import Opponent


def plain_step(
    autoencoder: Autoencoder,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Mapping[str, Any]],
    *,
    accumulate: int,
    precision: Literal["float32", "bf16"],
    clip_norm: float | None,
    opponent: Opponent | None = None,
    step: int = 0,
) -> None:
    """Move the autoencoder, and its opponent, by one step as training does.

    Args:
        autoencoder: the model.
        objective: the weighted sum of terms.
        optimizer: the autoencoder's.
        batches: the micro-batches, on the model's device and in its memory layout.
        accumulate: how many there are.
        precision: the resolved number format.
        clip_norm: largest gradient norm, or None.
        opponent: the other player, or None.
        step: steps taken so far, for schedules.
    """
    autoencoder.at_step(step)
    optimizer.zero_grad()
    rival = None if opponent is None else opponent.at(step)
    for batch in batches:
        forward = run_forward(autoencoder, objective, batch, precision=precision, rival=rival)
        (forward.objective.total / accumulate).backward()
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), clip_norm)
    if opponent is not None:
        opponent.gradient_norm()
    optimizer.step()
    if opponent is not None:
        opponent.take_step(step)
