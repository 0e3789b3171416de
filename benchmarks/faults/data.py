"""Real images for the bench: from ../shared/datasets where it is there, else from packages.

Shapes: (N, C, H, W) float32.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"


def digits(low: float = 0.0, high: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return 1400 and 397 handwritten digits (1, 8, 8) of scikit-learn, scaled to [low, high]."""
    from sklearn.datasets import load_digits

    x = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    x = low + (high - low) * x
    return x[:1400], x[1400:]


@functools.cache
def small_images() -> tuple[Tensor, Tensor]:
    """Return 2500 and 500 colour images (3, 32, 32) in [0, 1]: CIFAR-10, else photographs."""
    path = DATASETS / "cifar10" / "cifar10_shared.npz"
    if not path.exists():
        print("no cifar10 beside the project: crops of scikit-image's photographs instead")
        return crops(_bundled(), 2500, 32), crops(_bundled_held(), 500, 32)
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        x = torch.from_numpy(archive["images"]).permute(0, 3, 1, 2).float() / 255
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))].contiguous()
    return x[:2500], x[2500:]


@functools.cache
def photo_crops(size: int = 32) -> tuple[Tensor, Tensor]:
    """Return 1600 and 400 crops (3, size, size) in [0, 1] of different photographs: Kodak, else
    scikit-image's."""
    paths = sorted((DATASETS / "kodak").glob("*.png"))
    if len(paths) < 8:
        print("no kodak photographs beside the project: scikit-image's instead")
        return crops(_bundled(), 1600, size), crops(_bundled_held(), 400, size)
    photos = [_read(p) for p in paths]
    return crops(photos[:-4], 1600, size), crops(photos[-4:], 400, size)


def crops(photos: list[Tensor], count: int, size: int) -> Tensor:
    """Cut crops at fixed random places, the photographs in turn."""
    generator = torch.Generator().manual_seed(len(photos))
    cut = []
    for i in range(count):
        photo = photos[i % len(photos)]
        top, left = (
            int(torch.randint(s - size, (1,), generator=generator)) for s in photo.shape[1:]
        )
        cut.append(photo[:, top : top + size, left : left + size])
    return torch.stack(cut)


def _read(path: Path) -> Tensor:
    """Read a photograph at half its size (3, H, W) in [0, 1]."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
    return F.avg_pool2d(torch.from_numpy(pixels).permute(2, 0, 1)[None], 2)[0]


def _bundled() -> list[Tensor]:
    from skimage import data

    return [_halved(data.astronaut()), _halved(data.coffee())]


def _bundled_held() -> list[Tensor]:
    from skimage import data

    return [_halved(data.chelsea())]


def _halved(pixels) -> Tensor:
    return F.avg_pool2d(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255, 2)[0]
