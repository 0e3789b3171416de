"""What every split has in common: which item an address means, and what is random about it.

A sample is addressed as `split[index]` or `split[index, epoch]` and is a pure function of
(seed, epoch, index); without an augmentation the epoch changes nothing.

Shape letters: B batch.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from pellucid.data.order import Address

_AUGMENTATION = 0  # second word of the key: a stream apart from the one that `order` draws from

AugmentationT = TypeVar("AugmentationT")


def sample_generator(seed: int, index: int, epoch: int) -> np.random.Generator:
    """Return a sample's own generator: counter-based, so no draw depends on any other."""
    stream = np.random.Philox(key=[seed, _AUGMENTATION], counter=[0, 0, index, epoch])
    return np.random.Generator(stream)


class AddressedSplit(Dataset[dict[str, Any]], abc.ABC, Generic[AugmentationT]):
    """Look up the samples of one split by their addresses.

    A kind of data says in `_stacked` what the samples are.

    Args:
        places: one row per sample: the item it is cut from, then where in it.
        augmentation: of training samples, else None.
    """

    def __init__(self, places: np.ndarray, augmentation: AugmentationT | None) -> None:
        self.places, self.augmentation = places, augmentation

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, address: int | Address) -> dict[str, Any]:
        return self.__getitems__([address])[0]

    def __getitems__(self, addresses: Sequence[int | Address]) -> list[dict[str, Any]]:
        columns = {
            key: column if column.is_floating_point() else column.tolist()
            for key, column in self.batch(addresses).items()
        }
        return [
            {key: column[row] for key, column in columns.items()} for row in range(len(addresses))
        ]

    def batch(self, addresses: Sequence[int | Address]) -> dict[str, Tensor]:
        """Return the samples already stacked: x and target (B, …), whole numbers (B,).

        Raises:
            IndexError: when an index is outside the split.
        """
        pairs = [
            (int(a[0]), int(a[1])) if isinstance(a, tuple | list) else (int(a), 0)
            for a in addresses
        ]
        return self._stacked([(self._checked(index), epoch) for index, epoch in pairs])

    def unaugmented(self) -> Self:
        """Return the same samples, each at its own place and as it is."""
        plain = copy.copy(self)
        plain.augmentation = None
        return plain

    def plain(self) -> Self:
        """Return the same items unaugmented, each place once however often an epoch repeats it."""
        plain = self.unaugmented()
        _, first = np.unique(self.places, axis=0, return_index=True)
        plain.places = self.places[np.sort(first)]
        return plain

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Return the name of the item behind a sample."""

    @abc.abstractmethod
    def _stacked(self, addresses: Sequence[Address]) -> dict[str, Tensor]:
        """Return the samples stacked; the addresses are known to be inside the split."""

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a split of {len(self)}")
        return index % len(self)
