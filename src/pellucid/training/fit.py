"""Train an autoencoder into a run folder: the one entry to this room."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from pellucid.functional.value_range import ValueRange
from pellucid.models.precision import Precision
from pellucid.run_folder import RunFolder
from pellucid.training.journal import LoggerName
from pellucid.training.machine import (
    Accelerator,
    connect_processes,
    environment,
    limited_threads,
    quiet,
)
from pellucid.training.plan import Plan
from pellucid.training.record import FitResult

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from pellucid.models.autoencoder import Autoencoder
    from pellucid.objectives.objective import Objective
    from pellucid.training.adversary import Adversary


def fit(
    autoencoder: Autoencoder,
    objective: Objective,
    train_set: Dataset[Any],
    validation_set: Dataset[Any] | None,
    folder: RunFolder,
    *,
    value_range: ValueRange | None,
    adversary: Adversary | None = None,
    seed: int = 0,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
    warmup_steps: int = 50,
    final_learning_rate: float = 0.0,
    clip_norm: float | None = 1.0,
    accumulate: int = 1,
    ema_decay: float | None = 0.999,
    precision: Precision = "auto",
    channels_last: bool = True,
    compile: bool = False,
    validate_every: int = 200,
    checkpoint_every: int = 100,
    log_every: int = 20,
    gradient_shares_every: int = 100,
    monitor: str | None = "psnr",
    patience: int | None = None,
    loggers: tuple[LoggerName, ...] = ("csv",),
    workers: int = 0,
    accelerator: Accelerator = "auto",
    devices: int | Literal["auto"] = "auto",
    threads: int | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Minimise the objective with AdamW and leave the deployed weights in model and folder.

    Resuming a killed run gives, on the CPU with the same number of threads, the same weights
    bit for bit as never having been killed.

    Args:
        autoencoder: the model; holds the deployed weights afterwards, in eval mode.
        objective: the weighted sum of terms.
        train_set: answers to (index, epoch) with {"x", "target", …}.
        validation_set: answers to an index; None trains without validation and keeps the last.
        folder: the run.
        value_range: the model's range, or None where values have none (stacks).
        adversary: a discriminator to play against, and when; it is trained in place.
        seed: order of the data and all random draws; process r draws from seed + r.
        steps: optimiser steps of the whole run.
        batch_size: samples per forward pass and process.
        learning_rate: peak learning rate.
        betas: AdamW's moment decays.
        weight_decay: AdamW's, for weights only (not norms, biases, codebooks).
        warmup_steps: steps of linear warm-up; then a cosine.
        final_learning_rate: where the cosine ends, as a ratio of `learning_rate`.
        clip_norm: largest gradient norm, or None.
        accumulate: forward passes per optimiser step.
        ema_decay: decay of the average of weights, or None for none.
        precision: "auto" takes bf16 where the hardware multiplies in it.
        channels_last: memory order of images and convolution weights.
        compile: run encoder and decoder through torch.compile.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints of the full state.
        log_every: steps between lines of metrics.
        gradient_shares_every: steps between measurements of every term's gradient.
        monitor: the validation metric that chooses the weights, or None to keep the last.
        patience: validations without improvement before stopping, or None.
        loggers: besides metrics.jsonl: "csv", "tensorboard", "wandb".
        workers: processes that prepare batches.
        accelerator: the kind of device.
        devices: "auto", or the number of processes that torchrun started.
        threads: torch's CPU threads per process, or None for a sensible number.
        resume: continue the folder's run.
        progress: draw a bar, or print lines where there is no screen.

    Raises:
        RecipeError: for a wrong keyword or a monitored metric that does not exist.
        DataError: when a batch is larger than the set.
        RunError: when the folder is taken, cannot be written, or belongs to another run.
        NonFiniteError: when a loss or a gradient is NaN or infinite, before the update.
        MissingExtraError: when a logger is not installed.
    """
    given = locals()
    plan = Plan(**{field.name: given[field.name] for field in dataclasses.fields(Plan)})
    machine = plan.on_this_machine()
    # Lightning takes seconds to import; a wrong keyword should not
    from pellucid.training.session import Subjects, run_session

    connect_processes(machine.device, machine.world)
    with quiet(), limited_threads(plan.threads) as count:
        return run_session(
            Subjects(
                autoencoder, objective, train_set, validation_set, folder, value_range, adversary
            ),
            plan,
            machine,
            environment=environment(
                machine.device, threads=count, world=machine.world, precision=machine.precision
            ),
            resume=resume,
            progress=progress,
        )
