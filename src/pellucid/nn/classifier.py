"""A small convolutional classifier that judges generated images where no network is supplied.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.nn.blocks import group_norm

FEATURES = 64


class SmallClassifier(nn.Module):
    """Halve an image three times, pool it to 64 features, name its class.

    Args:
        channels: C, of the images.
        classes: how many it tells apart.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = (channels, 32, 64, FEATURES)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(group_norm(width) for width in widths[1:])
        self.mix = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(FEATURES, classes)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, 64)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_BCHW = F.relu(norm(conv(x_BCHW)))
        return F.relu(self.mix(x_BCHW)).mean(dim=(2, 3))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        return self.out(self.drop(self.features(x_BCHW)))
