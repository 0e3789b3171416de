"""Keys and values of what was decoded, in memory taken once.

A batched product wants its operands in one piece. So the cache is a dense block that reaches a
little beyond what is filled, and is laid out anew inside the same memory each time the blocks run
out, once in `BLOCK` steps. Keys lie transposed, as the product with a query reads them.

Shape letters: N = rows · heads, D channels per head, T positions the block reaches to.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32


class KeyValueCache:
    """Store keys and values of every layer.

    Args:
        layers: number of attention layers.
        rows: sequences decoded together.
        heads: attention heads.
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
        self.rows, self.layers, self.channels = rows * heads, layers, channels
        self.length = length
        size = self.rows * channels * length
        self._keys = torch.zeros(layers, size, dtype=dtype, device=device)
        self._values = torch.zeros_like(self._keys)
        self.reach = 0
        self._views: list[tuple[Tensor, Tensor]] = []

    def reserve(self, position: int) -> None:
        """Make room for `position`, called once per step before the layers write."""
        if position < self.reach:
            return
        before, self.reach = self.reach, min(position - position % BLOCK + BLOCK, self.length)
        self._views = [self._lay_out(layer, before) for layer in range(self.layers)]

    def write(self, layer: int, position: int, key_ND: Tensor, value_ND: Tensor) -> None:
        """Put the keys and values (N, D) of one position in place."""
        keys_NDT, values_NTD = self._views[layer]
        keys_NDT[:, :, position] = key_ND
        values_NTD[:, position] = value_ND

    def attend(self, layer: int, position: int, query_N1D: Tensor) -> Tensor:
        """Return softmax(q·K)·V over positions 0 … position, (N, 1, D); q is scaled already."""
        keys_NDT, values_NTD = self._views[layer]
        scores_N1T = torch.bmm(query_N1D, keys_NDT)
        if position + 1 < self.reach:
            scores_N1T[:, :, position + 1 :] = -torch.inf
        return torch.bmm(scores_N1T.softmax(-1), values_NTD)

    def _lay_out(self, layer: int, before: int) -> tuple[Tensor, Tensor]:
        old_keys, old_values = (view.clone() for view in self._blocks(layer, before))
        keys_NDT, values_NTD = self._blocks(layer, self.reach)
        keys_NDT[:, :, :before] = old_keys
        values_NTD[:, :before] = old_values
        values_NTD[:, before:] = 0  # a weight of zero times what lay here must stay zero
        return keys_NDT, values_NTD

    def _blocks(self, layer: int, reach: int) -> tuple[Tensor, Tensor]:
        used = self.rows * self.channels * reach
        keys_NDT = self._keys[layer, :used].view(self.rows, self.channels, reach)
        values_NTD = self._values[layer, :used].view(self.rows, reach, self.channels)
        return keys_NDT, values_NTD
