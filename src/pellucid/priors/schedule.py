"""How long and how fast a prior is trained."""

from __future__ import annotations

import dataclasses

from pellucid.errors import RecipeError
from pellucid.models.precision import Precision


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long and how fast a prior is trained.

    Args:
        steps: optimiser steps.
        batch_size: sequences per step.
        learning_rate: peak; linear warm-up, then a cosine to zero.
        weight_decay: AdamW's, on matrices.
        warmup_steps: of the learning rate.
        clip_norm: largest gradient norm.
        condition_dropout: share of samples that are told nothing.
        validate_every: steps between validations and checkpoints.
        patience: validations without improvement before stopping; None never stops early.
        precision: number format of matrix products.
        seed: of order, conditions and dropout.

    Raises:
        RecipeError: for a value without a meaning.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    clip_norm: float
    condition_dropout: float
    validate_every: int
    patience: int | None
    precision: Precision
    seed: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            require(getattr(self, name) >= 1, name, "a whole number ≥ 1", getattr(self, name))
        require(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        require(
            0 <= self.condition_dropout <= 1,
            "condition_dropout",
            "a share, 0 to 1",
            self.condition_dropout,
        )


def require(holds: bool, name: str, expected: str, found: object) -> None:
    """Refuse a setting without a meaning.

    Raises:
        RecipeError: naming the setting.
    """
    if not holds:
        raise RecipeError(f"'{name}' has no meaning here", expected=expected, found=found)
