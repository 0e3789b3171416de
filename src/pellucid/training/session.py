"""One session of a run: from where it stands to its end, a stop or an error."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from pellucid.data.order import EpochOrder
from pellucid.errors import RecipeError, RunError
from pellucid.functional.value_range import ValueRange
from pellucid.run_folder import RunFolder
from pellucid.training.batches import training_loader, validation_loader
from pellucid.training.callbacks import Checkpointing, Logging, Preparing, Validating
from pellucid.training.checkpoint import FolderCheckpointIO
from pellucid.training.deploy import deploy
from pellucid.training.interrupt import Interrupting
from pellucid.training.journal import Journal, Speed
from pellucid.training.layout import arrange_model
from pellucid.training.module import TrainingModule
from pellucid.training.opponent import Opponent
from pellucid.training.plan import Machine, Plan
from pellucid.training.progress import ProgressBar
from pellucid.training.record import FitResult, RunRecord, monitored
from pellucid.training.resume import is_finished, standing
from pellucid.training.selection import Selection

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder
    from pellucid.objectives.objective import Objective
    from pellucid.training.adversary import Adversary


@dataclasses.dataclass(frozen=True)
class Subjects:
    """What is trained, on what, into which folder."""

    autoencoder: Autoencoder
    objective: Objective
    train_set: Any
    validation_set: Any | None
    folder: RunFolder
    value_range: ValueRange | None
    adversary: Adversary | None = None


def run_session(
    subjects: Subjects,
    plan: Plan,
    machine: Machine,
    *,
    environment: dict[str, Any],
    resume: bool,
    progress: bool,
) -> FitResult:
    """Train what is left of a run and deploy its weights; see `fit`."""
    folder = subjects.folder
    samples = len(subjects.train_set)
    order = EpochOrder(samples, plan.batch_size, plan.seed, machine.rank, machine.world)
    at = standing(folder, plan, machine, resume=resume, samples=samples)
    followed = plan.monitor if subjects.validation_set is not None else None
    adversary = subjects.adversary
    selection = Selection(
        followed, plan.patience, since=0 if adversary is None else adversary.start_step
    )
    record = RunRecord(
        folder,
        environment=environment,
        parameters=sum(p.numel() for p in subjects.autoencoder.parameters()),
        writes=machine.is_main,
    )
    if at is not None and is_finished(at, plan, selection):
        return _end(subjects, plan, machine, record, selection, at, already=True)

    start = at["step"] if at is not None else 0
    order.start_step = start * plan.accumulate
    module = build_module(subjects, plan, machine, selection)
    with contextlib.closing(
        Journal(folder, loggers=plan.loggers, start_step=start, writes=machine.is_main)
    ) as journal:
        _train(subjects, plan, machine, module, order, journal, record, start, progress)
    reached = {"step": module.step, "seconds": module.seconds}
    return _end(subjects, plan, machine, record, selection, reached, already=False)


def build_module(
    subjects: Subjects, plan: Plan, machine: Machine, selection: Selection
) -> TrainingModule:
    """Build the Lightning module of a plan; the model is arranged for training."""
    arrange_model(subjects.autoencoder, channels_last=plan.channels_last, compiled=plan.compile)
    return TrainingModule(
        subjects.autoencoder,
        subjects.objective,
        build_opponent(subjects.adversary, plan, machine),
        folder=subjects.folder,
        selection=selection,
        learning_rate=plan.learning_rate,
        betas=plan.betas,
        weight_decay=plan.weight_decay,
        warmup_steps=plan.warmup_steps,
        final_learning_rate=plan.final_learning_rate,
        steps=plan.steps,
        clip_norm=plan.clip_norm,
        ema_decay=plan.ema_decay,
        precision=machine.precision,
        channels_last=plan.channels_last,
        seed=plan.seed,
        fingerprint=plan.fingerprint(samples=len(subjects.train_set), world=machine.world),
        shares_every=plan.gradient_shares_every,
        lagged_check=machine.device.type == "cuda",
    )


def build_opponent(adversary: Adversary | None, plan: Plan, machine: Machine) -> Opponent | None:
    """Build the second player of a plan, if there is one.

    Raises:
        RecipeError: when it would start after the last step.
    """
    if adversary is None:
        return None
    if adversary.start_step >= plan.steps:
        raise RecipeError(
            "the adversary would never start",
            where="adversary.start_step",
            expected=f"below training.steps = {plan.steps}",
            found=adversary.start_step,
        )
    return Opponent(
        adversary,
        steps=plan.steps,
        warmup_steps=plan.warmup_steps,
        final_learning_rate=plan.final_learning_rate,
        accumulate=plan.accumulate,
        precision=machine.precision,
    )


def _train(
    subjects: Subjects,
    plan: Plan,
    machine: Machine,
    module: TrainingModule,
    order: EpochOrder,
    journal: Journal,
    record: RunRecord,
    start: int,
    progress: bool,
) -> None:
    loader = training_loader(
        subjects.train_set,
        order,
        count=(plan.steps - start) * plan.accumulate,
        workers=plan.workers,
        pin_memory=machine.device.type == "cuda",
    )
    callbacks = _callbacks(subjects, plan, machine, module, order, journal, record)
    interrupting = Interrupting(module.agreement, speaks=machine.is_main)
    callbacks.append(interrupting)
    bar = None
    if progress and machine.is_main:
        bar = ProgressBar(steps=plan.steps, every=plan.log_every, monitor=plan.monitor)
        callbacks.append(bar)
    trainer = _trainer(plan, machine, subjects.folder, callbacks, remaining=plan.steps - start)
    last = subjects.folder.checkpoints / "last"
    record.running(start, module.seconds)
    try:
        trainer.fit(module, loader, ckpt_path=str(last) if last.exists() else None)
    except SystemExit as error:  # how Lightning answers KeyboardInterrupt
        record.broken(module.saved_step, module.seconds, error)
        raise KeyboardInterrupt from error
    except BaseException as error:
        with contextlib.suppress(RunError):  # the disk may be what failed
            record.broken(module.saved_step, module.seconds, error)
        raise
    finally:
        interrupting.restore()
        if bar is not None:
            bar.close()


def _callbacks(
    subjects: Subjects,
    plan: Plan,
    machine: Machine,
    module: TrainingModule,
    order: EpochOrder,
    journal: Journal,
    record: RunRecord,
) -> list[lightning.Callback]:
    speed = Speed(plan.batch_size * plan.accumulate * machine.world)
    epoch = order.steps_per_epoch / plan.accumulate
    callbacks: list[lightning.Callback] = [
        Preparing(),
        Logging(
            journal, every=plan.log_every, steps=plan.steps, steps_per_epoch=epoch, speed=speed
        ),
    ]
    if subjects.validation_set is not None:
        batches, weights = validation_loader(
            subjects.validation_set,
            batch_size=plan.batch_size,
            rank=machine.rank,
            world=machine.world,
            pin_memory=machine.device.type == "cuda",
        )
        callbacks.append(
            Validating(
                batches,
                weights,
                value_range=subjects.value_range,
                every=plan.validate_every,
                steps=plan.steps,
                steps_per_epoch=epoch,
                best=subjects.folder.checkpoints / "best",
                journal=journal,
                speed=speed,
            )
        )
    callbacks.append(
        Checkpointing(
            subjects.folder.checkpoints / "last",
            every=plan.checkpoint_every,
            steps=plan.steps,
            speed=speed,
            saved=lambda step: record.running(step, module.seconds),
        )
    )
    return callbacks


def _trainer(
    plan: Plan,
    machine: Machine,
    folder: RunFolder,
    callbacks: list[lightning.Callback],
    *,
    remaining: int,
) -> lightning.Trainer:
    """Build a Lightning trainer that loops, places tensors and connects processes, and no more."""
    several = machine.world > 1
    per_node = int(os.environ["LOCAL_WORLD_SIZE"]) if several else 1
    return lightning.Trainer(
        accelerator=machine.device.type,
        devices=per_node,
        num_nodes=machine.world // per_node,
        # quantiser dropout leaves parameters without gradient in some steps
        strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
        plugins=[
            FolderCheckpointIO(),
            TorchElasticEnvironment() if several else LightningEnvironment(),
        ],
        max_steps=remaining,
        max_epochs=-1,
        accumulate_grad_batches=plan.accumulate,
        callbacks=callbacks,
        default_root_dir=folder.path,
        benchmark=machine.device.type == "cuda",
        # what this room does itself
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _end(
    subjects: Subjects,
    plan: Plan,
    machine: Machine,
    record: RunRecord,
    selection: Selection,
    reached: Mapping[str, Any],
    *,
    already: bool,
) -> FitResult:
    kept = deploy(
        subjects.autoencoder,
        subjects.folder,
        selection,
        averaged=plan.ema_decay is not None,
        writes=machine.is_main,
    )
    done = reached["step"] >= plan.steps
    result = FitResult(
        state="finished" if done or selection.exhausted else "stopped",
        step=reached["step"],
        seconds=reached["seconds"],
        monitor=monitored(selection),
        reason=_reason(reached["step"], plan, selection),
        already=already,
        **kept,
    )
    record.ended(result)
    if machine.is_main and (already or result.state == "stopped"):
        more = f"raise training.{'steps' if done else 'patience'} and resume to train on"
        if result.state == "stopped":
            more = f"continue with: pellucid train --resume {subjects.folder.path}"
        print(f"training {result.reason}; {more}", file=sys.stderr)
    return result


def _reason(step: int, plan: Plan, selection: Selection) -> str:
    if step >= plan.steps:
        return f"took all {plan.steps} steps"
    if selection.exhausted:
        return (
            f"ended at step {step}: '{selection.monitor}' did not improve "
            f"in {selection.stale} validations"
        )
    return f"was told to stop and saved step {step}"
