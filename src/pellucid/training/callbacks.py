"""What happens around a step, in this order: log, validate and select, checkpoint, draw.

Each callback acts after an optimiser step (not after a micro-batch) and decides by the step
number alone, so a resumed run does what the uninterrupted one would have done.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from torch.utils.data import DataLoader

from pellucid.functional.value_range import ValueRange
from pellucid.training.journal import Journal, Speed
from pellucid.training.module import TrainingModule
from pellucid.training.validation import validate


class AfterStep(Callback):
    """Base of the callbacks here: turn Lightning's hook per micro-batch into one per step."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call `after_step` when this micro-batch completed an optimiser step."""
        if pl_module.stepped:
            self.after_step(trainer, pl_module)

    def after_step(self, trainer: Trainer, module: TrainingModule) -> None:
        """Act on `module.step`, the number of steps taken."""
        raise TypeError(f"{type(self).__name__} must say what it does after a step")


class Preparing(Callback):
    """Prepare the module before any other callback looks at it."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Restore what Lightning does not; see `TrainingModule.prepare`."""
        pl_module.prepare()


class Logging(AfterStep):
    """Write the latest batch's values; reading them waits for the device, so only when due.

    Args:
        journal: where to.
        every: steps between lines; the first and the last step always get one.
        steps: steps of the whole run.
        steps_per_epoch: to state the epoch.
        speed: samples per second since the last line.
    """

    def __init__(
        self, journal: Journal, *, every: int, steps: int, steps_per_epoch: float, speed: Speed
    ) -> None:
        self.journal = journal
        self.every, self.steps, self.steps_per_epoch = every, steps, steps_per_epoch
        self.speed = speed

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock of samples per second."""
        self.speed.restart(pl_module.step)

    def after_step(self, trainer: Trainer, module: TrainingModule) -> None:
        """Write a line when one is due, or when rare values (gradient shares) wait."""
        step = module.step
        rare, module.rare_scalars = module.rare_scalars, {}
        if not (step == 1 or step % self.every == 0 or step == self.steps or rare):
            return
        values = read_scalars(module.scalars) | rare
        assert module.gradient_norm is not None
        values["gradient_norm"] = float(module.gradient_norm)
        values["learning_rate"] = module.last_learning_rate
        values["samples_per_second"] = self.speed.read(step)
        self.journal.write(
            step=step,
            split="train",
            epoch=step / self.steps_per_epoch,
            seconds=module.seconds,
            values=values,
        )
        self.speed.restart(step)


class Validating(AfterStep):
    """Validate, keep the best weights, stop when patience runs out.

    Args:
        loader: this process's validation batches.
        weights: samples each of them counts for.
        value_range: the model's range.
        every: steps between validations; the last step always gets one.
        steps: steps of the whole run.
        steps_per_epoch: to state the epoch.
        best: folder of the best weights.
        journal: where results go.
        speed: its clock leaves validation out.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        weights: list[int],
        *,
        value_range: ValueRange | None,
        every: int,
        steps: int,
        steps_per_epoch: float,
        best: Path,
        journal: Journal,
        speed: Speed,
    ) -> None:
        self.loader, self.weights, self.value_range = loader, weights, value_range
        self.every, self.steps, self.steps_per_epoch = every, steps, steps_per_epoch
        self.best = best
        self.journal, self.speed = journal, speed

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Validate one batch to learn the metrics' names before anything is spent.

        Raises:
            RecipeError: when the monitored metric does not exist.
        """
        names = validate(
            pl_module, self.loader, self.weights, value_range=self.value_range, at_most=1
        )
        pl_module.selection.check_name(names)

    def after_step(self, trainer: Trainer, module: TrainingModule) -> None:
        """Validate when due; save the weights when they are the best so far."""
        if module.step % self.every and module.step != self.steps:
            return
        module.settle()
        began = time.monotonic()
        values = validate(module, self.loader, self.weights, value_range=self.value_range)
        self.journal.write(
            step=module.step,
            split="validation",
            epoch=module.step / self.steps_per_epoch,
            seconds=module.seconds,
            values=values,
        )
        if module.selection.take(values, module.step):
            average = module.average
            with average.swapped_in() if average is not None else contextlib.nullcontext():
                trainer.save_checkpoint(self.best, weights_only=True)
        if module.selection.exhausted:
            trainer.should_stop = True
        module.validated = values
        self.speed.pause(time.monotonic() - began)


class Checkpointing(AfterStep):
    """Save the full state when due, at the end, and when asked to stop.

    Args:
        last: the checkpoint folder.
        every: steps between checkpoints.
        steps: steps of the whole run.
        speed: its clock leaves saving out.
        saved: called with the step after each checkpoint.
    """

    def __init__(
        self, last: Path, *, every: int, steps: int, speed: Speed, saved: Callable[[int], None]
    ) -> None:
        self.last, self.every, self.steps = last, every, steps
        self.speed, self.saved = speed, saved

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the start, so that there is always something to resume, and trouble shows early."""
        if pl_module.step == 0:
            self._save(trainer, pl_module)

    def after_step(self, trainer: Trainer, module: TrainingModule) -> None:
        """Save when due; end the run when someone asked to."""
        if module.stop:
            trainer.should_stop = True
        done = module.step == self.steps or trainer.should_stop
        if done or module.step % self.every == 0:
            self._save(trainer, module)

    def _save(self, trainer: Trainer, module: TrainingModule) -> None:
        began = time.monotonic()
        module.settle()
        trainer.save_checkpoint(self.last, weights_only=False)
        module.saved_step = module.step
        self.saved(module.step)
        self.speed.pause(time.monotonic() - began)


def read_scalars(scalars: dict[str, torch.Tensor]) -> dict[str, float]:
    """Read many scalars from the device at once."""
    names = list(scalars)
    row = torch.stack([scalars[name].double() for name in names]).tolist()
    return dict(zip(names, row, strict=True))
