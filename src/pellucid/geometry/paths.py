"""Which source is nearest along a graph: one run of Dijkstra's algorithm from all of them.

Shape letters: N points, K sources.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra


def size_of(graph: sparse.csr_array) -> int:
    """Return N."""
    return len(graph.indptr) - 1


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The nearest source of every point.

    Args:
        source_N: number of the source, in the order they were given; −1 when none is reached.
        distance_N: length of the shortest path to it; infinite when none is reached.
    """

    source_N: np.ndarray
    distance_N: np.ndarray

    @property
    def unreachable(self) -> float:
        """Share of the points that reach no source."""
        return float((self.source_N < 0).mean())


def nearest_source(graph: sparse.csr_array, sources_K: np.ndarray) -> Assignment:
    """Assign every point to the nearest of distinct sources, in one run: O((N + E) log N).

    Args:
        graph: symmetric (N, N) with lengths > 0.
        sources_K: distinct rows.
    """
    distance_N, _, node_N = dijkstra(
        graph, directed=True, indices=sources_K, min_only=True, return_predecessors=True
    )
    number_N = np.full(size_of(graph), -1, np.int64)
    number_N[sources_K] = np.arange(len(sources_K))
    source_N = np.where(node_N < 0, -1, number_N[np.maximum(node_N, 0)])
    return Assignment(source_N, distance_N)


def nearest_source_by_single_runs(graph: sparse.csr_array, sources_K: np.ndarray) -> Assignment:
    """Do the same by one run per source: the slow reference."""
    distance_N = np.full(size_of(graph), np.inf)
    source_N = np.full(size_of(graph), -1, np.int64)
    for number, source in enumerate(sources_K):
        found_N = dijkstra(graph, directed=True, indices=int(source))
        nearer_N = found_N < distance_N
        distance_N[nearer_N], source_N[nearer_N] = found_N[nearer_N], number
    return Assignment(source_N, distance_N)
