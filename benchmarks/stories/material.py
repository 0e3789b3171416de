"""Data that comes with the packages, so that anyone can tell the stories again.

Shape letters: N samples, T time.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PHOTOS = (
    "photographs bundled with scikit-image and scikit-learn (astronaut, coffee, china, flower; "
    "held out: their right quarter, and the cat)"
)


@functools.cache
def photos(size: int, shrink: int, count: int) -> tuple[Tensor, Tensor]:
    """Return (train, held) crops (N, 3, size, size) in [0, 1]; the two share no pixel."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    bundled: Any = load_sample_images()
    pictures = [data.astronaut(), data.coffee(), *bundled.images]
    tensors = [_tensor(p, shrink) for p in pictures]
    kept = [t[..., : t.shape[-1] * 3 // 4] for t in tensors]
    strips = [t[..., t.shape[-1] * 3 // 4 :] for t in tensors]
    return _crops(kept, size, count, 0), _crops(
        [*strips, _tensor(data.chelsea(), shrink)], size, count // 4, 1
    )


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """Return (train, held) real handwritten digits (N, 1, 8, 8) in [0, 1]."""
    from sklearn.datasets import load_digits

    x = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    return x[:1400], x[1400:]


@functools.cache
def voices(length: int = 512, count: int = 1600) -> tuple[Tensor, Tensor]:
    """Return (train, held) voiced-speech-like waves (N, 1, T) at 8 kHz: harmonics and a formant."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(length) / 8000
    f0 = 90 + 120 * torch.rand(count, 1, generator=generator)
    formant = 400 + 800 * torch.rand(count, 1, generator=generator)
    x = torch.zeros(count, length)
    for k in range(1, 12):
        amplitude = torch.exp(-((k * f0 - formant) ** 2) / (2 * 350**2))
        phase = 2 * math.pi * torch.rand(count, 1, generator=generator)
        x += amplitude * torch.sin(2 * math.pi * k * f0 * t + phase)
    x = (0.1 * x + 0.003 * torch.randn(count, length, generator=generator))[:, None]
    return x[: count * 3 // 4], x[count * 3 // 4 :]


def _tensor(picture: Any, shrink: int) -> Tensor:
    x = torch.tensor(picture).permute(2, 0, 1).float() / 255
    return F.avg_pool2d(x[None], shrink)[0] if shrink > 1 else x


def _crops(pictures: list[Tensor], size: int, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    usable = [p for p in pictures if min(p.shape[1:]) >= size]
    crops = []
    for index in range(count):
        picture = usable[index % len(usable)]
        top, left = (
            int(torch.randint(extent - size + 1, (1,), generator=generator))
            for extent in picture.shape[1:]
        )
        crops.append(picture[:, top : top + size, left : left + size])
    return torch.stack(crops)
