"""One split of tiles as a map-style dataset, a pure function of (seed, epoch, index).

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.data.addressing import AddressedSplit, sample_generator
from pellucid.data.order import Address
from pellucid.data.stacks.blocks import Block
from pellucid.data.stacks.normalisers import Chain
from pellucid.data.stacks.store import Store


@dataclasses.dataclass(frozen=True)
class TileAugmentation:
    """What a training tile may undergo.

    Args:
        random_crop: cut anywhere in the tile's block instead of at its own place.
        flip: mirror left-right every other time.
        rotate: turn by a multiple of 90°.
        mask_channels: share of the channels hidden from the input (not from the target).
        seed: of all draws.
    """

    random_crop: bool
    flip: bool
    rotate: bool
    mask_channels: float
    seed: int


class TileSplit(AddressedSplit[TileAugmentation]):
    """Yield {"x", "target", "index", "group"[, "scale"]}; x and target are (C, size, size) float32.

    A hidden channel is 0 in x: its training mean, after a z-score.

    Args:
        store: windows of regions.
        chain: fitted.
        blocks: of this split.
        places: (samples, 3) place in `blocks`, top and left in the region.
        groups: group number per block; resampled together for intervals.
        size: side of the tiles.
        augmentation: for training.
    """

    def __init__(
        self,
        store: Store,
        chain: Chain,
        blocks: Sequence[Block],
        places: np.ndarray,
        groups: Sequence[int],
        size: int,
        augmentation: TileAugmentation | None = None,
    ) -> None:
        super().__init__(places, augmentation)
        self.store, self.chain, self.blocks = store, chain, list(blocks)
        self.groups, self.size = list(groups), size

    def name(self, index: int) -> str:
        """Return region and place of a tile."""
        block, top, left = self.places[index].tolist()
        return f"{self.store.regions[self.blocks[block].region].name} at {top},{left}"

    def raw(self, index: int, epoch: int = 0) -> np.ndarray:
        """Return (C, size, size) float32 in the unit of the data, as the model would get it."""
        return self._tile(index % len(self), epoch)[0]

    def _stacked(self, addresses: Sequence[Address]) -> dict[str, Tensor]:
        tiles, hidden = zip(*(self._tile(index, epoch) for index, epoch in addresses), strict=True)
        target, scale = self.chain.forward(torch.from_numpy(np.stack(tiles)))
        x = target
        if self.augmentation is not None and self.augmentation.mask_channels > 0:
            shown = torch.from_numpy(~np.stack(hidden)).float()
            x = target * shown[:, :, None, None]
        batch = {
            "x": x,
            "target": target,
            "index": torch.tensor([index for index, _ in addresses]),
            "group": torch.tensor(
                [self.groups[int(self.places[index, 0])] for index, _ in addresses]
            ),
        }
        return batch if scale is None else {**batch, "scale": scale}

    def _tile(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (C, size, size) in the unit of the data and which channels are hidden."""
        number, top, left = self.places[index].tolist()
        block = self.blocks[number]
        channels = len(self.store.channels)
        if self.augmentation is None:
            return self._window(block.region, top, left), np.zeros(channels, bool)
        rng = sample_generator(self.augmentation.seed, index, epoch)
        down, across, mirrored, turned = rng.random(4).tolist()  # always as many draws
        if self.augmentation.random_crop:
            top = block.top + int(down * (block.height - self.size + 1))
            left = block.left + int(across * (block.width - self.size + 1))
        tile = self._window(block.region, top, left)
        if self.augmentation.flip and mirrored < 0.5:
            tile = tile[:, :, ::-1]
        if self.augmentation.rotate:
            tile = np.rot90(tile, int(turned * 4), (1, 2))
        hidden = rng.random(channels) < self.augmentation.mask_channels
        return np.ascontiguousarray(tile), hidden

    def _window(self, region: int, top: int, left: int) -> np.ndarray:
        return self.store.window(region, slice(top, top + self.size), slice(left, left + self.size))
