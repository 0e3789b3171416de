"""Name the first bad tensor of a step that met NaN or infinity, by replaying its batches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from safetensors.torch import save
from torch import Tensor, nn

from pellucid.atomic_files import write_atomically
from pellucid.errors import NonFiniteError
from pellucid.run_folder import RunFolder
from pellucid.training.forward import run_forward

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder
    from pellucid.objectives.objective import Objective
    from pellucid.training.opponent import Opponent, Rival


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A batch as training saw it, with the generators that its forward pass started from."""

    batch: Mapping[str, Any]
    cpu_rng: Tensor
    cuda_rng: Tensor | None

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> Recorded:
        """Remember a batch and the torch generators of this moment."""
        device = batch["x"].device
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(batch, torch.get_rng_state(), cuda)


def explain(
    autoencoder: Autoencoder,
    objective: Objective,
    window: list[Recorded],
    *,
    opponent: Opponent | None,
    precision: Literal["float32", "bf16"],
    folder: RunFolder,
    step: int,
    rank: int,
) -> NonFiniteError:
    """Replay the batches of one step, save them, and build the error that stops training.

    Args:
        autoencoder: the model with the weights before the bad update.
        objective: its objective.
        window: the micro-batches of the step.
        opponent: the other player, or None.
        precision: the resolved number format.
        folder: where the batches are saved.
        step: the optimiser step that was not taken.
        rank: this process.
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        # in train mode a bottleneck shares its statistics, and the others may replay less
        autoencoder.eval()
        objective.eval()  # a balancer shares its norms
    path = folder.path / "nonfinite" / f"step-{step:06d}-rank-{rank}.safetensors"
    _save(window, path, step)
    found = _first_bad_weight(autoencoder)
    rival = None
    if opponent is not None:
        found = found or _first_bad_weight(opponent.discriminator, of=" of the discriminator")
        rival = opponent.at(step - 1)
    for number, recorded in enumerate(window):
        if found is not None:
            break
        found = _replay(autoencoder, objective, recorded, precision, rival)
        if found is not None and len(window) > 1:
            found += f" (micro-batch {number + 1} of {len(window)})"
    return NonFiniteError(
        f"training met NaN or infinity at step {step} and stopped before the update",
        where=found or "not found again on replay, or in another process's batch",
        expected="finite loss and gradients",
        found=f"the batch, saved as {path}",
        hint="the last checkpoint is good: after removing the cause (a smaller learning rate, "
        "precision float32, the bad file) continue from it with "
        f"`pellucid train --resume {folder.path}`",
    )


def _replay(
    autoencoder: Autoencoder,
    objective: Objective,
    recorded: Recorded,
    precision: Literal["float32", "bf16"],
    rival: Rival | None,
) -> str | None:
    for name in ("x", "target"):
        if not recorded.batch[name].isfinite().all():
            return f"the data: '{name}' of the batch"
    torch.set_rng_state(recorded.cpu_rng)
    if recorded.cuda_rng is not None:
        torch.cuda.set_rng_state(recorded.cuda_rng, recorded.batch["x"].device)
    autoencoder.zero_grad(set_to_none=True)
    with _watched(autoencoder) as bad, torch.enable_grad():
        forward = run_forward(
            autoencoder, objective, recorded.batch, precision=precision, rival=rival
        )
        if forward.contest is not None and not forward.contest.scalars["loss"].isfinite():
            bad.append("the discriminator's loss")
        for name, term in forward.objective.terms.items():
            if not term.value.isfinite().all():
                bad.append(f"the value of term '{name}'")
        forward.objective.total.backward()
    if bad:
        return bad[0]
    for name, parameter in reversed(list(autoencoder.named_parameters())):
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of parameter '{name}'"
    return None


@contextlib.contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """Collect, in order, the modules whose outputs or output gradients are not finite."""
    bad: list[str] = []
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def check_output(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point():
                return
            if not output.isfinite().all():
                bad.append(f"the output of module '{name}' ({type(module).__name__})")
            elif output.requires_grad:
                output.register_hook(check_gradient)

        def check_gradient(gradient: Tensor) -> None:
            if not gradient.isfinite().all():
                bad.append(
                    f"the gradient at the output of module '{name}' ({type(module).__name__})"
                )

        handles.append(module.register_forward_hook(check_output))

    for name, module in model.named_modules():
        if name:
            watch(name, module)
    try:
        yield bad
    finally:
        for handle in handles:
            handle.remove()


def _first_bad_weight(model: nn.Module, of: str = "") -> str | None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"the weight '{name}'{of} itself, before this step"
    return None


def _save(window: list[Recorded], path: Path, step: int) -> None:
    tensors = {
        f"{number}.{name}": value.detach().cpu().contiguous().clone()
        for number, recorded in enumerate(window)
        for name, value in recorded.batch.items()
        if isinstance(value, Tensor)
    }
    write_atomically(path, save(tensors, metadata={"step": str(step)}))
