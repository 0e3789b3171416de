"""One split as a map-style dataset whose samples are a pure function of (seed, epoch, index).

Shape letters: B batch, H height, W width, C channels.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pellucid.data.cache import PixelCache
from pellucid.data.degrading import Degradation
from pellucid.functional.value_range import ValueRange

_AUGMENTATION = 0  # second word of the key, see `order`


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What a training sample may undergo; crop and flip act on input and target alike.

    Args:
        random_crop: crop anywhere instead of at the sample's own place.
        flip: mirror left-right every other time.
        degradation: acts on the input only.
        seed: of all draws.
    """

    random_crop: bool
    flip: bool
    degradation: Degradation
    seed: int

    def generator(self, index: int, epoch: int) -> np.random.Generator:
        """Return the sample's own generator: counter-based, so no draw depends on any other."""
        stream = np.random.Philox(key=[self.seed, _AUGMENTATION], counter=[0, 0, index, epoch])
        return np.random.Generator(stream)


class ImageSplit(Dataset[dict[str, Any]]):
    """Yield {"x", "target", "index", "group"[, "label"]}; x and target are (C, size, size) float32.

    A sample is addressed as `split[index]` or `split[index, epoch]`. Without an augmentation
    (validation, test) the epoch changes nothing.

    Args:
        pixels: prepared images.
        places: (samples, 3) image, top, left of each sample's crop.
        size: side of the crops.
        value_range: of x and target.
        names: name per image of `pixels`.
        groups: group number per image of `pixels`.
        labels: class per image of `pixels`, or None.
        augmentation: for training.
    """

    def __init__(
        self,
        pixels: PixelCache,
        places: np.ndarray,
        size: int,
        value_range: ValueRange,
        names: Sequence[str],
        groups: np.ndarray,
        labels: np.ndarray | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.pixels, self.places, self.size = pixels, places, size
        self.value_range, self.names = value_range, names
        self.groups, self.labels = groups, labels
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, address: int | tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([address])[0]

    def __getitems__(self, addresses: Sequence[int | tuple[int, int]]) -> list[dict[str, Any]]:
        batch = self.batch(addresses)
        columns = {k: v if k in ("x", "target") else v.tolist() for k, v in batch.items()}
        return [
            {key: column[row] for key, column in columns.items()} for row in range(len(addresses))
        ]

    def unaugmented(self) -> ImageSplit:
        """Return the same samples, each at its own place, neither mirrored nor degraded."""
        plain = copy.copy(self)
        plain.augmentation = None
        return plain

    def plain(self) -> ImageSplit:
        """Return the same images unaugmented, each crop once however often an epoch repeats it."""
        plain = self.unaugmented()
        _, first = np.unique(self.places, axis=0, return_index=True)
        plain.places = self.places[np.sort(first)]
        return plain

    def name(self, index: int) -> str:
        """Return the name (path or array row) of the image behind a sample."""
        return self.names[int(self.places[index, 0])]

    def batch(self, addresses: Sequence[int | tuple[int, int]]) -> dict[str, Tensor]:
        """Return the samples already stacked: x and target (B, C, size, size), the others (B,).

        Raises:
            IndexError: when an index is outside the split.
        """
        pairs = [
            (int(a[0]), int(a[1])) if isinstance(a, tuple | list) else (int(a), 0)
            for a in addresses
        ]
        indices = [self._checked(index) for index, _ in pairs]
        images = self.places[indices, 0]
        target, x = self._pixels(indices, [epoch for _, epoch in pairs])
        batch = {
            "x": x,
            "target": target,
            "index": torch.tensor(indices),
            "group": torch.from_numpy(self.groups[images]),
        }
        if self.labels is not None:
            batch["label"] = torch.from_numpy(self.labels[images])
        return batch

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a split of {len(self)}")
        return index % len(self)

    def _pixels(self, indices: list[int], epochs: list[int]) -> tuple[Tensor, Tensor]:
        """Return the clean targets and the inputs (the same tensor when nothing degrades)."""
        crops, generators = [], []
        for index, epoch in zip(indices, epochs, strict=True):
            rng = None if self.augmentation is None else self.augmentation.generator(index, epoch)
            crops.append(self._crop(index, rng))
            generators.append(rng)
        target = self._to_model(crops)
        if self.augmentation is None or not self.augmentation.degradation:
            return target, target
        degrade = self.augmentation.degradation
        return target, self._to_model(
            [degrade(_unit(crop), rng) for crop, rng in zip(crops, generators, strict=True)]
        )

    def _crop(self, index: int, rng: np.random.Generator | None) -> np.ndarray:
        image, top, left = self.places[index].tolist()
        pixels_HWC = self.pixels.image(image)
        if rng is None or self.augmentation is None:
            return pixels_HWC[top : top + self.size, left : left + self.size]
        down, across, mirrored = rng.random(3).tolist()  # always three: options do not shift draws
        if self.augmentation.random_crop:
            height, width = pixels_HWC.shape[:2]
            top = int(down * (height - self.size + 1))
            left = int(across * (width - self.size + 1))
        crop = pixels_HWC[top : top + self.size, left : left + self.size]
        return crop[:, ::-1] if self.augmentation.flip and mirrored < 0.5 else crop

    def _to_model(self, crops: list[np.ndarray]) -> Tensor:
        """Stack HWC crops and map them to the value range in one go."""
        if all(crop.dtype == np.uint8 for crop in crops):
            x_BHWC = torch.from_numpy(np.stack(crops))
            x_BCHW = self.value_range.from_uint8(x_BHWC.permute(0, 3, 1, 2).contiguous())
        else:
            x_BHWC = torch.from_numpy(np.stack([_unit(crop) for crop in crops]))
            x_BCHW = self.value_range.from_unit(x_BHWC.permute(0, 3, 1, 2).contiguous())
        return x_BCHW


def _unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels
