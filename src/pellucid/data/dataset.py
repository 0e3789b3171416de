"""One split as a map-style dataset whose samples are a pure function of (seed, epoch, index).

Shape letters: B batch, H height, W width, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.data.addressing import AddressedSplit, sample_generator
from pellucid.data.cache import PixelCache
from pellucid.data.degrading import Degradation
from pellucid.data.order import Address
from pellucid.functional.value_range import ValueRange


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


class ImageSplit(AddressedSplit[Augmentation]):
    """Yield {"x", "target", "index", "group"[, "label"]}; x and target are (C, size, size) float32.

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
        super().__init__(places, augmentation)
        self.pixels, self.size = pixels, size
        self.value_range, self.names = value_range, names
        self.groups, self.labels = groups, labels

    def name(self, index: int) -> str:
        """Return the name (path or array row) of the image behind a sample."""
        return self.names[int(self.places[index, 0])]

    def _stacked(self, addresses: Sequence[Address]) -> dict[str, Tensor]:
        indices = [index for index, _ in addresses]
        images = self.places[indices, 0]
        target, x = self._pixels(addresses)
        batch = {
            "x": x,
            "target": target,
            "index": torch.tensor(indices),
            "group": torch.from_numpy(self.groups[images]),
        }
        if self.labels is not None:
            batch["label"] = torch.from_numpy(self.labels[images])
        return batch

    def _pixels(self, addresses: Sequence[Address]) -> tuple[Tensor, Tensor]:
        """Return the clean targets and the inputs (the same tensor when nothing degrades)."""
        crops, generators = [], []
        augmentation = self.augmentation
        for index, epoch in addresses:
            rng = augmentation and sample_generator(augmentation.seed, index, epoch)
            crops.append(self._crop(index, rng))
            generators.append(rng)
        target = self._to_model(crops)
        if augmentation is None or not augmentation.degradation:
            return target, target
        degrade = augmentation.degradation
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
