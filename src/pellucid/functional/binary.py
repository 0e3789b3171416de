"""Binary quantisation: one bit per dimension, and how evenly and surely the bits are used.

Shape letters: N vectors, D dimensions (one bit each).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sign(z_ND: Tensor) -> Tensor:
    """Return −1 below zero and +1 from zero on; no value is left without a bit."""
    return torch.where(z_ND < 0, -1.0, 1.0).to(z_ND)


def bits_to_codes(signs_ND: Tensor) -> Tensor:
    """Return the (N,) int64 numbers whose bits are the signs, dimension 0 the lowest."""
    weight_D = 2 ** torch.arange(signs_ND.shape[-1], device=signs_ND.device)
    return ((signs_ND > 0).long() * weight_D).sum(dim=-1)


def codes_to_bits(codes: Tensor, dim: int) -> Tensor:
    """Return the signs (…, D) of numbers (…); the inverse of `bits_to_codes`."""
    shift_D = torch.arange(dim, device=codes.device)
    return ((codes[..., None].long() >> shift_D) & 1).float() * 2 - 1


def bit_entropy_gap(z_ND: Tensor, temperature: float) -> Tensor:
    """Return mean_n H(p_n) − H(mean_n p_n), per bit, in bits: −1 is best, 0 is worst.

    p_nd = σ(z_nd/T) is how surely the bit is set. Minimising makes every vector sure of its bits
    and lets each bit be set half of the time. Entropies of factorised distributions are sums over
    dimensions, so the 2^D codes are never listed.

    Source: Yu et al. 2023, "Language model beats diffusion", eq. 5, factorised as in Zhao et al.
    2024, "Image and video tokenization with binary spherical quantization", section 3.3.

    Args:
        z_ND: what is quantised, with its gradient path.
        temperature: T, in the unit of z.
    """
    p_ND = torch.sigmoid(z_ND / temperature)
    sure = _entropy(p_ND).mean()
    spread = _entropy(p_ND.mean(dim=0)).mean()
    return (sure - spread) / math.log(2)


def _entropy(p: Tensor) -> Tensor:
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log() + (1 - p) * (1 - p).log())
