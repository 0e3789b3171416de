"""Closed forms (flat space, sphere, swiss roll) and slow plain versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse import csgraph

from pellucid.errors import PellucidError
from pellucid.geometry import neighbours as search
from pellucid.geometry.graph import (
    connectivity,
    graph_of,
    knn_edges,
    pulled_back_lengths,
    straight_lengths,
)
from pellucid.geometry.medoids import medoid, medoid_by_single_runs, update_medoids
from pellucid.geometry.neighbours import neighbours
from pellucid.geometry.paths import nearest_source, nearest_source_by_single_runs
from pellucid.geometry.pullback import pulled_back_metric, pulled_back_steps


def points(count: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def graph(rows: np.ndarray, k: int, **how) -> sparse.csr_array:
    edges = knn_edges(rows, k, **how)
    return graph_of(edges, straight_lengths(rows, edges))


def paths(among: sparse.csr_array, source: int) -> np.ndarray:
    return csgraph.dijkstra(among, directed=True, indices=source)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_neighbours_equal_the_plain_search_with_and_without_faiss(metric, monkeypatch):
    rows = points(300, 5)
    scaled = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows
    distance = np.linalg.norm(scaled[:, None].astype(np.float64) - scaled[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    expected = np.sort(distance, axis=1)[:, :7]
    np.testing.assert_allclose(neighbours(rows, 7, metric=metric).distance, expected, atol=2e-3)
    monkeypatch.setattr(search, "_faiss", lambda: None)
    found = neighbours(rows, 7, metric=metric)
    np.testing.assert_allclose(found.distance, expected, atol=1e-6)
    assert (found.index == np.argsort(distance, axis=1)[:, :7]).all()


def test_no_point_is_its_own_neighbour_even_among_copies():
    found = neighbours(np.zeros((9, 3), np.float32), 4)
    assert (found.index != np.arange(9)[:, None]).all()


def test_mutual_edges_are_among_the_union_and_both_are_symmetric():
    rows = points(200, 3)
    union, mutual = (graph(rows, 5, join=join) for join in ("union", "mutual"))
    for one in (union, mutual):
        assert abs(one - one.T).max() == 0
    assert mutual.nnz < union.nnz
    assert ((mutual > 0).astype(int) - (union > 0).astype(int)).max() <= 0


def test_paths_in_flat_space_approach_the_straight_line():
    line = np.linspace(0, 1, 50, dtype=np.float32)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    found = paths(graph(grid, 24), 0)
    straight = np.linalg.norm(grid - grid[0], axis=1)
    far = straight > 0.3
    ratio = found[far] / straight[far]
    assert ratio.min() > 1 - 1e-6
    assert ratio.max() < 1.03  # the largest detour of a 5×5 neighbourhood on a grid


def test_paths_on_a_sphere_are_great_circles():
    rows = points(4000, 3, seed=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = paths(graph(rows, 30), 0)
    arc = np.arccos(np.clip(rows @ rows[0], -1, 1))
    far = arc > 1
    assert np.abs(found[far] / arc[far] - 1).max() < 0.06
    chord = np.linalg.norm(rows - rows[0], axis=1)
    assert (found[arc > 2.5] > 1.2 * chord[arc > 2.5]).all()


def test_paths_on_a_swiss_roll_follow_the_spiral():
    rng = np.random.default_rng(2)
    angle = np.sqrt(rng.uniform((1.5 * np.pi) ** 2, (4.5 * np.pi) ** 2, 4000))
    height = rng.uniform(0, 6, 4000)
    rows = np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], 1).astype(np.float32)

    def spiral(t):  # ∫√(1 + t²)dt
        return (t * np.sqrt(1 + t**2) + np.arcsinh(t)) / 2

    start = int(angle.argmin())
    flat = np.hypot(spiral(angle) - spiral(angle[start]), height - height[start])
    found = paths(graph(rows, 12), start)
    far = flat > 20
    assert np.abs(found[far] / flat[far] - 1).max() < 0.08
    assert (np.linalg.norm(rows - rows[start], axis=1)[far] < 0.7 * flat[far]).mean() > 0.5


def test_one_run_from_all_sources_equals_one_run_per_source():
    among = graph(points(600, 4), 6)
    sources = np.random.default_rng(3).choice(600, 25, replace=False)
    found, expected = nearest_source(among, sources), nearest_source_by_single_runs(among, sources)
    np.testing.assert_allclose(found.distance_N, expected.distance_N, rtol=1e-12)
    assert (found.source_N == expected.source_N).all()


def test_a_disconnected_graph_is_reported_and_its_points_are_unreachable():
    rows = np.concatenate([points(90, 3), points(30, 3, seed=5) + 100])
    among = graph(rows, 4)
    report = connectivity(among)
    assert report.components >= 2
    assert sum(report.sizes) == 120
    found = nearest_source(among, np.array([0, 1]))
    assert (found.source_N[90:] == -1).all()
    assert np.isinf(found.distance_N[90:]).all()
    assert found.unreachable >= 0.25


@pytest.mark.parametrize("dim", [2, 12])
def test_exact_medoids_equal_brute_force(dim):
    among = graph(points(500, dim, seed=dim), 8)
    sources = np.random.default_rng(4).choice(500, 12, replace=False)
    assignment = nearest_source(among, sources)
    updated = update_medoids(among, sources, assignment)
    for number, point in enumerate(updated):
        members = np.flatnonzero(assignment.source_N == number)
        expected = medoid_by_single_runs(among, members)
        found = medoid(among, int(sources[number]), members, assignment.distance_N[members])
        assert found.total == pytest.approx(expected.total, rel=1e-12)
        assert found.point == point == expected.point or len(members) < 3
        assert found.visited <= len(members)


def test_medoids_of_one_and_two_stay():
    among = graph(np.arange(4, dtype=np.float32)[:, None], 1)
    assignment = nearest_source(among, np.array([0, 3]))
    assert update_medoids(among, np.array([0, 3]), assignment).tolist() == [0, 3]


def decoder(z: torch.Tensor) -> torch.Tensor:
    """A smooth map of a grid whose cells see their neighbours."""
    kernel = torch.linspace(-1, 1, 4 * 3 * 9).view(4, 3, 3, 3)
    return torch.tanh(torch.nn.functional.conv2d(z, kernel, padding=1)).square()


def test_the_pulled_back_metric_is_the_jacobian_of_one_cell_in_its_own_grid():
    z = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    metric = pulled_back_metric(decoder, z).view(2, 6, 3, 3)
    for sample in range(2):
        J = torch.autograd.functional.jacobian(decoder, z[sample : sample + 1])
        J = J.reshape(-1, 3, 6)
        expected = torch.einsum("edp,ecp->pdc", J, J)
        torch.testing.assert_close(metric[sample], expected, rtol=1e-4, atol=1e-5)


def test_pushed_steps_agree_with_the_metric_and_with_small_differences():
    generator = torch.Generator().manual_seed(1)
    z, step = torch.randn(2, 3, 2, 2, generator=generator), torch.randn(2, 3, 2, 2)
    pushed = pulled_back_steps(decoder, z, step)
    metric = pulled_back_metric(decoder, z).view(2, 4, 3, 3)
    rows = step.flatten(2).transpose(1, 2)
    square = torch.einsum("bpd,bpdc,bpc->bp", rows, metric, rows)
    torch.testing.assert_close(pushed, square.sqrt(), rtol=1e-4, atol=1e-5)
    alone = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    alone[:, :, 0, 1] = step[:, :, 0, 1].double()
    moved = (_double(z + 1e-6 * alone) - _double(z)).flatten(1).norm(dim=1) / 1e-6
    torch.testing.assert_close(pushed[:, 1].double(), moved, rtol=1e-3, atol=1e-4)


def _double(z: torch.Tensor) -> torch.Tensor:
    kernel = torch.linspace(-1, 1, 4 * 3 * 9).view(4, 3, 3, 3).double()
    return torch.tanh(torch.nn.functional.conv2d(z.double(), kernel, padding=1)).square()


def test_a_linear_decoder_stretches_edges_by_its_own_matrix():
    rows = points(60, 3)
    matrix = np.diag([3.0, 1.0, 0.5]).astype(np.float32)
    metric = np.broadcast_to(matrix.T @ matrix, (60, 3, 3))
    edges = knn_edges(rows, 4)
    expected = straight_lengths(rows @ matrix.T, edges)
    np.testing.assert_allclose(pulled_back_lengths(rows, edges, metric), expected, rtol=1e-5)


def test_bad_input_is_named():
    rows = points(10, 2)
    with pytest.raises(PellucidError, match="not so many neighbours"):
        neighbours(rows, 10)
    rows[3] = np.nan
    with pytest.raises(PellucidError, match="finite"):
        neighbours(rows, 3)
    edges = knn_edges(points(10, 2), 3)
    with pytest.raises(PellucidError, match="lengths"):
        graph_of(edges, np.full(len(edges.first), -1.0))
