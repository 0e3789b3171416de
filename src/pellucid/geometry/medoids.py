"""Exact medoids of clusters on a graph, without all pairs of shortest paths.

The medoid of a cluster C is the member m with the least S(m) = Σ_{x∈C} d(m, x), d along the whole
graph. From each candidate Dijkstra's algorithm runs only as far as a radius r: members beyond count
as r, which bounds S(m) from below, and that is enough to rule most candidates out because r is a
little more than the best member's mean distance. A bound on one candidate bounds its neighbours by
the triangle inequality, S(m′) ≥ S(m) − |C|·d(m, m′), so many are never visited. What survives is
measured in full. Nothing is approximated: the least S is the brute-force one.

Source: the pruning by neighbours is that of Newling & Fleuret 2017, "A sub-quadratic exact medoid
algorithm"; the truncated runs are ours.

Shape letters: N points, K clusters, n members of a cluster, b candidates of a batch.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from pellucid.geometry.paths import Assignment, size_of

_REACH = 1.25  # radius r in units of the best mean distance
_NUMBERS_PER_BATCH = 1 << 22
_BATCH = 32
_TIE = 1 - 1e-12  # a candidate must be better than rounding to replace the medoid


@dataclasses.dataclass(frozen=True)
class Medoid:
    """The best member of a cluster.

    Args:
        point: its row.
        total: Σ of its distances to the members.
        visited: candidates from which paths were searched.
    """

    point: int
    total: float
    visited: int


def update_medoids(
    graph: sparse.csr_array, medoids_K: np.ndarray, assignment: Assignment
) -> np.ndarray:
    """Return the (K,) exact medoids of the clusters of an assignment.

    A medoid stays when no member is better; so does one whose cluster is itself alone.

    Args:
        graph: symmetric (N, N) with lengths > 0.
        medoids_K: the sources of the assignment.
        assignment: of every point, see `nearest_source`.
    """
    order_N = np.argsort(assignment.source_N, kind="stable")
    bounds = np.searchsorted(assignment.source_N[order_N], np.arange(len(medoids_K) + 1))
    return np.array(
        [
            medoid(graph, int(centre), members_n, assignment.distance_N[members_n]).point
            for centre, members_n in zip(medoids_K, np.split(order_N, bounds)[1:-1], strict=True)
        ]
    )


def medoid(
    graph: sparse.csr_array, centre: int, members_n: np.ndarray, distance_n: np.ndarray
) -> Medoid:
    """Find the exact medoid of one cluster.

    Args:
        graph: symmetric (N, N) with lengths > 0.
        centre: a member, from which all members are reached.
        members_n: rows of the members.
        distance_n: path lengths from the centre to them.
    """
    n, best, point, visited = len(members_n), float(distance_n.sum()), centre, 1
    if n < 3:  # of two, both are
        return Medoid(point, best, visited)
    radius = _REACH * best / n
    nodes, local = _neighbourhood(graph, centre, distance_n.max() + radius)
    where_n = np.searchsorted(nodes, members_n)
    alive_n = members_n != centre
    b = max(1, min(_BATCH, _NUMBERS_PER_BATCH // len(nodes)))
    for batch in _batches(np.argsort(distance_n, kind="stable"), alive_n, b):
        visited += len(batch)
        near_bN = dijkstra(local, directed=True, indices=where_n[batch], limit=radius)
        near_bn = near_bN[:, where_n]
        bound_b = np.minimum(near_bn, radius).sum(1)
        alive_n[batch] = False
        for row in np.flatnonzero(bound_b < best * _TIE):
            total = bound_b[row]
            if np.isinf(near_bn[row]).any():
                total = _total(graph, members_n, batch[row], distance_n)
            if total < best * _TIE:
                best, point = float(total), int(members_n[batch[row]])
        beyond_bn = bound_b[:, None] - n * near_bn > best  # −∞ where a member was out of reach
        alive_n &= ~beyond_bn.any(0)
    return Medoid(point, best, visited)


def medoid_by_single_runs(graph: sparse.csr_array, members_n: np.ndarray) -> Medoid:
    """Do the same by one full run per member: the slow reference."""
    totals_n = np.array(
        [
            dijkstra(graph, directed=True, indices=int(member))[members_n].sum()
            for member in members_n
        ]
    )
    best = int(totals_n.argmin())
    return Medoid(int(members_n[best]), float(totals_n[best]), len(members_n))


def _neighbourhood(
    graph: sparse.csr_array, centre: int, radius: float
) -> tuple[np.ndarray, sparse.csr_array]:
    """Return the nodes within a radius and the graph among them.

    A path from a member m no longer than r stays within d(centre, m) + r of the centre, so the
    smaller graph has every path that a truncated run needs.
    """
    reached_N = dijkstra(graph, directed=True, indices=centre, limit=radius)
    nodes = np.flatnonzero(np.isfinite(reached_N))
    if 2 * len(nodes) > size_of(graph):
        return np.arange(size_of(graph)), graph
    return nodes, graph[nodes][:, nodes]


def _batches(order_n: np.ndarray, alive_n: np.ndarray, size: int):
    """Yield candidates still alive, in order; `alive_n` may change between batches."""
    left = order_n
    while len(left := left[alive_n[left]]):
        yield left[:size]
        left = left[size:]


def _total(
    graph: sparse.csr_array, members_n: np.ndarray, candidate: int, distance_n: np.ndarray
) -> float:
    """Return S of one candidate; no member is farther than by way of the centre."""
    radius = (distance_n[candidate] + distance_n.max()) * (1 + 1e-9)
    source = int(members_n[candidate])
    reached_N = dijkstra(graph, directed=True, indices=source, limit=radius)
    return float(reached_N[members_n].sum())
