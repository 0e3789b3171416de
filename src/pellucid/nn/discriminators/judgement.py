"""What every discriminator returns, and several of them asked as one.

Shape letters: B batch, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.1  # of the leaky rectifier, as in HiFi-GAN, EnCodec and DAC


class Judgement(NamedTuple):
    """What discriminators say of a batch; a *scale* is one period, window or resolution.

    Args:
        scores: per scale a map of logits (B, 1, …), above 0 where x looks real.
        features: per scale the activations below its score, shallow first.
    """

    scores: list[Tensor]
    features: list[list[Tensor]]


class Discriminators(nn.Module):
    """Ask several discriminators and lay their scales side by side.

    Args:
        parts: modules x → `Judgement`.
    """

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Judgement:
        """Return the scales of all parts, in order."""
        scores: list[Tensor] = []
        features: list[list[Tensor]] = []
        for part in self.parts:
            judgement: Judgement = part(x)
            scores += judgement.scores
            features += judgement.features
        return Judgement(scores, features)


def activations(layers: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Return what each layer makes of the one before, rectified."""
    found = []
    for layer in layers:
        x = F.leaky_relu(layer(x), _SLOPE)
        found.append(x)
    return found
