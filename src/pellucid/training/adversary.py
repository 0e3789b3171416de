"""What a recipe says about an adversary."""

from __future__ import annotations

import dataclasses
import math

from torch import nn

from pellucid.errors import RecipeError
from pellucid.objectives.adversarial import GanLoss


@dataclasses.dataclass(frozen=True)
class Adversary:
    """A discriminator that training plays against, and when and how hard.

    It adds two terms to the objective, "adversarial" and "features", from step `start_step` on.
    The first stage is then one of metrics alone; choosing the best weights starts afresh with the
    second, because a model that gains sharpness loses some PSNR.

    Args:
        discriminator: x → `Judgement`.
        weight: of the term "adversarial"; 0 observes, and the discriminator learns all the same.
        feature_weight: of the term "features" (feature matching).
        adaptive: the weight of "adversarial" is multiplied by ‖∇ of the other terms‖ over its own
            ‖∇‖, both at x̂, but by no more than this bound; None leaves it a plain multiplier.
            `weight` is then its share of what the metrics pull. Not beside a balancer, which does
            the same for every term.
        loss: "hinge" or "least-squares", for both players.
        start_step: optimiser steps of metrics alone.
        ramp_steps: steps over which both weights then rise linearly to their full value.
        updates: the discriminator learns in the first `updates` of every `period` steps.
        period: see `updates`.
        learning_rate: the discriminator's peak rate; warm-up and cosine as the autoencoder's,
            counted from `start_step`.
        betas: AdamW's moment decays for the discriminator.
        clip_norm: the discriminator's largest gradient norm, or None.
        freeze_encoder: from `start_step` on encoder, bottleneck and codebooks stay as they are.

    Raises:
        RecipeError: for a value without a meaning.

    Source of `adaptive`: Esser et al. 2021, "Taming transformers", equation 7, at x̂ instead of the
    last layer; unbounded it explodes where the adversary's gradient vanishes.
    """

    discriminator: nn.Module
    weight: float = 1.0
    feature_weight: float = 2.0
    adaptive: float | None = None
    loss: GanLoss = "hinge"
    start_step: int = 0
    ramp_steps: int = 0
    updates: int = 1
    period: int = 1
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.8, 0.99)
    clip_norm: float | None = 10.0
    freeze_encoder: bool = False

    def __post_init__(self) -> None:
        for name in ("weight", "feature_weight"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, name, "a finite number ≥ 0 (0 observes)", value)
        bounded = self.adaptive is None or 0 < self.adaptive < math.inf
        _require(bounded, "adaptive", "a finite bound > 0, or null", self.adaptive)
        for name in ("start_step", "ramp_steps"):
            _require(getattr(self, name) >= 0, name, "0 or more steps", getattr(self, name))
        _require(
            1 <= self.updates <= self.period,
            "updates",
            f"1 … period = {self.period}",
            self.updates,
        )
        _require(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        betas_fit = all(0 <= beta < 1 for beta in self.betas)
        _require(betas_fit, "betas", "two numbers in [0, 1)", self.betas)
        clips = self.clip_norm is None or self.clip_norm > 0
        _require(clips, "clip_norm", "above 0, or null", self.clip_norm)

    def plays(self, step: int) -> bool:
        """Whether the adversary acts in the optimiser step after `step` steps."""
        return step >= self.start_step

    def learns(self, step: int) -> bool:
        """Whether the discriminator is updated in that step."""
        return self.plays(step) and (step - self.start_step) % self.period < self.updates

    def ramp(self, step: int) -> float:
        """Return the multiplier of both weights in that step, in (0, 1]."""
        return min(1.0, (step - self.start_step + 1) / (self.ramp_steps + 1))


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise RecipeError(
            f"'{name}' has no meaning", where=f"adversary.{name}", expected=expected, found=found
        )
