"""Finite scalar quantisation: a fixed grid instead of a learned codebook.

Shape letters: B batch, C encoder channels, D grid dimensions, P positions (zero or more axes),
N = B·P rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.bottlenecks.checks import check_arguments, check_codes, check_features
from pellucid.bottlenecks.coded import code_metrics, coded_output, projected, projections
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.rows import from_rows, to_rows
from pellucid.functional.finite_scalar import (
    bound,
    bound_derivative,
    from_codes,
    round_through,
    to_codes,
)


class FSQ(Bottleneck):
    """Round a few bounded dimensions to integers; no codebook, no penalty, nothing to collapse.

    After Mentzer et al. 2023. Grid values are scaled to [−1, 1]; rounding is straight-through, so
    the declared Jacobian is the bound's derivative. All of it runs in float32 under autocast, where
    half precision would merge neighbouring grid points.

    Args:
        channels: channels expected from the encoder and handed to the decoder; when they differ
            from the number of levels, linear maps lead into and out of the grid.
        levels: grid points per dimension, each ≥ 3; (8, 5, 5, 5) is 1000 codes.

    Raises:
        RecipeError: when a level count is below 3 or the grid has more than 2³¹ points.
    """

    grid: Tensor

    def __init__(self, channels: int, *, levels: tuple[int, ...] = (8, 5, 5, 5)) -> None:
        super().__init__()
        levels = tuple(levels)
        is_grid = len(levels) > 0 and min(levels) >= 3 and math.prod(levels) <= 2**31
        expected = "one or more integers ≥ 3 whose product is at most 2**31"
        check_arguments("FSQ", {"levels": (is_grid, expected, levels)})
        self.channels = self.out_channels = channels
        self.codes = self.codebook_size = math.prod(levels)
        self.bits_per_position = math.log2(self.codes)
        dim = None if channels == len(levels) else len(levels)
        self.in_projection, self.out_projection = projections(channels, dim)
        self.register_buffer("grid", torch.tensor(levels), persistent=False)

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        """Return grid points as latents; shapes in `Bottleneck`."""
        check_features(h_BCP, self.channels, where="FSQ")
        with torch.autocast(h_BCP.device.type, enabled=False):
            z_ND = self.in_projection(to_rows(h_BCP).float())
            unrounded_ND = bound(z_ND, self.grid)
            digits_ND = round_through(unrounded_ND)
            codes_N = to_codes(digits_ND.detach(), self.grid)
            mean_NC = self.out_projection(unrounded_ND / (self.grid // 2))
            quantized_NC = self.out_projection(digits_ND / (self.grid // 2))
        return coded_output(
            h_BCP,
            mean_NC=mean_NC,
            quantized_NC=quantized_NC,
            codes=codes_N,
            penalties={},
            metrics=code_metrics(unrounded_ND.detach(), digits_ND.detach(), codes_N, self.codes),
        )

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, channels, P...) for codes (B, P...).

        Raises:
            PellucidError: when a code is not an integer in [0, Π levels).
        """
        check_codes(codes, self.codes, where="FSQ.decode_codes")
        digits_BPD = from_codes(codes.to(torch.int64), self.grid)
        return self.out_projection(digits_BPD / (self.grid // 2)).movedim(-1, 1)

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return (B, D, P...) in-projected features, before the bound."""
        check_features(h_BCP, self.channels, where="FSQ")
        return projected(h_BCP, self.in_projection)

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return grid points in [−1, 1] for unbounded code-space values."""
        digits_ND = round_through(bound(to_rows(z_BDP), self.grid))
        return from_rows(digits_ND / (self.grid // 2), z_BDP)

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return gradient · bound′(z)/⌊L/2⌋, elementwise."""
        slope_ND = bound_derivative(to_rows(z_BCP), self.grid) / (self.grid // 2)
        return gradient_BCP * from_rows(slope_ND, z_BCP)
