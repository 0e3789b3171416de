"""Neighbour graphs: who is joined to whom, how long each edge is, what hangs together.

Edges are found once; their lengths are measured afterwards, straight or pulled back through a
decoder, so that graphs of different geometry share their edges.

Shape letters: N points, D dimensions, E edges.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from pellucid.errors import PellucidError
from pellucid.geometry.neighbours import Metric, neighbours

Join = Literal["union", "mutual"]
# csgraph takes a stored 0 for an edge, sparse arithmetic drops it: copies are this far apart.
_SHORTEST = 1e-30
_EDGES_PER_CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True)
class Edges:
    """Undirected edges, each once, first < second.

    Args:
        first: (E,) int64.
        second: (E,) int64.
        points: N.
        exact: whether they are the true nearest neighbours.
    """

    first: np.ndarray
    second: np.ndarray
    points: int
    exact: bool = True


@dataclasses.dataclass(frozen=True)
class Connectivity:
    """What a graph holds together.

    Args:
        components: how many there are.
        sizes: of the ten largest, in points.
        outside: share of the points outside the largest.
        edges: E.
        exact: whether the neighbours are exact.
    """

    components: int
    sizes: tuple[int, ...]
    outside: float
    edges: int
    exact: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return dataclasses.asdict(self)


def knn_edges(
    points_ND: np.ndarray,
    k: int,
    *,
    metric: Metric = "l2",
    join: Join = "union",
    exact: bool | None = None,
) -> Edges:
    """Join every point to its k nearest neighbours.

    Args:
        points_ND: float32 points.
        k: neighbours of each.
        metric: see `neighbours`.
        join: "union" keeps an edge that either end chose, "mutual" one that both did.
        exact: see `neighbours`.

    Raises:
        PellucidError: see `neighbours`.
    """
    found = neighbours(points_ND, k, metric=metric, exact=exact)
    N = len(found.index)
    chooser = np.repeat(np.arange(N), k)
    chosen = found.index.ravel()
    distinct = chooser != chosen
    low, high = np.minimum(chooser, chosen)[distinct], np.maximum(chooser, chosen)[distinct]
    keys, counts = np.unique(low * N + high, return_counts=True)
    if join == "mutual":
        keys = keys[counts > 1]
    return Edges(keys // N, keys % N, N, found.exact)


def straight_lengths(points_ND: np.ndarray, edges: Edges, *, metric: Metric = "l2") -> np.ndarray:
    """Return the (E,) float64 length of every edge: L2, or the chord between directions."""
    if metric == "cosine":
        norm_N1 = np.linalg.norm(points_ND, axis=1, keepdims=True)
        points_ND = points_ND / np.maximum(norm_N1, 1e-12)
    lengths = np.empty(len(edges.first))
    for part in _chunks(len(lengths)):
        step = points_ND[edges.first[part]].astype(np.float64) - points_ND[edges.second[part]]
        lengths[part] = np.linalg.norm(step, axis=1)
    return lengths


def pulled_back_lengths(points_ND: np.ndarray, edges: Edges, metric_NDD: np.ndarray) -> np.ndarray:
    """Return the (E,) float64 length of every edge under a metric G known at every point.

    ½·(√(vᵀG_a v) + √(vᵀG_b v)) for the step v from a to b: the trapezoid rule along the edge.

    Args:
        points_ND: points.
        edges: between them.
        metric_NDD: G = JᵀJ at every point, see `pullback`.
    """
    lengths = np.empty(len(edges.first))
    for part in _chunks(len(lengths)):
        first, second = edges.first[part], edges.second[part]
        step_eD = points_ND[second].astype(np.float64) - points_ND[first]
        ends = [
            np.einsum("ed,ed->e", step_eD, np.einsum("edc,ec->ed", metric_NDD[end], step_eD))
            for end in (first, second)
        ]
        lengths[part] = sum(np.sqrt(np.maximum(square, 0)) for square in ends) / 2
    return lengths


def graph_of(edges: Edges, lengths_E: np.ndarray) -> sparse.csr_array:
    """Return the symmetric (N, N) graph of edges with their lengths.

    Raises:
        PellucidError: when a length is not a finite number ≥ 0.
    """
    if not (np.isfinite(lengths_E).all() and (lengths_E >= 0).all()):
        raise PellucidError(
            "edges need finite lengths ≥ 0", found=f"{lengths_E.min()} … {lengths_E.max()}"
        )
    lengths_E = np.maximum(lengths_E, _SHORTEST)
    rows = np.concatenate([edges.first, edges.second])
    columns = np.concatenate([edges.second, edges.first])
    both = np.concatenate([lengths_E, lengths_E])
    return sparse.csr_array((both, (rows, columns)), shape=(edges.points, edges.points))


def connectivity(graph: sparse.csr_array, *, exact: bool = True) -> Connectivity:
    """Count the components of a graph and their sizes."""
    count, label_N = csgraph.connected_components(graph, directed=False)
    sizes = np.sort(np.bincount(label_N))[::-1]
    return Connectivity(
        components=int(count),
        sizes=tuple(int(size) for size in sizes[:10]),
        outside=float(1 - sizes[0] / sizes.sum()),
        edges=graph.nnz // 2,
        exact=exact,
    )


def _chunks(count: int) -> list[slice]:
    return [
        slice(start, min(start + _EDGES_PER_CHUNK, count))
        for start in range(0, count, _EDGES_PER_CHUNK)
    ]
