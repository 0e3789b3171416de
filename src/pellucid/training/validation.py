"""Measure held-out batches without leaving a trace in weights, modes or generators."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from pellucid.functional.snr import snr
from pellucid.functional.value_range import ValueRange
from pellucid.metrics.paired import eight_bit_psnr
from pellucid.training import rng
from pellucid.training.forward import named_scalars, run_forward
from pellucid.training.layout import to_layout

if TYPE_CHECKING:
    from pellucid.training.module import TrainingModule


def validate(
    module: TrainingModule,
    loader: DataLoader[Any],
    weights: list[int],
    *,
    value_range: ValueRange | None,
    at_most: int | None = None,
) -> dict[str, float]:
    """Return the mean of every scalar over the held-out samples of all processes.

    Runs the averaged weights when the module keeps an average, in eval mode, with generators
    that are put back afterwards.

    Args:
        module: what is being trained.
        loader: this process's validation batches.
        weights: how many samples each batch counts for.
        value_range: the model's range; PSNR of images is measured on 8-bit values. None: no PSNR.
        at_most: stop after this many batches.
    """
    average = module.average
    swapped = average.swapped_in() if average is not None else contextlib.nullcontext()
    modes = {part: part.training for part in module.modules()}
    sums: dict[str, torch.Tensor] = {}
    counted = 0
    with rng.preserved(module.device), swapped, torch.no_grad():
        rng.seed_all(module.seed)
        module.eval()
        for number, (batch, weight) in enumerate(zip(loader, weights, strict=True)):
            if at_most is not None and number >= at_most:
                break
            batch = {k: v.to(module.device) if torch.is_tensor(v) else v for k, v in batch.items()}
            batch = to_layout(batch, channels_last=module.channels_last)
            forward = run_forward(
                module.autoencoder, module.objective, batch, precision=module.compute
            )
            values = named_scalars(forward)
            values |= fidelity(forward.x_hat, forward.target, value_range)
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value.double() * weight
            counted += weight
    for part, training in modes.items():
        part.training = training
    return _mean_over_processes(sums, counted)


def fidelity(x_hat: Tensor, target: Tensor, value_range: ValueRange | None) -> dict[str, Tensor]:
    """Return the one number the kind of data is followed by: PSNR of images, SNR of waveforms.

    Values without a range (stacks) have no PSNR: they are followed by a term, e.g. "l2".
    """
    if target.ndim == 3:
        return {"snr": snr(x_hat, target).mean()}
    if value_range is None:
        return {}
    return {"psnr": eight_bit_psnr(x_hat, target, value_range).mean()}


def _mean_over_processes(sums: dict[str, torch.Tensor], counted: int) -> dict[str, float]:
    names = sorted(sums)
    device = sums[names[0]].device
    row = torch.stack([*(sums[name] for name in names), torch.tensor(float(counted)).to(device)])
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(row)
    *totals, samples = row.tolist()
    return {name: total / samples for name, total in zip(names, totals, strict=True)}
