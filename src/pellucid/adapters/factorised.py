"""Factorised codes (Yu et al. 2022, section 3.2), as DAC and SNAC use them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def projected_codebooks(quantizers: Iterable[Any]) -> list[Tensor]:
    """Return each level's codebook after its out-projection: (K, d) in the decoder's space."""
    with torch.no_grad():
        return [
            level.out_proj(level.codebook.weight.T[None])[0].T.contiguous() for level in quantizers
        ]
