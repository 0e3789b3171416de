"""K-means: the codebook with the least squared distance, up to a local minimum.

Shape letters: N points, D dimensions, K codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.codebooks.methods.fitted import Fitted, check_size
from pellucid.codebooks.rules import Nearest
from pellucid.functional.kmeans import kmeans as lloyd


def fit_kmeans(points_ND: np.ndarray, size: int, *, seed: int = 0, iterations: int = 25) -> Fitted:
    """Fit K means; unseen points take the nearest.

    Args:
        points_ND: float32 points.
        size: K.
        seed: of the points it starts from.
        iterations: of Lloyd's algorithm.

    Raises:
        PellucidError: when K exceeds the points.
    """
    check_size(points_ND, size)
    vectors_KD = centres(points_ND, size, seed=seed, iterations=iterations)
    return Fitted(vectors_KD, Nearest(vectors_KD), {"iterations": iterations})


def centres(
    points_ND: np.ndarray,
    size: int,
    *,
    seed: int = 0,
    iterations: int = 25,
    start_KD: np.ndarray | None = None,
) -> Tensor:
    """Return the (K, D) means after Lloyd's algorithm, by faiss or else by torch.

    Args:
        points_ND: float32 points.
        size: K ≤ N.
        seed: of the points it starts from.
        iterations: assignments and updates.
        start_KD: where the means start; the squared error is then never above that of the start.
    """
    points_ND = np.ascontiguousarray(points_ND, np.float32)
    try:
        import faiss
    except ImportError:
        return _by_torch(points_ND, size, seed, iterations, start_KD)
    trainer: Any = faiss.Kmeans(
        points_ND.shape[1],
        size,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points_ND),  # all of them: no hidden subsample
    )
    trainer.train(points_ND, init_centroids=start_KD)
    return torch.from_numpy(trainer.centroids.reshape(size, -1).copy())


def _by_torch(
    points_ND: np.ndarray, size: int, seed: int, iterations: int, start_KD: np.ndarray | None
) -> Tensor:
    rng = np.random.default_rng(seed)

    def draw(z_ND: Tensor, k: int, step: int) -> Tensor:
        if step == 0 and start_KD is not None:
            return torch.from_numpy(np.asarray(start_KD, np.float32))
        return z_ND[torch.from_numpy(rng.choice(len(z_ND), k, replace=False))]

    return lloyd(torch.from_numpy(points_ND), size, iterations=iterations, draw=draw).vectors
