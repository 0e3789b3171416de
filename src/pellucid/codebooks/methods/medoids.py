"""K-medoids: the codes are latents that occurred, with exact updates until nothing changes.

Shape letters: N points, D dimensions, K codes, n members of a cluster.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pellucid.codebooks.methods.fitted import Fitted, check_size
from pellucid.codebooks.methods.kmeans import centres
from pellucid.codebooks.rules import Nearest
from pellucid.functional.nearest_code import nearest_code

MOST_ROUNDS = 50


def fit_kmedoids(
    points_ND: np.ndarray,
    size: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fit K medoids in L2; unseen points take the nearest.

    Starts from the points nearest to the k-means, then alternates assignment and exact medoids.

    Args:
        points_ND: float32 points.
        size: K.
        seed: of the k-means.
        progress: called with (rounds done, most rounds).

    Raises:
        PellucidError: when K exceeds the points.
    """
    check_size(points_ND, size)
    points = torch.from_numpy(np.ascontiguousarray(points_ND, np.float32))
    medoids_K = distinct_start(points, size, seed)
    converged = False
    for done in range(MOST_ROUNDS):
        codes_N = nearest_code(points, points[medoids_K])
        updated_K = exact_medoids(points, medoids_K, codes_N)
        if progress is not None:
            progress(done + 1, MOST_ROUNDS)
        converged = bool((updated_K == medoids_K).all())
        if converged:
            break
        medoids_K = updated_K
    vectors_KD = points[medoids_K].clone()
    return Fitted(vectors_KD, Nearest(vectors_KD), {"rounds": done + 1, "converged": converged})


def exact_medoids(points: Tensor, medoids_K: Tensor, codes_N: Tensor) -> Tensor:
    """Return the member of each cluster with the least sum of L2 distances to its members.

    The medoid stays where no member is better by more than rounding, and where it has no members.
    """
    order_N = codes_N.argsort(stable=True)
    sizes = torch.bincount(codes_N, minlength=len(medoids_K)).tolist()
    updated = []
    for medoid, members_n in zip(medoids_K.tolist(), order_N.split(sizes), strict=True):
        here = (members_n == medoid).nonzero()
        if not len(here):
            updated.append(medoid)
            continue
        member_nD = points[members_n].double()
        total_n = torch.cdist(member_nD, member_nD).sum(1)
        best = int(total_n.argmin())
        better = total_n[best] < total_n[int(here[0])] * (1 - 1e-12)
        updated.append(int(members_n[best]) if better else medoid)
    return torch.tensor(updated)


def distinct_start(points: Tensor, size: int, seed: int) -> Tensor:
    """Return K different rows, the nearest to the k-means as far as they differ."""
    vectors_KD = centres(points.numpy(), size, seed=seed)
    nearest_K = nearest_code(vectors_KD, points).unique()
    unused = torch.ones(len(points), dtype=torch.bool)
    unused[nearest_K] = False
    spare = unused.nonzero()[:, 0]
    shuffled = spare[torch.randperm(len(spare), generator=torch.Generator().manual_seed(seed))]
    return torch.cat([nearest_K, shuffled[: size - len(nearest_K)]]).sort().values
