"""Kernel distance (KID): the squared maximum mean discrepancy of two sets of features.

Shape letters: N and M samples of the two sets, D features.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.functional.frechet import check_features

_LEAST = 16


@dataclasses.dataclass(frozen=True)
class KernelDistance:
    """An unbiased estimate and how far it may be off.

    Args:
        value: mean over subsets; may be slightly negative for equal distributions.
        error: standard error of that mean, or None for a single subset.
        subsets: how many were drawn.
        size: samples of each subset.
    """

    value: float
    error: float | None
    subsets: int
    size: int


def squared_mmd(a_ND: Tensor, b_MD: Tensor) -> float:
    """Return the unbiased squared MMD under the cubic kernel k(x, y) = (xᵀy/D + 1)³.

    E k(a, a′) + E k(b, b′) − 2·E k(a, b) without the terms of a sample with itself; its
    expectation is zero when both sets come from one distribution, at any N and M.
    Source: Bińkowski et al. 2018, §4; Gretton et al. 2012, eq. 3.

    Raises:
        DataError: when the features differ in number, or a set has fewer than two samples.
    """
    check_features(a_ND, least=2)
    check_features(b_MD, least=2)
    if a_ND.shape[1] != b_MD.shape[1]:
        raise DataError(
            "features of different networks cannot be compared",
            expected=f"{a_ND.shape[1]} features",
            found=b_MD.shape[1],
        )
    a_ND, b_MD = a_ND.double(), b_MD.double()
    between = _kernel(a_ND, b_MD).mean()
    return float(_within(a_ND) + _within(b_MD) - 2 * between)


def kernel_distance(
    a_ND: Tensor, b_MD: Tensor, *, subsets: int = 50, size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Estimate the squared MMD as the mean over random subsets of equal size.

    Args:
        a_ND: features of one set.
        b_MD: features of the other.
        subsets: how many to draw.
        size: samples of each, at most the smaller set.
        seed: of the draws.

    Raises:
        DataError: for fewer than 16 samples, and as `squared_mmd`.
    """
    check_features(a_ND, least=_LEAST)
    check_features(b_MD, least=_LEAST)
    size = min(size, len(a_ND), len(b_MD))
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        rows = [torch.randperm(len(x), generator=generator)[:size] for x in (a_ND, b_MD)]
        values.append(squared_mmd(a_ND[rows[0]], b_MD[rows[1]]))
    drawn = torch.tensor(values, dtype=torch.float64)
    error = float(drawn.std() / subsets**0.5) if subsets > 1 else None
    return KernelDistance(float(drawn.mean()), error, subsets, size)


def _kernel(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    return (a_ND @ b_MD.T / a_ND.shape[1] + 1) ** 3


def _within(x_ND: Tensor) -> Tensor:
    kernel_NN = _kernel(x_ND, x_ND)
    return (kernel_NN.sum() - kernel_NN.trace()) / (len(x_ND) * (len(x_ND) - 1))
