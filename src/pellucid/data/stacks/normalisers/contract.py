"""What every normaliser promises.

Shape letters: B batch (regions, tiles or cells), C channels, P positions (any number of axes).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping

import torch
from torch import Tensor


class Normaliser(abc.ABC):
    """Map values of channels to what a model works on, and back.

    A normaliser is fitted once, on training values alone; its numbers are its `state`.
    inverse(forward(x)) = x wherever nothing was clipped.

    Attributes:
        mixes: outputs are mixtures of channels and no longer carry their names.
    """

    mixes: bool = False

    def fit(self, x_NC: Tensor) -> None:
        """Take what is needed from (N, C) training pixels; nothing by default."""
        del x_NC

    @abc.abstractmethod
    def forward(self, x_BCP: Tensor) -> Tensor:
        """Return normalised values of the same shape, float32."""

    @abc.abstractmethod
    def inverse(self, y_BCP: Tensor) -> Tensor:
        """Return values in the unit of the data."""

    def state(self) -> dict[str, Tensor]:
        """Return the fitted numbers by name."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take fitted numbers back."""
        del state


def along_channels(values_C: Tensor, x_BCP: Tensor) -> Tensor:
    """Shape (C,) so that it broadcasts over (B, C, P…)."""
    return values_C.to(x_BCP.device).view(1, -1, *[1] * (x_BCP.ndim - 2))


def spread(values: Tensor) -> Tensor:
    """Return the numbers with those that are too small to divide by set to 1."""
    return torch.where(values > 1e-12, values, torch.ones_like(values))
