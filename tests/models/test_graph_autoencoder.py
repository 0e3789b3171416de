"""Whole graphs of unequal size: padding, order, and cells of a mask through a model.

Shape letters: B graphs, N nodes, C features.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.bottlenecks import Gaussian, Identity
from pellucid.data.stacks.cell_graphs import cell_graphs
from pellucid.data.stacks.cells import CellTable, measure_cells
from pellucid.data.stacks.regions import InMemory, Region
from pellucid.errors import DataError, RecipeError
from pellucid.functional.graph_batch import Graph, pad_graphs
from pellucid.functional.masked import masked_mse
from pellucid.models.graph_autoencoder import GraphAutoencoder
from pellucid.nn.graph import NodeDecoder, NodeEncoder


def model(per_node=False, tokens=2, kind=Gaussian):
    torch.manual_seed(0)
    return GraphAutoencoder(
        NodeEncoder(3, 32, depth=1, heads=2, tokens=2, places="absolute"),
        kind(32, 8) if tokens and kind is Gaussian else (kind(32) if tokens else None),
        NodeDecoder(
            8 if kind is Gaussian else 32, 3, 32, depth=1, tokens=tokens, per_node=per_node
        ),
        (kind(32, 8) if kind is Gaussian else kind(32)) if per_node else None,
    )


def graphs(*sizes):
    generator = torch.Generator().manual_seed(1)
    return pad_graphs(
        [
            Graph(torch.randn(n, 3, generator=generator), 3 * torch.rand(n, 2, generator=generator))
            for n in sizes
        ]
    )


@pytest.mark.parametrize(("per_node", "tokens"), [(False, 2), (True, 2), (True, 0)])
def test_padding_changes_neither_answer_nor_penalty(per_node, tokens):
    net, batch = model(per_node, tokens).eval(), graphs(3, 5, 1)
    wider = batch.padded_to(9)
    out, other = net(batch), net(wider)
    torch.testing.assert_close(other.x_hat_BNC[:, :5], out.x_hat_BNC, atol=1e-5, rtol=1e-4)
    assert other.x_hat_BNC[:, 5:].abs().sum() == 0
    assert set(out.penalties) == set(other.penalties)
    for name, penalty in out.penalties.items():
        torch.testing.assert_close(other.penalties[name].value, penalty.value)
    latents = net.encode(batch)
    torch.testing.assert_close(net.decode(latents, batch), out.x_hat_BNC)
    assert (latents.nodes_BDN is not None) == per_node
    assert (latents.tokens_BDT is not None) == bool(tokens)


def test_another_order_of_the_nodes_is_another_order_of_the_answer():
    net, batch = model(per_node=True).eval(), graphs(4, 6)
    order = torch.stack([torch.randperm(6), torch.randperm(6)])
    out, other = net(batch), net(batch.permuted(order))
    rows = torch.arange(2)[:, None]
    torch.testing.assert_close(
        other.latents.tokens_BDT, out.latents.tokens_BDT, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(other.x_hat_BNC, out.x_hat_BNC[rows, order], atol=1e-5, rtol=1e-4)


def test_parts_that_do_not_fit_are_refused():
    encoder = NodeEncoder(3, 32, depth=1, heads=2, tokens=2)
    with pytest.raises(RecipeError, match="do not fit"):
        GraphAutoencoder(encoder, Gaussian(16, 8), NodeDecoder(8, 3, 32, depth=1, tokens=2))
    with pytest.raises(RecipeError, match="do not fit"):
        GraphAutoencoder(encoder, Gaussian(32, 8), NodeDecoder(8, 3, 32, depth=1, tokens=1))


def tissue():
    """A region of 60 × 60 pixels with a cell on every 10 × 10 block, two types by markers."""
    rng = np.random.default_rng(0)
    labels = np.arange(36).reshape(6, 6).repeat(10, 0).repeat(10, 1) + 1
    labels[::10], labels[:, ::10] = 0, 0
    kind = (labels % 2).astype(np.float32)
    values = np.stack([kind, 1 - kind, 0.5 * kind]) + 0.01 * rng.random((3, 60, 60))
    region = Region("r", "slide", Path("r"), ("a", "b", "c"), 60, 60, InMemory(values))
    return measure_cells(region, labels)


def test_cells_of_a_mask_become_graphs_with_their_neighbours():
    table = tissue()
    found, regions = cell_graphs(table, window=30, k=3)
    assert regions == ["r"] * 4
    assert [len(graph.x_NC) for graph in found] == [9] * 4
    batch = pad_graphs(found)
    assert batch.edges_BNN.any(2).all()
    # neighbouring cells stand one unit apart, around the centre of their window
    distance = torch.cdist(found[0].positions_N2, found[0].positions_N2)
    assert distance[distance > 0].min().item() == pytest.approx(1.0)
    assert found[0].positions_N2.mean().abs() < 0.1
    whole, _ = cell_graphs(table, window=60, neighbours="delaunay", longest=12.0)
    lengths = whole[0].positions_N2[whole[0].edges_E2].diff(dim=1).norm(dim=2)
    assert lengths.max() <= 1.2
    scaled, _ = cell_graphs(
        table, window=60, mean_C=table.markers_NC.mean(0), std_C=table.markers_NC.std(0)
    )
    assert scaled[0].x_NC.mean(0).abs().max() < 1e-5


def test_a_graph_vae_learns_cells():
    torch.manual_seed(0)
    found, _ = cell_graphs(tissue(), window=30, k=3)
    batch, net = pad_graphs(found), model(per_node=True).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    errors = []
    for _ in range(40):
        out = net(batch)
        error = masked_mse(out.x_hat_BNC, batch.x_BNC, batch.mask_BN)
        total = error + 1e-6 * out.penalties["tokens.kl"].value
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]


def test_bad_cells_are_refused_in_words():
    table = tissue()
    empty = CellTable(
        table.channels,
        *(getattr(table, n)[:0] for n in ("markers_NC", "centroids_N2", "areas_N", "labels_N")),
        table.regions_N[:0],
        table.slides_N[:0],
    )
    for make, message in (
        (lambda: cell_graphs(empty), "no cells"),
        (lambda: cell_graphs(table, window=5.0), "enough cells"),
        (lambda: cell_graphs(table, window=0.0), "has a size"),
        (lambda: cell_graphs(table, neighbours="friends"), "unknown kind of neighbours"),
    ):
        with pytest.raises((DataError, RecipeError), match=message):
            make()


def test_an_identity_bottleneck_leaves_latents_as_they_are():
    net, batch = model(per_node=True, kind=Identity).eval(), graphs(2, 4)
    tokens, nodes = net.encoder(batch)
    latents = net.encode(batch)
    torch.testing.assert_close(latents.tokens_BDT, tokens.transpose(1, 2))
    torch.testing.assert_close(latents.nodes_BDN, nodes.transpose(1, 2))
