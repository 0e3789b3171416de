"""What a run writes down while it trains: metrics.jsonl always, other formats when asked."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any, Literal

from pellucid.errors import RunError, require
from pellucid.run_folder import RunFolder

LoggerName = Literal["csv", "tensorboard", "wandb"]


class Journal:
    """Write lines of named values; only the main process keeps one that writes.

    Args:
        folder: the run.
        loggers: "csv" (metrics.csv, one value per row), "tensorboard", "wandb".
        start_step: lines after it belong to a future that a kill undid, and are dropped.
        writes: whether this process writes at all.

    Raises:
        MissingExtraError: when a logger's package is not installed.
        RunError: when the run folder cannot be written.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        loggers: tuple[LoggerName, ...],
        start_step: int,
        writes: bool,
    ) -> None:
        self.folder = folder
        self.writes = writes
        self._csv: Path | None = None
        self._trackers: list[Any] = []
        if not writes:
            return
        folder.truncate_metrics(start_step)
        if "csv" in loggers:
            self._csv = folder.path / "metrics.csv"
            self._rewrite_csv()
        if "tensorboard" in loggers:
            self._trackers.append(_tensorboard(folder, start_step))
        if "wandb" in loggers:
            self._trackers.append(_wandb(folder))

    def write(
        self,
        *,
        step: int,
        split: Literal["train", "validation"],
        epoch: float,
        seconds: float,
        values: dict[str, float],
    ) -> None:
        """Write one line everywhere.

        Raises:
            RunError: when the run folder cannot be written.
        """
        if not self.writes:
            return
        line = {
            "step": step,
            "split": split,
            "epoch": round(epoch, 4),
            "seconds": round(seconds, 3),
            "values": values,
        }
        self.folder.append_metrics(line)
        if self._csv is not None:
            self._append_csv([line], "a")
        for tracker in self._trackers:
            tracker.log_metrics({f"{split}/{name}": v for name, v in values.items()}, step)

    def close(self) -> None:
        """Flush and close the trackers."""
        for tracker in self._trackers:
            tracker.finalize("success")
        self._trackers = []

    def _rewrite_csv(self) -> None:
        self._append_csv([], "w")
        self._append_csv(list(self.folder.read_metrics()), "a")

    def _append_csv(self, lines: list[dict[str, Any]], mode: str) -> None:
        assert self._csv is not None
        try:
            with self._csv.open(mode, newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if mode == "w":
                    writer.writerow(("step", "split", "epoch", "seconds", "name", "value"))
                for line in lines:
                    head = [line[key] for key in ("step", "split", "epoch", "seconds")]
                    writer.writerows([*head, name, value] for name, value in line["values"].items())
        except OSError as error:
            raise RunError("cannot write metrics.csv", where=self._csv, found=error) from error


class Speed:
    """Count samples per second between two readings.

    Args:
        samples_per_step: samples that all processes together take in per optimiser step.
    """

    def __init__(self, samples_per_step: int) -> None:
        self.samples_per_step = samples_per_step
        self._since = (0, time.monotonic())

    def restart(self, step: int) -> None:
        """Begin a new interval after `step`."""
        self._since = (step, time.monotonic())

    def pause(self, seconds: float) -> None:
        """Leave out time that was not spent on training steps."""
        step, then = self._since
        self._since = (step, then + seconds)

    def read(self, step: int) -> float:
        """Return samples per second since the interval began."""
        before, then = self._since
        return (step - before) * self.samples_per_step / max(time.monotonic() - then, 1e-9)


def _tensorboard(folder: RunFolder, start_step: int) -> Any:
    require("tensorboard", extra="track", purpose="the logger 'tensorboard'")
    from lightning.pytorch.loggers import TensorBoardLogger

    purge = start_step + 1 if start_step else None
    return TensorBoardLogger(folder.path, name="", version="tensorboard", purge_step=purge)


def _wandb(folder: RunFolder) -> Any:
    wandb = require("wandb", extra="track", purpose="the logger 'wandb'")
    from lightning.pytorch.loggers import WandbLogger

    marker = folder.path / "wandb" / "run-id.txt"
    if not marker.is_file():
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(os.urandom(4).hex(), encoding="utf-8")
    logger = WandbLogger(
        project="pellucid",
        name=folder.path.name,
        id=marker.read_text(encoding="utf-8"),
        save_dir=str(folder.path),
        resume="allow",
        offline=os.environ.get("WANDB_MODE") == "offline",
    )
    try:
        _ = logger.experiment  # starts it now, before any step is spent
    except wandb.errors.UsageError as error:
        raise RunError(
            "Weights & Biases refuses to start",
            where="training.loggers",
            found=str(error).splitlines()[0],
            hint="WANDB_MODE=offline logs to the run folder; `wandb sync` sends it later",
        ) from error
    return logger
