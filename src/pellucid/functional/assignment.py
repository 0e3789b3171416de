"""One-to-one assignment: exact (Hungarian), and smooth (Sinkhorn).

Shape letters: B batch, N nodes, K slots (K = N).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError


def best_assignment(gain_BKN: Tensor) -> Tensor:
    """Return the permutation matrices of the largest total gain, Σ_k gain[k, node of k].

    Args:
        gain_BKN: what it is worth to put node n into slot k.

    Returns:
        (B, K, N) of 0 and 1 in the gain's dtype, one 1 per row and column; no gradient.

    Raises:
        PellucidError: when the gain is not square or not finite.

    Source: Crouse 2016 (scipy's `linear_sum_assignment`, a shortest augmenting path method).
    """
    from scipy.optimize import linear_sum_assignment

    _check(gain_BKN)
    gain = gain_BKN.detach().double().cpu().numpy()
    if not np.isfinite(gain).all():
        raise PellucidError("an assignment needs finite gains", where="best_assignment")
    columns = np.stack([linear_sum_assignment(g, maximize=True)[1] for g in gain])
    chosen = torch.from_numpy(columns).to(gain_BKN.device)
    return torch.nn.functional.one_hot(chosen, gain_BKN.shape[-1]).to(gain_BKN.dtype)


def sinkhorn(logits_BKN: Tensor, *, iterations: int = 20) -> Tensor:
    """Return nearly doubly stochastic matrices from logits, by normalising rows and columns.

    P = diag(u)·exp(logits)·diag(v), computed in logarithms; columns sum to one exactly, rows as
    nearly as the iterations reach. Divide logits by a temperature before: towards 0 the limit is
    the best assignment.

    Raises:
        PellucidError: when the logits are not square or `iterations` < 1.

    Source: Mena et al., "Learning latent permutations with Gumbel-Sinkhorn networks", 2018.
    """
    _check(logits_BKN)
    if iterations < 1:
        raise PellucidError("Sinkhorn needs iterations", expected="≥ 1", found=iterations)
    log_p = logits_BKN.float()
    for _ in range(iterations):
        log_p = log_p - log_p.logsumexp(-1, keepdim=True)
        log_p = log_p - log_p.logsumexp(-2, keepdim=True)
    return log_p.exp()


def row_entropy(weights: Tensor) -> Tensor:
    """Return the mean entropy of the last axis over its largest, ln(size): 0 hard, 1 uniform."""
    size = weights.shape[-1]
    if size < 2:
        return weights.new_zeros(())
    entropy = torch.special.entr(weights.clamp(0, 1)).sum(-1)
    return entropy.mean() / torch.log(torch.tensor(float(size), device=weights.device))


def straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """Return the hard values with the gradient of the soft ones."""
    return hard + (soft - soft.detach())


def _check(matrix_BKN: Tensor) -> None:
    if matrix_BKN.ndim != 3 or matrix_BKN.shape[-1] != matrix_BKN.shape[-2]:
        raise PellucidError(
            "as many slots as nodes", expected="(B, N, N)", found=tuple(matrix_BKN.shape)
        )
