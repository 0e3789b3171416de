"""The ResNet of He et al. for 32×32 images, whose pooled features measure distances between sets.

Shape letters: B batch, H height, W width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the inputs it was trained on, per channel, in unit values."""


class _Block(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))); the shortcut has no weights (option A)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.grown = stride, out - channels
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        short = x[..., :: self.stride, :: self.stride]
        half = self.grown // 2
        return F.relu(y + F.pad(short, (0, 0, 0, 0, half, self.grown - half)))


class CifarResNet(nn.Module):
    """ResNet-(6·blocks + 2): three stages of 16, 32 and 64 channels, pooled to 64 features.

    Source: He et al. 2016, "Deep residual learning", §4.2.

    Args:
        blocks: per stage; 3 makes ResNet-20, 9 ResNet-56.
        classes: of its output layer.
    """

    def __init__(self, blocks: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, 1)
        self.layer2 = _stage(16, 32, blocks, 2)
        self.layer3 = _stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, classes)

    def features(self, x_B3HW: Tensor) -> Tensor:
        """Return (B, 64) for normalised images."""
        y = F.relu(self.bn1(self.conv1(x_B3HW)))
        return self.layer3(self.layer2(self.layer1(y))).mean(dim=(2, 3))

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        return self.linear(self.features(x_B3HW))


def _stage(channels: int, out: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(channels, out, stride)
    return nn.Sequential(first, *(_Block(out, out, 1) for _ in range(blocks - 1)))
