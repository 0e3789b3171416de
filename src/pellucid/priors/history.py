"""How far the training of a prior got, in memory and in a checkpoint."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import RunError
from pellucid.priors.schedule import Schedule
from pellucid.priors.transformer import CodeTransformer
from pellucid.training.checkpoint import read_checkpoint


class History:
    """How far training got, and the best weights so far."""

    def __init__(self) -> None:
        self.step = self.best_step = 0
        self.validation: list[tuple[int, float, float]] = []
        self.best: dict[str, Tensor] = {}

    def add(self, told: float, absent: float, model: CodeTransformer) -> None:
        """Take one validation; the bits told their condition decide."""
        best = min((bits for _, bits, _ in self.validation), default=math.inf)
        self.validation.append((self.step, told, absent))
        if told < best or not self.best:
            self.best_step = self.step
            self.best = {name: value.clone() for name, value in model.state_dict().items()}

    def out_of_patience(self, patience: int | None) -> bool:
        """Return whether the last `patience` validations brought nothing."""
        steps = [step for step, _, _ in self.validation]
        since = len([step for step in steps if step > self.best_step])
        return patience is not None and since >= patience


def state_of(
    model: CodeTransformer,
    optimizer: torch.optim.Optimizer,
    history: History,
    schedule: Schedule,
) -> dict[str, Any]:
    """Return the whole state of a training: what a checkpoint holds."""
    return {
        "progress": {"step": history.step, "best_step": history.best_step},
        "schedule": dataclasses.asdict(schedule),
        "validation": [list(row) for row in history.validation],
        "model": dict(model.state_dict()),
        "best": history.best,
        "optimizer": optimizer.state_dict(),
    }


def restore(
    model: CodeTransformer,
    optimizer: torch.optim.Optimizer,
    checkpoint: Path,
    schedule: Schedule,
) -> History:
    """Bring model and optimiser to a checkpoint's state and return how far it got.

    Raises:
        RunError: when there is no checkpoint, or it is of another prior or schedule.
    """
    if not checkpoint.exists():
        raise RunError("there is nothing to resume", where=checkpoint)
    state = read_checkpoint(checkpoint)
    differs = [k for k, v in dataclasses.asdict(schedule).items() if state["schedule"].get(k) != v]
    if differs:
        raise RunError(
            "a resumed prior keeps its schedule",
            where=checkpoint,
            expected=f"{differs[0]} = {state['schedule'].get(differs[0])}",
            found=getattr(schedule, differs[0]),
        )
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise RunError(
            "this checkpoint is of another prior", where=checkpoint, found=str(error)[:300]
        ) from error
    optimizer.load_state_dict(state["optimizer"])
    history = History()
    history.step = state["progress"]["step"]
    history.best_step = state["progress"]["best_step"]
    history.validation = [(int(s), float(t), float(a)) for s, t, a in state["validation"]]
    history.best = state["best"]
    return history
