"""Graphs as tensors: padding, neighbours, symmetries, assignments."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pellucid.errors import DataError, PellucidError
from pellucid.functional.assignment import (
    best_assignment,
    row_entropy,
    sinkhorn,
    straight_through,
)
from pellucid.functional.dihedral import INVERSE, ORDER, orbit, turn_back, turn_by, turned
from pellucid.functional.graph_batch import (
    Graph,
    GraphBatch,
    from_geometric,
    grid_positions,
    pad_graphs,
)
from pellucid.functional.graph_edges import delaunay_edges, nearest_edges
from pellucid.functional.masked import masked_huber, masked_mse


def graphs(*sizes, features=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        Graph(
            torch.randn(n, features, generator=generator),
            torch.rand(n, 2, generator=generator),
            torch.tensor([[i, i + 1] for i in range(n - 1)]).reshape(-1, 2),
        )
        for n in sizes
    ]


def edges(batch: GraphBatch) -> torch.Tensor:
    assert batch.edges_BNN is not None
    return batch.edges_BNN


def test_padding_keeps_every_node_and_edge_and_adds_none():
    batch = pad_graphs(graphs(3, 5, 1))
    assert batch.x_BNC.shape == (3, 5, 3)
    assert batch.sizes.tolist() == [3, 5, 1]
    assert torch.equal(batch.x_BNC[0, :3], graphs(3, 5, 1)[0].x_NC)
    assert batch.x_BNC[~batch.mask_BN].abs().sum() == 0
    assert edges(batch).sum((1, 2)).tolist() == [4, 8, 0]  # both directions
    assert torch.equal(edges(batch), edges(batch).transpose(1, 2))
    wider = batch.padded_to(9)
    assert wider.x_BNC.shape == (3, 9, 3)
    assert edges(wider).sum() == edges(batch).sum()


def test_permuting_twice_comes_back():
    batch = pad_graphs(graphs(4, 6))
    order = torch.stack([torch.randperm(6), torch.randperm(6)])
    back = batch.permuted(order).permuted(order.argsort(1))
    for name in ("x_BNC", "mask_BN", "positions_BN2", "edges_BNN"):
        assert torch.equal(getattr(back, name), getattr(batch, name))


def test_a_geometric_batch_is_read_by_its_attributes():
    parts = graphs(2, 4)
    batch = SimpleNamespace(
        x=torch.cat([g.x_NC for g in parts]),
        pos=torch.cat([g.positions_N2 for g in parts]),
        batch=torch.tensor([0, 0, 1, 1, 1, 1]),
        edge_index=torch.tensor([[0, 2, 3, 4], [1, 3, 4, 5]]),
    )
    expected, found = pad_graphs(parts), from_geometric(batch)
    assert torch.equal(found.x_BNC, expected.x_BNC)
    assert torch.equal(edges(found), edges(expected))
    with pytest.raises(DataError, match="no 'pos'"):
        from_geometric(SimpleNamespace(x=batch.x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pad_graphs([]), "no graph"),
        (lambda: pad_graphs(graphs(3, 0)), "without nodes"),
        (lambda: pad_graphs([*graphs(3), *graphs(3, features=2)]), "same features"),
        (lambda: pad_graphs([Graph(torch.ones(2, 3), torch.ones(3, 2))]), "has a position"),
        (lambda: pad_graphs([Graph(torch.full((2, 1), math.nan), torch.ones(2, 2))]), "hold NaN"),
        (
            lambda: pad_graphs([Graph(torch.ones(2, 1), torch.ones(2, 2), torch.tensor([[0, 2]]))]),
            "does not exist",
        ),
        (
            lambda: GraphBatch(torch.ones(1, 2, 3), torch.ones(1, 3).bool(), torch.ones(1, 2, 2)),
            "disagree",
        ),
        (
            lambda: GraphBatch(torch.ones(1, 2, 3), torch.ones(1, 2), torch.ones(1, 2, 2)),
            "boolean",
        ),
        (lambda: pad_graphs(graphs(4)).padded_to(3), "do not fit"),
        (lambda: nearest_edges(torch.ones(3, 2), 0), "has a size"),
        (lambda: nearest_edges(torch.tensor([[0.0, math.nan]]), 1), "NaN"),
        (lambda: delaunay_edges(torch.ones(3, 3)), "pairs"),
    ],
)
def test_bad_graphs_are_refused_in_words(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_nearest_edges_are_those_of_the_distance_table():
    points = torch.rand(30, 2, generator=torch.Generator().manual_seed(1))
    found = {tuple(pair) for pair in nearest_edges(points, 4).tolist()}
    nearest = torch.cdist(points, points).argsort(1)[:, 1:5]
    expected = {tuple(sorted((i, int(j)))) for i in range(30) for j in nearest[i]}
    assert found == expected


def test_delaunay_is_planar_and_holds_every_nearest_neighbour():
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(2))
    edges = {tuple(pair) for pair in delaunay_edges(points).tolist()}
    assert {tuple(pair) for pair in nearest_edges(points, 1).tolist()} <= edges
    assert 2 * 40 - 3 <= len(edges) <= 3 * 40 - 6  # Euler's bounds of a triangulation
    near = delaunay_edges(points, longest=0.2)
    assert (points[near[:, 0]] - points[near[:, 1]]).norm(dim=1).max() <= 0.2


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_points_have_few_edges(count):
    points = torch.rand(count, 2)
    assert len(delaunay_edges(points)) == count * (count - 1) // 2
    assert len(nearest_edges(points, 6)) == count * (count - 1) // 2


def test_points_on_one_line_are_joined_along_it():
    line = torch.tensor([[0.0, 0.0], [2.0, 2.0], [1.0, 1.0], [3.0, 3.0]])
    assert delaunay_edges(line).tolist() == [[0, 2], [1, 2], [1, 3]]


def test_the_eight_symmetries_are_a_group_of_eight_different_images():
    x = torch.rand(1, 2, 5, 5)
    images = orbit(x)[0]
    assert all(
        not torch.equal(images[a], images[b]) for a, b in itertools.combinations(range(ORDER), 2)
    )
    for a, b in itertools.product(range(ORDER), repeat=2):
        both = turned(turned(x, a), b)[0]
        assert any(torch.equal(both, image) for image in images)
    for g in range(ORDER):
        assert torch.equal(turned(turned(x, g), INVERSE[g]), x)
    one_hot = torch.eye(ORDER)
    many = x.expand(ORDER, -1, -1, -1)
    assert torch.equal(turn_by(many, one_hot), images)
    assert torch.equal(turn_back(turn_by(many, one_hot), one_hot), many)
    with pytest.raises(PellucidError, match="only squares"):
        turned(torch.ones(1, 1, 2, 3), 1)


def test_the_best_assignment_is_the_best_of_all_permutations():
    gain = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(3))
    found = (best_assignment(gain) * gain).sum((1, 2))
    every = [list(p) for p in itertools.permutations(range(5))]
    best = torch.stack([gain[:, torch.arange(5), torch.tensor(p)].sum(1) for p in every]).amax(0)
    torch.testing.assert_close(found, best)
    with pytest.raises(PellucidError, match="finite"):
        best_assignment(torch.full((1, 2, 2), math.nan))


def test_sinkhorn_is_doubly_stochastic_and_hardens_to_the_best_assignment():
    logits = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(4))
    soft = sinkhorn(logits, iterations=60)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(soft.sum(2), 1, atol=1e-3)
    cold = sinkhorn(logits / 0.01, iterations=300)
    torch.testing.assert_close(cold, best_assignment(logits), atol=0.05, rtol=0)
    assert row_entropy(cold) < row_entropy(soft) < 1
    assert row_entropy(torch.full((2, 4), 0.25)).item() == pytest.approx(1)
    assert row_entropy(torch.eye(4)).item() == 0


def test_straight_through_is_hard_in_value_and_soft_in_gradient():
    logits = torch.randn(2, 4, requires_grad=True)
    soft = logits.softmax(1)
    hard = torch.nn.functional.one_hot(soft.argmax(1), 4).float()
    value = straight_through(soft, hard)
    torch.testing.assert_close(value.detach(), hard)
    direction = torch.randn(2, 4)
    (found,) = torch.autograd.grad((value * direction).sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad((soft * direction).sum(), logits)
    torch.testing.assert_close(found, expected)


def test_masked_errors_see_nodes_only():
    batch = pad_graphs(graphs(3, 5))
    x, mask = batch.x_BNC, batch.mask_BN
    spoilt = torch.where(mask[..., None], x + 0.5, x + 100.0)
    assert masked_mse(spoilt, x, mask).item() == pytest.approx(0.25, rel=1e-5)
    assert masked_huber(spoilt, x, mask, delta=1.0).item() == pytest.approx(0.125, rel=1e-5)
    wider = batch.padded_to(11)
    torch.testing.assert_close(
        masked_mse(wider.x_BNC + 0.5, wider.x_BNC, wider.mask_BN), masked_mse(x + 0.5, x, mask)
    )
    with pytest.raises(PellucidError, match="no node exists"):
        masked_mse(x, x, torch.zeros_like(mask))


def test_a_grid_is_centred_and_one_step_apart():
    places = grid_positions(2, 3)
    assert places.tolist() == [
        [-0.5, -1], [-0.5, 0], [-0.5, 1], [0.5, -1], [0.5, 0], [0.5, 1]
    ]  # fmt: skip
