"""How codes become one sequence: position by position, residual levels one after the other.

Position-major interleaving: p₀l₀ p₀l₁ … p₀l_{L−1} p₁l₀ …, positions in raster order. Every code is
predicted from all codes before it, so the factorisation is exact, and what a level predicts from is
its own position's coarser levels.

Shape letters: B batch, P positions (one axis or two), L residual levels, S = P·L sequence.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from pellucid.errors import DataError


@dataclasses.dataclass(frozen=True)
class Layout:
    """The shape of one sample's codes.

    Args:
        codes: K, codes per level.
        grid: positions along each axis: (rows, columns), or (steps,).
        levels: L; None for codes without an axis of levels.

    Raises:
        DataError: when a size is below 1, or the grid has more than two axes.
    """

    codes: int
    grid: tuple[int, ...]
    levels: int | None = None

    def __post_init__(self) -> None:
        sizes = (self.codes, *self.grid, self.depth)
        if min(sizes) < 1 or len(self.grid) not in (1, 2):
            raise DataError(
                "codes of this shape cannot be put in a sequence",
                expected="one or two axes of positions, every size at least 1",
                found=f"{self.codes} codes on {self.grid}, {self.levels} levels",
            )

    @classmethod
    def of(cls, codes: Tensor, *, size: int, levels: int | None) -> Layout:
        """Read the layout off a batch of codes (B, P...[, L]).

        Args:
            codes: any batch.
            size: K.
            levels: L when the codes have an axis of levels, else None.
        """
        grid = codes.shape[1:] if levels is None else codes.shape[1:-1]
        return cls(size, tuple(grid), levels)

    @property
    def depth(self) -> int:
        """Levels, counting plain codes as one."""
        return 1 if self.levels is None else self.levels

    @property
    def positions(self) -> int:
        """Positions of one sample."""
        return math.prod(self.grid)

    @property
    def length(self) -> int:
        """S, codes of one sample."""
        return self.positions * self.depth

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample's codes: P...[, L]."""
        return self.grid if self.levels is None else (*self.grid, self.levels)

    def to_sequence(self, codes: Tensor) -> Tensor:
        """Return (B, S) int64 for codes (B, P...[, L]).

        Raises:
            DataError: when their shape is another, or a code is not an integer in [0, K).
        """
        if tuple(codes.shape[1:]) != self.shape:
            raise DataError(
                "these codes have another shape", expected=self.shape, found=tuple(codes.shape[1:])
            )
        if codes.is_floating_point() or codes.dtype == torch.bool:
            raise DataError("codes are integers", found=codes.dtype)
        sequence_BS = codes.reshape(len(codes), self.length).long()
        if sequence_BS.numel():
            low, high = int(sequence_BS.min()), int(sequence_BS.max())
            if low < 0 or high >= self.codes:
                raise DataError(
                    "a code is out of range",
                    expected=f"0 to {self.codes - 1}",
                    found=f"{low} to {high}",
                )
        return sequence_BS

    def to_codes(self, sequence_BS: Tensor) -> Tensor:
        """Return codes (B, P...[, L]) for a sequence."""
        return sequence_BS.reshape(len(sequence_BS), *self.shape)
