"""A few bytes that tell one set of weights from another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

SIZE = 8
"""Bytes; two different models agree by chance once in 10¹⁹."""


def fingerprint(state: Mapping[str, Tensor]) -> bytes:
    """Return the first eight bytes of SHA-256 over names, shapes, types and values.

    Args:
        state: weights by name; their order does not matter.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()[:SIZE]
