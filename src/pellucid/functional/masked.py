"""Errors over the nodes that exist.

Shape letters: B graphs, N nodes, C features.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.shapes import check_pair


def masked_mse(x_hat_BNC: Tensor, x_BNC: Tensor, mask_BN: Tensor) -> Tensor:
    """Return the mean squared error over nodes that exist, every node weighing the same.

    Raises:
        PellucidError: when shapes disagree or no node exists.
    """
    _check(x_hat_BNC, x_BNC, mask_BN)
    return (x_hat_BNC - x_BNC)[mask_BN].square().mean()


def masked_huber(x_hat_BNC: Tensor, x_BNC: Tensor, mask_BN: Tensor, *, delta: float) -> Tensor:
    """Return the mean Huber distance over nodes that exist: ½e² up to δ, δ(|e| − δ/2) beyond.

    Raises:
        PellucidError: when shapes disagree or no node exists.
    """
    _check(x_hat_BNC, x_BNC, mask_BN)
    return F.huber_loss(x_hat_BNC[mask_BN], x_BNC[mask_BN], delta=delta)


def cosine_distance(x_hat_BCP: Tensor, x_BCP: Tensor, *, epsilon: float = 1e-2) -> Tensor:
    """Return (B, P...) 1 − cos of the angle between channel vectors, in [0, 2].

    Both vectors get one more coordinate ε, so that two dark places are equal (0) and the gradient
    stays below 1/ε where a vector vanishes.

    Args:
        x_hat_BCP: (B, C, P...) reconstructions.
        x_BCP: (B, C, P...) what they should have been.
        epsilon: ε, in the unit of the values.

    Raises:
        PellucidError: when the shapes differ, or there is one channel: then a cosine is a sign.
    """
    check_pair(x_hat_BCP, x_BCP, where="cosine_distance")
    if x_BCP.ndim < 2 or x_BCP.shape[1] < 2:
        raise PellucidError(
            "the cosine of one channel is only a sign",
            where="cosine_distance",
            expected="(B, C, ...) with at least 2 channels",
            found=tuple(x_BCP.shape),
            hint="drop the term, or use l2 or huber",
        )
    square = epsilon * epsilon
    a = (x_hat_BCP.square().sum(1) + square).sqrt()
    b = (x_BCP.square().sum(1) + square).sqrt()
    return 1 - ((x_hat_BCP * x_BCP).sum(1) + square) / (a * b)


def _check(x_hat_BNC: Tensor, x_BNC: Tensor, mask_BN: Tensor) -> None:
    check_pair(x_hat_BNC, x_BNC, where="masked error")
    if mask_BN.shape != x_BNC.shape[:2] or not bool(mask_BN.any()):
        raise PellucidError(
            "the mask does not fit the nodes, or no node exists",
            where="mask_BN",
            expected=f"boolean {tuple(x_BNC.shape[:2])} with a True",
            found=tuple(mask_BN.shape),
        )
