"""Keys and values of what was decoded, in memory taken once.

A batched product wants its operands in one piece. So keys and values are dense blocks that reach a
little beyond what is filled, and are laid out anew, a little larger, each time they are full: into
a spare piece of memory, while the piece they leave becomes the spare. Keys lie transposed, as the
product with a query reads them.

Shape letters: B sequences, H heads, N = B · H, D channels per head, T positions a block reaches to.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 16
"""Positions by which blocks grow. What is not filled yet is read all the same: a larger step wastes
reading, a smaller one copying."""


class KeyValueCache:
    """Store keys and values of every layer.

    Args:
        layers: number of attention layers.
        rows: B.
        heads: H.
        channels: D.
        length: most positions ever.
        dtype: number format.
        device: where.
    """

    def __init__(
        self,
        *,
        layers: int,
        rows: int,
        heads: int,
        channels: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.rows, self.heads, self.channels, self.length = rows, heads, channels, length
        size = rows * heads * channels * length
        pieces = torch.empty(2 * layers + 1, size, dtype=dtype, device=device)
        self._keys, self._values = list(pieces[:layers]), list(pieces[layers:-1])
        self._spare = pieces[-1]
        self.reach = 0
        self._views: list[tuple[Tensor, Tensor]] = []

    def reserve(self, position: int) -> None:
        """Make room for `position`, called once per step before the layers write."""
        if position < self.reach:
            return
        before, self.reach = self.reach, min(position - position % BLOCK + BLOCK, self.length)
        self._views = [self._lay_out(layer, before) for layer in range(len(self._keys))]

    def write(self, layer: int, position: int, key_BHD: Tensor, value_BHD: Tensor) -> None:
        """Put the keys and values of one position in place."""
        keys_NDT, values_NTD = self._views[layer]
        split = (self.rows, self.heads)
        keys_NDT.unflatten(0, split)[..., position] = key_BHD
        values_NTD.unflatten(0, split)[:, :, position] = value_BHD

    def attend(self, layer: int, position: int, query_N1D: Tensor) -> Tensor:
        """Return softmax(q·K)·V over positions 0 … position, (N, 1, D); q is scaled already."""
        keys_NDT, values_NTD = self._views[layer]
        scores_N1T = torch.bmm(query_N1D, keys_NDT)
        if position + 1 < self.reach:
            scores_N1T[:, :, position + 1 :] = -torch.inf
        return torch.bmm(scores_N1T.softmax(-1), values_NTD)

    def _lay_out(self, layer: int, before: int) -> tuple[Tensor, Tensor]:
        keys_DT, values_TD = (self.channels, self.reach), (self.reach, self.channels)
        old_DT, old_TD = (self.channels, before), (before, self.channels)
        moved_NDT = self._block(self._spare, keys_DT)
        moved_NDT[:, :, :before] = self._block(self._keys[layer], old_DT)
        self._keys[layer], self._spare = self._spare, self._keys[layer]
        moved_NTD = self._block(self._spare, values_TD)
        moved_NTD[:, :before] = self._block(self._values[layer], old_TD)
        moved_NTD[:, before:] = 0  # a weight of zero times what lay here must stay zero
        self._values[layer], self._spare = self._spare, self._values[layer]
        return moved_NDT, moved_NTD

    def _block(self, piece: Tensor, sides: tuple[int, int]) -> Tensor:
        """View the beginning of a piece as N dense matrices."""
        matrices = self.rows * self.heads
        return piece[: matrices * sides[0] * sides[1]].view(matrices, *sides)
