"""What a run would cost, from a few real steps on a copy of the model, leaving no trace."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from pellucid.data.order import EpochOrder
from pellucid.training import rng
from pellucid.training.batches import training_loader
from pellucid.training.ema import WeightAverage
from pellucid.training.fit import fit
from pellucid.training.layout import arrange_model, to_layout
from pellucid.training.machine import limited_threads
from pellucid.training.opponent import Opponent
from pellucid.training.optimizer import build_optimizer
from pellucid.training.plain_step import plain_step
from pellucid.training.plan import Machine, Plan, plan_from

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from pellucid.models.autoencoder import Autoencoder
    from pellucid.objectives.objective import Objective
    from pellucid.training.adversary import Adversary

_WARM_UP, _MEASURED = 2, 5


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What training would take. Validation, checkpoints and start-up come on top.

    Args:
        parameters: learned numbers of the autoencoder.
        weight_bytes: parameters and buffers, a discriminator's included.
        optimizer_bytes: AdamW's moments, and the average of weights where one is kept.
        peak_memory_bytes: on CUDA what the steps allocated at most; on the CPU the most this
            process ever held, libraries and opened data included
            (None where the system does not say).
        seconds_per_step: median of a few measured optimiser steps, loading included; with an
            adversary the mean over the steps before and after its start.
        steps: of the whole run.
        total_seconds: seconds_per_step · steps.
        processor_hours: total time × processors used: GPUs, or CPU threads.
        processor: "GPU" or "CPU core".
        cost: price per hour × hours, or None without a price.
        device: where it was measured.
        precision: the number format used.
        batch_size: samples per forward pass.
    """

    parameters: int
    weight_bytes: int
    optimizer_bytes: int
    peak_memory_bytes: int | None
    seconds_per_step: float
    steps: int
    total_seconds: float
    processor_hours: float
    processor: str
    cost: float | None
    device: str
    precision: str
    batch_size: int

    def to_json(self) -> dict[str, Any]:
        """Return the plain dictionary."""
        return dataclasses.asdict(self)


def estimate(
    autoencoder: Autoencoder,
    objective: Objective,
    train_set: Dataset[Any],
    *,
    adversary: Adversary | None = None,
    seed: int = 0,
    price_per_hour: float | None = None,
    keywords: Mapping[str, Any] | None = None,
) -> Estimate:
    """Take a few real steps on a copy; write nothing and give every generator back.

    Args:
        autoencoder: the model; untouched.
        objective: its objective; untouched.
        train_set: the real data.
        adversary: a discriminator to play against, or None; untouched.
        seed: as for `fit`.
        price_per_hour: price of this machine.
        keywords: training keywords as for `fit`.

    Raises:
        RecipeError: for a wrong keyword.
        DataError: when a batch is larger than the set.
    """
    defaults = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
    plan = plan_from(defaults | {"seed": seed}, keywords or {})
    machine = plan.on_this_machine()
    with limited_threads(plan.threads) as threads, rng.preserved(machine.device):
        model = copy.deepcopy(autoencoder).to(machine.device)
        arrange_model(model, channels_last=plan.channels_last, compiled=plan.compile)
        terms = copy.deepcopy(objective).to(machine.device)
        optimizer = build_optimizer(
            torch.nn.ModuleList([model, terms]),
            learning_rate=plan.learning_rate,
            betas=plan.betas,
            weight_decay=plan.weight_decay,
        )
        average = WeightAverage(model, decay=plan.ema_decay) if plan.ema_decay else None
        opponent = None if adversary is None else _opponent(copy.deepcopy(adversary), plan, machine)

        def timed(rival: Opponent | None) -> float:
            return _time_steps(model, terms, train_set, optimizer, average, rival, plan, machine)

        alone = 1.0 if adversary is None else min(1.0, adversary.start_step / plan.steps)
        if machine.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(machine.device)
        seconds = timed(None) * alone if alone > 0 else 0.0
        seconds += timed(opponent) * (1 - alone) if alone < 1 else 0.0
        peak = _peak_memory(machine.device)
    weights = [*model.parameters(), *model.buffers()]
    states = [v for state in optimizer.state.values() for v in state.values()]
    if opponent is not None:
        weights += [*opponent.discriminator.parameters()]
        states += [v for state in opponent.optimizer.state.values() for v in state.values()]
    if average is not None:
        states += list(average.state_dict().values())
    hours = seconds * plan.steps / 3600
    on_cpu = machine.device.type == "cpu"
    return Estimate(
        parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=_bytes(weights),
        optimizer_bytes=_bytes([v for v in states if torch.is_tensor(v)]),
        peak_memory_bytes=peak,
        seconds_per_step=seconds,
        steps=plan.steps,
        total_seconds=seconds * plan.steps,
        processor_hours=hours * machine.world * (threads if on_cpu else 1),
        processor="CPU core" if on_cpu else "GPU",
        cost=None if price_per_hour is None else price_per_hour * hours,
        device=machine.device.type,
        precision=machine.precision,
        batch_size=plan.batch_size,
    )


def _time_steps(
    model: Autoencoder,
    objective: Objective,
    train_set: Dataset[Any],
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    opponent: Opponent | None,
    plan: Plan,
    machine: Machine,
) -> float:
    """Return the median seconds of an optimiser step after a warm-up."""
    order = EpochOrder(len(train_set), plan.batch_size, plan.seed, machine.rank, machine.world)  # type: ignore[arg-type]
    count = (_WARM_UP + _MEASURED) * plan.accumulate
    batches = iter(
        training_loader(train_set, order, count=count, workers=plan.workers, pin_memory=False)
    )
    start = 0 if opponent is None else opponent.adversary.start_step
    durations = []
    for step in range(start, start + _WARM_UP + _MEASURED):
        began = time.perf_counter()
        plain_step(
            model,
            objective,
            optimizer,
            (_placed(next(batches), plan, machine) for _ in range(plan.accumulate)),
            accumulate=plan.accumulate,
            precision=machine.precision,
            clip_norm=plan.clip_norm,
            opponent=opponent,
            step=step,
        )
        if average is not None:
            average.update(step + 1)
        if machine.device.type == "cuda":
            torch.cuda.synchronize(machine.device)
        durations.append(time.perf_counter() - began)
    return sorted(durations[_WARM_UP:])[_MEASURED // 2]


def _placed(batch: dict[str, Any], plan: Plan, machine: Machine) -> dict[str, Any]:
    batch = {k: v.to(machine.device) for k, v in batch.items() if torch.is_tensor(v)}
    return to_layout(batch, channels_last=plan.channels_last)


def _opponent(adversary: Adversary, plan: Plan, machine: Machine) -> Opponent:
    opponent = Opponent(
        adversary,
        steps=plan.steps,
        warmup_steps=plan.warmup_steps,
        final_learning_rate=plan.final_learning_rate,
        accumulate=plan.accumulate,
        precision=machine.precision,
    )
    opponent.prepare(machine.device, None)
    return opponent


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
