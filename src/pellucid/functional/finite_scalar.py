"""Finite scalar quantisation: bound each dimension, round it, count in mixed radix.

After Mentzer et al. 2023, "Finite scalar quantization: VQ-VAE made simple", appendix A.1.
Shape letters: N vectors, D dimensions (one per level count).
"""

from __future__ import annotations

import torch
from torch import Tensor

# How far inside the outermost rounding boundary the bound stays; the paper's value.
_MARGIN = 1e-3


def bound(z_ND: Tensor, levels_D: Tensor) -> Tensor:
    """Squash each dimension into the open interval that rounds to its L integers.

    tanh(z + s)·h − o with h = (L − 1)(1 − 1e-3)/2, o = ½ for even L, and s such that 0 ↦ 0.
    """
    half_D, offset_D, shift_D = _bound_constants(levels_D)
    return torch.tanh(z_ND + shift_D) * half_D - offset_D


def bound_derivative(z_ND: Tensor, levels_D: Tensor) -> Tensor:
    """Return bound′(z) = h·(1 − tanh²(z + s)), elementwise."""
    half_D, _, shift_D = _bound_constants(levels_D)
    return half_D * (1 - torch.tanh(z_ND + shift_D).square())


def round_through(z_ND: Tensor) -> Tensor:
    """Round to the nearest integer; the gradient passes unchanged."""
    # z + (round(z) − z) would not be an integer exactly.
    return torch.round(z_ND).detach() + (z_ND - z_ND.detach())


def to_codes(digits_ND: Tensor, levels_D: Tensor) -> Tensor:
    """Return the (N,) int64 mixed-radix number of centred digits −⌊L/2⌋ … ; lowest first."""
    positive_ND = (digits_ND + levels_D // 2).to(torch.int64)
    return (positive_ND * _basis(levels_D)).sum(dim=-1)


def from_codes(codes_N: Tensor, levels_D: Tensor) -> Tensor:
    """Return the centred digits (N, D) of mixed-radix numbers; the inverse of `to_codes`."""
    positive_ND = codes_N[..., None] // _basis(levels_D) % levels_D
    return (positive_ND - levels_D // 2).float()


def _basis(levels_D: Tensor) -> Tensor:
    return torch.cat([levels_D.new_ones(1), levels_D[:-1]]).cumprod(dim=0)


def _bound_constants(levels_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    half_D = (levels_D - 1) * (1 - _MARGIN) / 2
    offset_D = (levels_D % 2 == 0).float() / 2
    return half_D, offset_D, torch.atanh(offset_D / half_D)
