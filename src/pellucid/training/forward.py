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


@dataclasses.dataclass(frozen=True)
class Forward:
    """What one batch gave.

    Args:
        output: the autoencoder's output.
        x_hat: the reconstruction in float32, the tensor that the objective saw.
        objective: total and terms.
    """

    output: AutoencoderOutput
    x_hat: Tensor
    objective: ObjectiveOutput


def run_forward(
    autoencoder: Autoencoder,
    objective: Objective,
    batch: Mapping[str, Any],
    *,
    precision: Literal["float32", "bf16"],
) -> Forward:
    """Compute reconstruction and objective of one batch.

    The autoencoder runs in `precision`; the objective always in float32, where sums over many
    pixels keep their digits.

    Args:
        autoencoder: the model.
        objective: the weighted sum of terms.
        batch: "x" and "target", on the model's device and in its memory layout.
        precision: the resolved number format.
    """
    x = batch["x"]
    with autocast_for(x.device, precision):
        output = autoencoder(x)
    x_hat = output.x_hat.float()
    return Forward(output, x_hat, objective(x_hat, batch["target"], output.penalties))


def named_scalars(forward: Forward) -> dict[str, Tensor]:
    """Return total, terms and bottleneck metrics by their logged names, detached scalars."""
    values = {"total": forward.objective.total.detach()}
    for name, term in forward.objective.terms.items():
        values[f"terms.{name}.value"] = term.value.detach()
        values[f"terms.{name}.weighted"] = term.weighted.detach()
    for name, metric in forward.output.metrics.items():
        if metric.numel() == 1:
            values[f"bottleneck.{name}"] = metric.detach().reshape(())
    return values
