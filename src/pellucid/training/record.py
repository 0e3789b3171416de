"""run.json and the result of a fit: how far the run is, on what, and which weights were kept."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pellucid.run_folder import RunFolder
from pellucid.training.selection import Selection


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How training ended.

    Args:
        state: "finished", or "stopped" by Ctrl-C or SIGTERM.
        step: optimiser steps taken in all.
        seconds: seconds of training in all.
        selected: whose weights were kept: those of the best validation or the last.
        selected_step: the step they come from.
        weights: "ema" (averaged) or "raw".
        monitor: name, best value and step of the followed metric.
        reason: why it ended, in words.
        already: whether it had ended before and nothing was trained now.
    """

    state: Literal["finished", "stopped"]
    step: int
    seconds: float
    selected: Literal["best", "last"]
    selected_step: int
    weights: Literal["ema", "raw"]
    monitor: dict[str, Any] | None
    reason: str
    already: bool = False


class RunRecord:
    """Keep run.json up to date; only the main process's record writes.

    Args:
        folder: the run.
        environment: versions, device, threads, precision.
        parameters: learned numbers in the model.
        writes: whether this process writes.
    """

    def __init__(
        self, folder: RunFolder, *, environment: dict[str, Any], parameters: int, writes: bool
    ) -> None:
        self.folder = folder
        self.writes = writes
        self._fixed = {"environment": environment, "parameters": parameters}

    def running(self, step: int, seconds: float) -> None:
        """Say that the run is under way and where its last checkpoint stands."""
        self._write({"state": "running", "step": step, "seconds": seconds})

    def broken(self, step: int, seconds: float, error: BaseException) -> None:
        """Say that an error ended the run; its last checkpoint is good."""
        reason = f"{type(error).__name__}: {error}"
        self._write({"state": "stopped", "step": step, "seconds": seconds, "reason": reason})

    def ended(self, result: FitResult) -> None:
        """Say how the run ended and which weights were kept."""
        node = dataclasses.asdict(result)
        del node["already"]
        self._write(node)

    def _write(self, node: dict[str, Any]) -> None:
        if self.writes:
            self.folder.write_json(self.folder.run, node | self._fixed)


def monitored(selection: Selection) -> dict[str, Any] | None:
    """Return what run.json says of the followed metric."""
    if selection.monitor is None:
        return None
    return {
        "name": selection.monitor,
        "best": selection.best,
        "best_step": selection.best_step,
        "maximised": selection.maximises,
    }
