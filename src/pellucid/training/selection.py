"""Which validation was the best, and when hope is lost: pure bookkeeping."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from pellucid.errors import unknown_name

_MORE_IS_BETTER = ("psnr", "snr", "ssim", "ms_ssim", "perplexity", "usage", "active")


@dataclasses.dataclass
class Selection:
    """Follow one named validation metric.

    Metrics whose last word starts with psnr, snr, ssim, ms_ssim, perplexity, usage or active are
    maximised, all others (losses, penalties) minimised.

    Args:
        monitor: the metric's logged name, or None to follow nothing and keep the last weights.
        patience: validations without improvement before training stops, or None.
        since: the step at which the objective changes (an adversary starts). Up to it patience is
            not spent, and after it the search for the best begins again.
        best: the best value so far.
        best_step: its step.
        stale: validations since then.
    """

    monitor: str | None
    patience: int | None = None
    since: int = 0
    best: float | None = None
    best_step: int | None = None
    stale: int = 0

    @property
    def maximises(self) -> bool:
        """Whether larger values are better."""
        return (self.monitor or "").rsplit(".", 1)[-1].startswith(_MORE_IS_BETTER)

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.stale >= self.patience

    def check_name(self, names: Iterable[str]) -> None:
        """Refuse a metric that validation does not measure.

        Raises:
            RecipeError: naming the nearest one that it does.
        """
        names = list(names)
        if self.monitor is not None and self.monitor not in names:
            raise unknown_name("validation metric", self.monitor, names, where="training.monitor")

    def take(self, values: dict[str, float], step: int) -> bool:
        """Take in one validation; return whether it is the best so far. NaN never is."""
        if self.monitor is None:
            return False
        if self.best_step is not None and self.best_step <= self.since < step:
            self.best = self.best_step = None
        value = values[self.monitor]
        if self._improves(value):
            self.best, self.best_step, self.stale = value, step, 0
            return True
        self.stale += step > self.since
        return False

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        return value > self.best if self.maximises else value < self.best

    def state_dict(self) -> dict[str, Any]:
        """Return what resume needs; monitor and patience may be changed and are not part of it."""
        return {
            "monitor": self.monitor,
            "best": self.best,
            "best_step": self.best_step,
            "stale": self.stale,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; another metric starts afresh."""
        if state["monitor"] == self.monitor:
            self.best, self.best_step = state["best"], state["best_step"]
            self.stale = state["stale"]
