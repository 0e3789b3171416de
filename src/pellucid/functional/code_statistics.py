"""Count and sum what each code received; usage, perplexity and codebook shape from the counts.

Shape letters: N vectors, D dimensions, K codes.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class CodeSums:
    """What each code received from one batch.

    Args:
        counts: (K,) float32, vectors assigned to each code.
        sums: (K, D) float32, sum of the vectors assigned to each code.
    """

    counts: Tensor
    sums: Tensor


def code_counts(codes_N: Tensor, k: int) -> Tensor:
    """Return the (K,) float32 number of times each code occurs (any shape of codes)."""
    flat = codes_N.reshape(-1)
    # index_add and not bincount: bincount reads its result back from a GPU.
    zeros = torch.zeros(k, device=flat.device)
    return zeros.index_add_(0, flat, torch.ones_like(flat, dtype=torch.float32))


def code_sums(z_ND: Tensor, codes_N: Tensor, k: int) -> CodeSums:
    """Return counts and sums per code; no (N, K) one-hot matrix is ever formed."""
    zeros_KD = z_ND.new_zeros(k, z_ND.shape[1], dtype=torch.float32)
    return CodeSums(code_counts(codes_N, k), zeros_KD.index_add_(0, codes_N, z_ND.float()))


def perplexity(counts_K: Tensor) -> Tensor:
    """Return exp(H(p)) of the code frequencies p: 1 when one code is used, K when all equally.

    Args:
        counts_K: (..., K) how often each code occurred.
    """
    p_K = counts_K / counts_K.sum(dim=-1, keepdim=True).clamp(min=1)
    return torch.special.entr(p_K).sum(dim=-1).exp()


def usage(counts_K: Tensor) -> Tensor:
    """Return the share of codes, in [0, 1], that occurred at least once.

    Args:
        counts_K: (..., K) how often each code occurred.
    """
    return (counts_K > 0).float().mean(dim=-1)


def orthogonality(vectors_KD: Tensor) -> Tensor:
    """Return the mean squared cosine between different codes.

    (1/(K(K−1))) Σ_{i≠j} cos²(c_i, c_j): in [0, 1] whatever K, about 1/D for random directions.
    (A sum over pairs grows with K² and cannot be weighed; after Shin et al. 2021, eq. 2.)

    Args:
        vectors_KD: (K, D) codebook, K ≥ 2.
    """
    k = vectors_KD.shape[0]
    unit_KD = F.normalize(vectors_KD.float(), dim=1)
    # ‖U Uᵀ‖²_F = ‖Uᵀ U‖²_F, and D×D is the smaller of the two; the diagonal contributes K ones.
    gram_DD = unit_KD.t() @ unit_KD
    diagonal = unit_KD.square().sum(dim=1).square().sum()
    return (gram_DD.square().sum() - diagonal) / (k * (k - 1))


def usage_entropy_gap(
    z_ND: Tensor, vectors_KD: Tensor, *, cosine: bool = False, temperature: float = 0.25
) -> Tensor:
    """Return 1 − H(p̄)/ln K for the batch mean p̄ of soft assignments: 0 when all codes serve.

    p(k | z) = softmax_k(−d(z, c_k)/(T·s)) with squared distances d and s their spread over codes:
    the temperature T has no unit. (Dividing by the distance to the *nearest* code would leave no
    gradient exactly when the codebook has collapsed.) Gradients reach vectors and codebook;
    minimising it spreads the batch over the codes. After the entropy term of Yu et al. 2023, eq. 5.

    Args:
        z_ND: (N, D) vectors.
        vectors_KD: (K, D) codebook, K ≥ 2.
        cosine: measure distances between directions.
        temperature: softness of the assignment.
    """
    if cosine:
        z_ND, vectors_KD = F.normalize(z_ND, dim=1), F.normalize(vectors_KD, dim=1)
    distance_NK = (
        z_ND.square().sum(dim=1, keepdim=True)
        - 2 * z_ND @ vectors_KD.t()
        + vectors_KD.square().sum(dim=1)
    )
    scale = distance_NK.detach().std(dim=1).mean().clamp(min=1e-12)
    p_K = (-distance_NK / (temperature * scale)).softmax(dim=1).mean(dim=0)
    entropy = torch.special.entr(p_K.clamp(min=1e-12)).sum()
    return 1 - entropy / math.log(vectors_KD.shape[0])
