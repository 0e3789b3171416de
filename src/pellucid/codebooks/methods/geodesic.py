"""K-medoids along a neighbour graph, its edges straight or pulled back through the decoder.

Assignment is one run of Dijkstra's algorithm from all medoids, the update is exact; both alternate
until nothing changes. Points of a component that holds no medoid are unreachable: their share is
reported, and their code is that of the nearest vector in L2.

Shape letters: N points, D dimensions, K codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from pellucid.codebooks.methods.fitted import Fitted, check_size
from pellucid.codebooks.methods.medoids import MOST_ROUNDS, distinct_start
from pellucid.codebooks.rules import ThroughGraph
from pellucid.functional.nearest_code import nearest_code
from pellucid.geometry.graph import (
    Join,
    connectivity,
    graph_of,
    knn_edges,
    pulled_back_lengths,
    straight_lengths,
)
from pellucid.geometry.medoids import update_medoids
from pellucid.geometry.neighbours import Metric
from pellucid.geometry.paths import Assignment, nearest_source


@dataclasses.dataclass(frozen=True)
class GraphSettings:
    """How the neighbour graph is made.

    Args:
        neighbours: k of every point.
        join: keep an edge that either end chose ("union") or both ("mutual").
        metric: by what the neighbours are near: "l2" or "cosine".
    """

    neighbours: int = 20
    join: Join = "union"
    metric: Metric = "l2"


def fit_geodesic(
    points_ND: np.ndarray,
    size: int,
    *,
    settings: GraphSettings,
    metric_NDD: np.ndarray | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fit K medoids along the graph; unseen points are joined to it, see `rules.ThroughGraph`.

    Args:
        points_ND: float32 points.
        size: K.
        settings: of the graph.
        metric_NDD: pulled-back metric at every point; None measures edges straight.
        seed: of the k-means it starts from.
        progress: called with (rounds done, most rounds).

    Raises:
        PellucidError: when K or the neighbours exceed the points.
    """
    check_size(points_ND, size)
    edges = knn_edges(points_ND, settings.neighbours, metric=settings.metric, join=settings.join)
    if metric_NDD is None:
        lengths_E = straight_lengths(points_ND, edges, metric=settings.metric)
    else:
        lengths_E = pulled_back_lengths(points_ND, edges, metric_NDD)
    graph = graph_of(edges, lengths_E)
    points = torch.from_numpy(points_ND)
    medoids_K = distinct_start(points, size, seed).numpy()
    converged, rounds = False, 0
    assignment = nearest_source(graph, medoids_K)
    while not converged and rounds < MOST_ROUNDS:
        updated_K = update_medoids(graph, medoids_K, assignment)
        rounds += 1
        if progress is not None:
            progress(rounds, MOST_ROUNDS)
        converged = bool((updated_K == medoids_K).all())
        if not converged:
            medoids_K = updated_K
            assignment = nearest_source(graph, medoids_K)
    facts = {
        "rounds": rounds,
        "converged": converged,
        "connectivity": connectivity(graph, exact=edges.exact).to_json(),
        "unreachable": assignment.unreachable,
        **dataclasses.asdict(settings),
    }
    return _fitted(points_ND, medoids_K, assignment, settings, metric_NDD, facts)


def _fitted(
    points_ND: np.ndarray,
    medoids_K: np.ndarray,
    assignment: Assignment,
    settings: GraphSettings,
    metric_NDD: np.ndarray | None,
    facts: dict,
) -> Fitted:
    points = torch.from_numpy(points_ND)
    vectors_KD = points[torch.from_numpy(medoids_K)].clone()
    codes_N = torch.from_numpy(assignment.source_N).clone()
    stranded_N = codes_N < 0
    if stranded_N.any():
        codes_N[stranded_N] = nearest_code(points[stranded_N], vectors_KD)
    rule = ThroughGraph(
        vectors_KD,
        points,
        torch.from_numpy(assignment.distance_N).float(),
        codes_N,
        settings.neighbours,
        None if metric_NDD is None else torch.from_numpy(metric_NDD),
        settings.metric == "cosine",
    )
    return Fitted(vectors_KD, rule, facts)
