"""One batch through autoencoder and objective: the same for training, validation and replay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from pellucid.models.precision import autocast_for

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder, AutoencoderOutput
    from pellucid.objectives.objective import Objective, ObjectiveOutput
    from pellucid.training.opponent import Contest, Rival


@dataclasses.dataclass(frozen=True)
class Forward:
    """What one batch gave.

    Args:
        output: the autoencoder's output.
        x_hat: the reconstruction in float32, the tensor that the objective saw; of graphs, the
            rows of real nodes.
        target: what it was compared with.
        objective: total and terms.
        contest: what the discriminator made of it, or None where none plays.
    """

    output: AutoencoderOutput
    x_hat: Tensor
    target: Tensor
    objective: ObjectiveOutput
    contest: Contest | None = None


def run_forward(
    autoencoder: Autoencoder,
    objective: Objective,
    batch: Mapping[str, Any],
    *,
    precision: Literal["float32", "bf16"],
    rival: Rival | None = None,
) -> Forward:
    """Compute reconstruction and objective of one batch.

    The autoencoder runs in `precision`; the objective always in float32, where sums over many
    pixels keep their digits.

    Args:
        autoencoder: the model.
        objective: the weighted sum of terms.
        batch: "x" and "target", on the model's device and in its memory layout.
        precision: the resolved number format.
        rival: the other player in this step; validation has none, so that its total means the same
            before and after an adversary starts.
    """
    x = batch["x"]
    with autocast_for(x.device, precision):
        output = autoencoder(x)
    x_hat, target = autoencoder.compared(output.x_hat.float(), batch["target"])
    contest = None if rival is None else rival(x_hat, target)
    asked, adaptive = (None, None) if contest is None else (contest.terms, contest.adaptive)
    total = objective(x_hat, target, output.penalties, asked, adaptive=adaptive)
    return Forward(output, x_hat, target, total, contest)


def named_scalars(forward: Forward) -> dict[str, Tensor]:
    """Return total, terms and bottleneck metrics by their logged names, detached scalars."""
    values = {"total": forward.objective.total.detach()}
    for name, term in forward.objective.terms.items():
        values[f"terms.{name}.value"] = term.value.detach()
        values[f"terms.{name}.weighted"] = term.weighted.detach()
    for name, metric in forward.output.metrics.items():
        if metric.numel() == 1:
            values[f"bottleneck.{name}"] = metric.detach().reshape(())
    if forward.contest is not None:
        for name, value in forward.contest.scalars.items():
            values[f"adversary.{name}"] = value
    return values
