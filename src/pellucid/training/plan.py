"""Everything a recipe says about training, checked, with what it came to on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch

from pellucid.errors import RecipeError, unknown_name
from pellucid.models.precision import Precision, resolve_precision
from pellucid.training.journal import LoggerName
from pellucid.training.machine import Accelerator, choose_device, processes

_AT_LEAST_ONE = (
    "steps",
    "batch_size",
    "accumulate",
    "validate_every",
    "checkpoint_every",
    "log_every",
    "gradient_shares_every",
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The keywords of `fit`, under the same names; see there.

    Raises:
        RecipeError: for a value without a meaning, naming it.
    """

    seed: int
    steps: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    warmup_steps: int
    final_learning_rate: float
    clip_norm: float | None
    accumulate: int
    ema_decay: float | None
    precision: Precision
    channels_last: bool
    compile: bool
    validate_every: int
    checkpoint_every: int
    log_every: int
    gradient_shares_every: int
    monitor: str | None
    patience: int | None
    loggers: tuple[LoggerName, ...]
    workers: int
    accelerator: Accelerator
    devices: int | Literal["auto"]
    threads: int | None

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, "a whole number ≥ 1", getattr(self, name))
        for name in ("seed", "warmup_steps", "workers", "weight_decay"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        _require(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        _require(
            0 <= self.final_learning_rate <= 1,
            "final_learning_rate",
            "a ratio of learning_rate, 0 to 1",
            self.final_learning_rate,
        )
        _require(
            all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers in [0, 1)", self.betas
        )
        optional = {"clip_norm": self.clip_norm, "patience": self.patience, "threads": self.threads}
        for name, value in optional.items():
            _require(value is None or value > 0, name, "above 0, or null", value)
        if self.ema_decay is not None:
            _require(0 < self.ema_decay < 1, "ema_decay", "in (0, 1), or null", self.ema_decay)
        for name in self.loggers:
            if name not in get_args(LoggerName):
                raise unknown_name("logger", name, get_args(LoggerName), where="training.loggers")

    def on_this_machine(self) -> Machine:
        """Resolve device, processes and number format.

        Raises:
            RecipeError: when they are not to be had.
        """
        device = choose_device(self.accelerator)
        rank, world = processes(self.devices)
        return Machine(device, rank, world, resolve_precision(device, self.precision))

    def fingerprint(self, *, samples: int, world: int) -> dict[str, Any]:
        """Return what decides which samples and random numbers a step sees."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "processes": world,
            "training samples": samples,
        }


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a plan runs.

    Args:
        device: this process's device.
        rank: this process.
        world: how many there are.
        precision: the resolved number format.
    """

    device: torch.device
    rank: int
    world: int
    precision: Literal["float32", "bf16"]

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0


def plan_from(function_defaults: Mapping[str, Any], keywords: Mapping[str, Any]) -> Plan:
    """Build a plan from `fit`'s defaults and a recipe's `training:` keywords.

    Raises:
        RecipeError: for a keyword that `fit` does not know.
    """
    names = {field.name for field in dataclasses.fields(Plan)}
    for name in keywords:
        if name not in names:
            raise unknown_name("keyword", name, names, where="training")
    return Plan(**{name: function_defaults[name] for name in names} | dict(keywords))


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise RecipeError(
            f"'{name}' has no meaning", where=f"training.{name}", expected=expected, found=found
        )
