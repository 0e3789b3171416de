"""A progress bar with the time left and the latest numbers, or lines where there is no screen."""

from __future__ import annotations

from typing import Any

from lightning import Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pellucid.training.callbacks import AfterStep, read_scalars
from pellucid.training.module import TrainingModule


class ProgressBar(AfterStep):
    """Draw on stderr, which leaves stdout to results.

    Args:
        steps: steps of the whole run.
        every: steps between readings of the current values (each waits for the device).
        monitor: the validation metric to show.
        console: where to draw.
    """

    def __init__(
        self, *, steps: int, every: int, monitor: str | None, console: Console | None = None
    ) -> None:
        self.steps, self.every, self.monitor = steps, every, monitor or "total"
        self.console = console or Console(stderr=True)
        self._shown: dict[str, float] | None = None
        self._text = ""
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("training", total=steps, text="")

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Show the bar from the step training starts at."""
        if self.console.is_terminal:
            self._bar.start()
            self._bar.update(self._task, completed=pl_module.step)
            self._bar.reset(self._task, completed=pl_module.step, total=self.steps, text="")

    def after_step(self, trainer: Trainer, module: TrainingModule) -> None:
        """Advance; read values only now and then."""
        if not self.console.is_terminal:
            self._print_validation(module)
            return
        if module.step % self.every == 0 or module.step == 1:
            total = read_scalars({"total": module.scalars["total"]})["total"]
            parts = [f"total {total:.4g}"]
            if self.monitor in module.validated:
                parts.append(f"{self.monitor} {module.validated[self.monitor]:.4g}")
            self._text = "  ".join(parts)
        self._bar.update(self._task, completed=module.step, text=self._text)

    def close(self) -> None:
        """Leave the finished bar on the screen and give the cursor back."""
        if self.console.is_terminal:
            self._bar.stop()

    def _print_validation(self, module: TrainingModule) -> None:
        if module.validated is self._shown or not module.validated:
            return
        self._shown = module.validated
        value = module.validated.get(self.monitor, module.validated["total"])
        self.console.print(
            f"step {module.step}/{self.steps}  {module.seconds:.0f} s  {self.monitor} {value:.4g}",
            highlight=False,
        )
