"""Edges of a graph over points of the plane: k nearest, or Delaunay triangulation.

Shape letters: N points, E edges.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import DataError


def nearest_edges(positions_N2: Tensor, k: int) -> Tensor:
    """Join every point to its k nearest others (one direction is enough for an edge).

    Returns:
        (E, 2) pairs a < b, each once; no edge where there is one point only.

    Raises:
        DataError: for k < 1 or positions that are not finite.
    """
    if k < 1:
        raise DataError("a neighbourhood has a size", where="k", expected="≥ 1", found=k)
    _check(positions_N2)
    count = len(positions_N2)
    if count < 2:
        return torch.zeros(0, 2, dtype=torch.long)
    from scipy.spatial import KDTree

    points = positions_N2.detach().cpu().double().numpy()
    k = min(k, count - 1)
    _, found = KDTree(points).query(points, k=k + 1)
    near = torch.from_numpy(found).long()
    own = torch.arange(count)[:, None]
    # points in one place may not find themselves first
    keep = near != own
    pairs = torch.stack([own.expand_as(near)[keep], near[keep]], 1)
    return _once(pairs)


def delaunay_edges(positions_N2: Tensor, *, longest: float | None = None) -> Tensor:
    """Join points whose Voronoi cells touch.

    Args:
        positions_N2: where the points are.
        longest: edges above this length are dropped (the hull's slivers), or None.

    Returns:
        (E, 2) pairs a < b, each once. Two points are joined; points on one line are joined along
        it.

    Raises:
        DataError: when positions are not finite.
    """
    _check(positions_N2)
    from scipy.spatial import Delaunay, QhullError

    points = positions_N2.detach().cpu().double()
    if len(points) < 4:
        pairs = torch.combinations(torch.arange(len(points)))
    else:
        try:
            corners = torch.from_numpy(Delaunay(points.numpy()).simplices).long()
            pairs = torch.cat([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]])
        except QhullError:  # all on one line
            order = (points @ (points[0] - points.mean(0))).argsort()
            pairs = torch.stack([order[:-1], order[1:]], 1)
    pairs = _once(pairs)
    if longest is not None and len(pairs):
        length = (points[pairs[:, 0]] - points[pairs[:, 1]]).norm(dim=1)
        pairs = pairs[length <= longest]
    return pairs


def _once(pairs_E2: Tensor) -> Tensor:
    if not len(pairs_E2):
        return torch.zeros(0, 2, dtype=torch.long)
    return torch.unique(pairs_E2.sort(1).values, dim=0)


def _check(positions_N2: Tensor) -> None:
    if positions_N2.ndim != 2 or positions_N2.shape[1] != 2:
        raise DataError(
            "positions are pairs", expected="(points, 2)", found=tuple(positions_N2.shape)
        )
    if not positions_N2.isfinite().all():
        raise DataError("positions hold NaN or infinity")
