"""Time geodesic assignment and exact medoid updates against single-source shortest paths.

    python benchmarks/geodesic.py [--write] [--million] [--latents RUN]

The points lie on a smooth 8-dimensional surface in 32 dimensions, or are the means of a run whose
latents were exported (`pellucid latents RUN`). "One run per medoid" is timed on a few runs and
multiplied; the exact update by one run per member is done in full on some clusters, where its
medoids must be the same, and multiplied by the points. Times are processor seconds of this process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.csgraph import dijkstra

from pellucid.codebooks import open_latents
from pellucid.codebooks.rules import as_points
from pellucid.geometry.graph import connectivity, graph_of, knn_edges, straight_lengths
from pellucid.geometry.medoids import medoid, medoid_by_single_runs, update_medoids
from pellucid.geometry.paths import nearest_source
from pellucid.run_folder import RunFolder
from results import write_section

K, NEIGHBOURS = 512, 20
CHECKED = 6  # clusters whose medoids are also found by one run per member


def surface(count: int, seed: int = 0) -> np.ndarray:
    """Return points on a smooth 8-dimensional surface in 32 dimensions."""
    rng = np.random.default_rng(seed)
    bend = rng.normal(size=(8, 32))
    return np.tanh(rng.normal(size=(count, 8)) @ bend / 2).astype(np.float32)


def means(run: str, count: int) -> np.ndarray:
    """Return the first `count` latent means of a run's training split."""
    points_ND = as_points(open_latents(RunFolder.open(run)).splits["train"].mean).numpy()
    return np.ascontiguousarray(points_ND[:count])


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the processor seconds it took."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def measure(points_ND: np.ndarray, *, update: bool) -> dict[str, Any]:
    """Time everything on one set of points."""
    edges, finding = timed(lambda: knn_edges(points_ND, NEIGHBOURS))
    graph, joining = timed(lambda: graph_of(edges, straight_lengths(points_ND, edges)))
    medoids_K = np.random.default_rng(1).choice(len(points_ND), K, replace=False)
    runs = [timed(lambda: nearest_source(graph, medoids_K)) for _ in range(3)]
    assignment, assigning = runs[0][0], statistics.median(seconds for _, seconds in runs)
    singles = [
        timed(lambda one=one: dijkstra(graph, directed=True, indices=int(one)))[1]
        for one in medoids_K[:7]
    ]
    single = statistics.median(singles)
    found: dict[str, Any] = {
        "points": len(points_ND),
        "dim": points_ND.shape[1],
        "exact": edges.exact,
        "connectivity": connectivity(graph).to_json(),
        "graph_seconds": finding + joining,
        "assign_seconds": assigning,
        "single_seconds": single,
        "assign_ratio": K * single / assigning,
    }
    if update:
        found |= _update(graph, medoids_K, assignment, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "peak_gigabytes": peak * 1024 / 1e9}


def _update(graph: Any, medoids_K: Any, assignment: Any, so_far: dict[str, Any]) -> dict[str, Any]:
    _, seconds = timed(lambda: update_medoids(graph, medoids_K, assignment))
    equal, members_seen, slow = 0, 0, 0.0
    for number in np.random.default_rng(2).choice(K, CHECKED, replace=False):
        members = np.flatnonzero(assignment.source_N == number)
        expected, spent = timed(lambda members=members: medoid_by_single_runs(graph, members))
        distance = assignment.distance_N[members]
        ours = medoid(graph, int(medoids_K[number]), members, distance)
        equal += ours.point == expected.point
        members_seen, slow = members_seen + len(members), slow + spent
    by_single = slow / members_seen * graph.shape[0] + K * so_far["single_seconds"]
    ours_in_all = seconds + so_far["assign_seconds"]
    return {
        "update_seconds": seconds,
        "update_ratio": by_single / ours_in_all,
        "equal_medoids": f"{equal} of {CHECKED}",
        "runs_timed": members_seen,
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """Write the results as Markdown."""
    lines = [
        "## Geodesic codebooks: speed",
        "",
        f"`python benchmarks/geodesic.py --write`: K = {K} medoids, {NEIGHBOURS} neighbours, "
        "union. Processor seconds of one process on one thread. *Assignment*: one run of "
        "Dijkstra's algorithm from all medoids, against one run per medoid (median of 7, times K). "
        "*Assignment and exact update*: against one run per medoid and one per point; those per "
        f"point were done in full on {CHECKED} random clusters, where the medoids must be equal, "
        "and multiplied.",
        "",
        "| points | graph | assignment | asked ≥ 200× | update | asked ≥ 10× (goal 30×) | "
        "equal medoids | peak memory |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for label, r in results.items():
        update = f"{r['update_seconds']:.1f} s" if "update_seconds" in r else "–"
        ratio = f"{r['update_ratio']:.0f}×" if "update_ratio" in r else "–"
        search = "" if r["exact"] else ", inverted lists"
        lines.append(
            f"| {label}, N = {r['points']:,}, D = {r['dim']}{search} | "
            f"{r['graph_seconds']:.1f} s | {r['assign_seconds']:.3f} s | "
            f"{r['assign_ratio']:.0f}× | {update} | {ratio} | "
            f"{r.get('equal_medoids', '–')} | {r['peak_gigabytes']:.2f} GB |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", metavar="RUN", help="also measure on a run's exported means")
    parser.add_argument("--million", action="store_true", help="also graph and assign 1,000,000")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    results = {"surface": measure(surface(50_000), update=True)}
    print(results, flush=True)
    if arguments.latents:
        results["latent means"] = measure(means(arguments.latents, 50_000), update=True)
        print(results, flush=True)
    if arguments.million:
        results["surface, a million"] = measure(surface(1_000_000), update=False)
    print(table(results))
    if arguments.write:
        write_section("geodesic", table(results))


if __name__ == "__main__":
    main()
