"""Nearest-neighbour search in a latent space, exact, and by inverted lists where that is too slow.

faiss searches when it is installed; without it the same neighbours come from matrix products in
torch, several times slower. Above `EXACT_POINTS` an exact search of all points takes hours on a few
cores, and only faiss's inverted lists are offered.

Shape letters: N points searched, n points asked about, D dimensions, k neighbours.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from pellucid.errors import PellucidError, require

Metric = Literal["l2", "cosine"]
EXACT_POINTS = 200_000
_SCORES_PER_CHUNK = 1 << 24
_PROBES = 16


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """What a search found, nearest first.

    Args:
        index: (n, k) int64 rows of the points searched.
        distance: (n, k) float32; L2, or the chord √(2 − 2 cos) between directions.
        exact: whether no nearer point exists.
    """

    index: np.ndarray
    distance: np.ndarray
    exact: bool


def neighbours(
    points_nD: np.ndarray,
    k: int,
    *,
    among: np.ndarray | None = None,
    metric: Metric = "l2",
    exact: bool | None = None,
) -> Neighbours:
    """Find the k nearest neighbours of every point.

    Args:
        points_nD: float32 points asked about.
        k: neighbours of each.
        among: (N, D) points searched; None searches the points themselves, each without itself.
        metric: "l2", or "cosine": L2 between directions.
        exact: None searches exactly up to 200,000 points, and inverted lists above.

    Raises:
        PellucidError: when there are not k other points, or a point is not finite.
        MissingExtraError: for an inexact search without faiss.
    """
    itself = among is None
    searched_ND = _prepared(points_nD if among is None else among, metric)
    asked_nD = searched_ND if among is None else _prepared(points_nD, metric)
    if not 1 <= k <= len(searched_ND) - itself:
        raise PellucidError(
            "there are not so many neighbours",
            where="k",
            expected=f"1 … {len(searched_ND) - itself}",
            found=k,
        )
    exact = len(searched_ND) <= EXACT_POINTS if exact is None else exact
    found = _search(asked_nD, searched_ND, k + itself, exact)
    index, distance = _without_itself(*found) if itself else found
    return Neighbours(index, distance, exact)


def _prepared(points_ND: np.ndarray, metric: Metric) -> np.ndarray:
    points_ND = np.ascontiguousarray(points_ND, np.float32)
    if points_ND.ndim != 2 or not np.isfinite(points_ND).all():
        raise PellucidError(
            "points must be finite rows of numbers", expected="(N, D)", found=points_ND.shape
        )
    if metric == "cosine":
        return F.normalize(torch.from_numpy(points_ND), dim=1).numpy()
    return points_ND


def _search(
    asked_nD: np.ndarray, searched_ND: np.ndarray, k: int, exact: bool
) -> tuple[np.ndarray, np.ndarray]:
    faiss = _faiss()
    if not exact:
        faiss = require("faiss", extra="codes", purpose="a search of so many points")
        return _inverted_lists(faiss, asked_nD, searched_ND, k)
    if faiss is None:
        return _search_by_products(asked_nD, searched_ND, k)
    index = faiss.IndexFlatL2(searched_ND.shape[1])
    index.add(searched_ND)
    square, found = index.search(asked_nD, k)
    return found, np.sqrt(np.maximum(square, 0))


def _inverted_lists(
    faiss: Any, asked_nD: np.ndarray, searched_ND: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    lists = int(4 * np.sqrt(len(searched_ND)))
    index = faiss.index_factory(searched_ND.shape[1], f"IVF{lists},Flat")
    index.nprobe = _PROBES
    rows = np.linspace(0, len(searched_ND) - 1, min(len(searched_ND), 40 * lists)).astype(np.int64)
    index.train(searched_ND[rows])
    index.add(searched_ND)
    square, found = index.search(asked_nD, k)
    missing = found < 0  # fewer than k points in the lists that were probed
    found[missing] = np.broadcast_to(found[:, :1], found.shape)[missing]
    square[missing] = np.broadcast_to(square[:, :1], square.shape)[missing]
    return found, np.sqrt(np.maximum(square, 0))


def _search_by_products(
    asked_nD: np.ndarray, searched_ND: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    searched = torch.from_numpy(searched_ND).double()
    squares_N = searched.square().sum(1)
    indices, distances = [], []
    rows = max(1, _SCORES_PER_CHUNK // len(searched))
    for asked in torch.from_numpy(asked_nD).double().split(rows):
        square = asked.square().sum(1, keepdim=True) - 2 * asked @ searched.T + squares_N
        nearest = square.clamp(min=0).topk(k, largest=False)
        indices.append(nearest.indices)
        distances.append(nearest.values.sqrt().float())
    return torch.cat(indices).numpy(), torch.cat(distances).numpy()


def _without_itself(index: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each point from its own list; where copies crowd it out, drop the last."""
    own = index == np.arange(len(index))[:, None]
    own[~own.any(1), -1] = True
    own &= np.cumsum(own, axis=1) == 1
    k = index.shape[1] - 1
    return index[~own].reshape(-1, k), distance[~own].reshape(-1, k)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
