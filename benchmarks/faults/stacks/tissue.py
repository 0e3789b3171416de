"""Real multiplexed tissue in small tiles; smooth synthetic stacks where the data are absent.

Shape letters: N tiles, C channels, H and W pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

DATASETS = Path(__file__).parents[3].parent / "shared" / "datasets"
MIBI = DATASETS / "mibi" / "breast_Point2203_41ch.tiff"
HYPERION = DATASETS / "imc_hyperion" / "img"
TILE = 16


@dataclasses.dataclass(frozen=True)
class Tissue:
    """Tiles (N, C, 16, 16); train and validation come from different parts of the tissue."""

    train: Tensor
    validation: Tensor


@functools.lru_cache(maxsize=8)
def mibi(channels: int = 41, *, counts: bool = False, standardised: bool = True) -> Tissue:
    """Return tiles of a 41-channel ion-count image, smoothed to half resolution.

    Args:
        channels: how many, the brightest first.
        counts: raw counts instead of their arcsinh.
        standardised: mean 0 and std 1 per channel, fitted on train (a channel with hardly a count
            is only centred).
    """
    image = _counts()
    image = image[image.mean((1, 2)).argsort(descending=True)[:channels]]
    image = image if counts else torch.asinh(image)
    train, validation = _blocks(image)
    order = torch.Generator().manual_seed(0)
    train = torch.cat([train, train.flip(3), train.transpose(2, 3)])
    train = train[torch.randperm(len(train), generator=order)]
    if standardised:
        mean, std = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True)
        std = torch.where(std < 0.02 * std.max(), std.max(), std)
        train, validation = (train - mean) / std, (validation - mean) / std
    return Tissue(train, validation)


@functools.lru_cache(maxsize=2)
def hyperion() -> Tissue:
    """Return overlapping tiles of nine small 5-channel regions, arcsinh; some channels are dead."""
    if not HYPERION.exists():
        image = torch.asinh(_synthetic(5, 160))
        image[0, :80] = 0  # as in the real regions, where a marker is missing from whole slides
        return Tissue(_tiles(image[:, :, :96], step=4), _tiles(image[:, :, 96:], step=8))
    import tifffile

    train, held = [], []
    for file in sorted(HYPERION.glob("*.tiff")):
        region = torch.asinh(torch.tensor(tifffile.imread(file)).float() / 5)
        edge = int(0.6 * region.shape[2])
        tiles = _tiles(region[:, :, :edge], step=4)
        train += [tiles, tiles.flip(2), tiles.flip(3), tiles.transpose(2, 3)]
        held.append(_tiles(region[:, :, edge:], step=4))
    return Tissue(torch.cat(train), torch.cat(held))


@functools.lru_cache(maxsize=1)
def _counts() -> Tensor:
    """Return (41, 512, 512) counts per blurred 2×2 block."""
    if not MIBI.exists():
        return _synthetic(41, 512)
    import tifffile

    image = torch.tensor(tifffile.imread(MIBI)).float()[:, None]
    image = 4 * F.avg_pool2d(image, 2)
    kernel = torch.exp(-torch.arange(-4, 5).float().square() / (2 * 1.5**2))
    kernel = kernel / kernel.sum()
    image = F.conv2d(image, kernel.view(1, 1, -1, 1), padding=(4, 0))
    return F.conv2d(image, kernel.view(1, 1, 1, -1), padding=(0, 4))[:, 0]


def _synthetic(channels: int, size: int) -> Tensor:
    """Return smooth positive maps mixed from eight factors; brightness spreads 300-fold."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(8, 1, size // 8, size // 8, generator=generator)
    maps = F.interpolate(factors, size=size, mode="bicubic")[:, 0].clamp_min(0)
    mix = torch.rand(channels, 8, generator=generator) ** 3
    brightness = torch.logspace(-2, 0.5, channels)[:, None, None]
    clean = brightness * torch.einsum("cf,fhw->chw", mix, maps)
    return clean + 0.1 * brightness * torch.rand(clean.shape, generator=generator)


def _blocks(image_CHW: Tensor) -> tuple[Tensor, Tensor]:
    """Split into blocks of 64 pixels; every fourth is held out, spread over the whole tissue."""
    blocks = image_CHW.unfold(1, 64, 64).unfold(2, 64, 64)
    train, held = [], []
    for row in range(blocks.shape[1]):
        for column in range(blocks.shape[2]):
            side = held if (row + 2 * column) % 4 == 0 else train
            side.append(_tiles(blocks[:, row, column]))
    return torch.cat(train), torch.cat(held)


def _tiles(image_CHW: Tensor, step: int = TILE) -> Tensor:
    """Cut an image into tiles (N, C, 16, 16)."""
    tiles = image_CHW.unfold(1, TILE, step).unfold(2, TILE, step)
    return tiles.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
