"""Windows of cells through a model: packing, padding, order, and which cells an objective sees.

Shape letters: B windows, N cells, C markers, T tokens.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pellucid.bottlenecks import VQ, Gaussian
from pellucid.errors import PellucidError, RecipeError
from pellucid.functional.cell_tensor import moved, pack_graphs, padded_to, unpack_graphs
from pellucid.functional.graph_batch import Graph, pad_graphs
from pellucid.functional.graph_edges import nearest_edges
from pellucid.models.cell_autoencoder import CellAutoencoder
from pellucid.nn.graph.cells import CellDecoder, CellEncoder
from pellucid.nn.permuters.frame import Frame
from pellucid.objectives import L2, Objective, Weighted
from pellucid.training.forward import run_forward

C, T, D = 3, 2, 4


def cells(*sizes):
    generator = torch.Generator().manual_seed(1)
    graphs = []
    for n in sizes:
        places = 3 * torch.rand(n, 2, generator=generator)
        graphs.append(
            Graph(torch.randn(n, C, generator=generator), places, nearest_edges(places, 2))
        )
    return pad_graphs(graphs)


def model(per_node=False):
    torch.manual_seed(0)
    return CellAutoencoder(
        CellEncoder(C, 16, depth=1, heads=2, tokens=T, per_node=per_node, places="absolute"),
        Gaussian(16, D),
        CellDecoder(D, C, 16, depth=1, heads=2, tokens=T, per_node=per_node),
        None,
        Gaussian(16, D) if per_node else None,
    )


def test_unpacking_undoes_packing_and_ignores_a_common_scale():
    batch = cells(4, 1, 6)
    for factor in (1.0, 0.3):
        found = unpack_graphs(factor * pack_graphs(batch), C)
        torch.testing.assert_close(found.x_BNC, factor * batch.x_BNC)
        torch.testing.assert_close(found.positions_BN2, batch.positions_BN2)
        assert torch.equal(found.mask_BN, batch.mask_BN)
        assert found.edges_BNN is not None
        assert batch.edges_BNN is not None
        assert torch.equal(found.edges_BNN, batch.edges_BNN)


def test_told_rows_weigh_nothing_in_a_mean():
    x = pack_graphs(cells(4, 6))
    assert x[:, C:].square().sum() < 1e-8 * x[:, :C].square().sum()


def test_a_picture_is_refused():
    with pytest.raises(PellucidError, match="packed graphs"):
        unpack_graphs(torch.zeros(2, 3, 8, 8), C)


@pytest.mark.parametrize("per_node", [False, True])
def test_padding_changes_neither_answer_nor_penalty_nor_loss(per_node):
    net, x = model(per_node).eval(), pack_graphs(cells(3, 5, 1))
    wider = padded_to(x, C, 9)
    objective = Objective({"l2": Weighted(L2(), 1.0)})
    runs = [
        run_forward(net, objective, {"x": part, "target": part}, precision="float32")
        for part in (x, wider)
    ]
    small, large = (run.output for run in runs)
    torch.testing.assert_close(large.x_hat[:, :C, :5], small.x_hat[:, :C], atol=1e-5, rtol=1e-4)
    assert large.x_hat[:, :C, 5:].abs().sum() == 0
    torch.testing.assert_close(runs[1].objective.total, runs[0].objective.total)
    assert set(small.penalties) == ({"kl", "cell_kl"} if per_node else {"kl"})
    for name, penalty in small.penalties.items():
        torch.testing.assert_close(large.penalties[name].value, penalty.value)
    tokens = [net.encode(part).mean[:, :, :T] for part in (x, wider)]
    torch.testing.assert_close(tokens[1], tokens[0], atol=1e-5, rtol=1e-4)


def test_the_objective_sees_cells_that_exist_and_every_one_alike():
    net, batch = model().eval(), cells(2, 6)
    x = pack_graphs(batch)
    seen = run_forward(
        net, Objective({"l2": Weighted(L2(), 1.0)}), {"x": x, "target": x}, precision="float32"
    )
    assert seen.x_hat.shape == (8, C)
    x_hat = unpack_graphs(net(x).x_hat, C).x_BNC
    error = (x_hat - batch.x_BNC)[batch.mask_BN].square().mean()
    torch.testing.assert_close(seen.objective.total - seen.objective.terms["kl"].weighted, error)


@pytest.mark.parametrize("per_node", [False, True])
def test_another_order_of_the_cells_is_another_order_of_the_answer(per_node):
    net, batch = model(per_node).eval(), cells(4, 6)
    order = torch.stack([torch.randperm(6), torch.randperm(6)])
    rows = torch.arange(2)[:, None]
    one, other = (net(pack_graphs(b)) for b in (batch, batch.permuted(order)))
    torch.testing.assert_close(other.z[:, :, :T], one.z[:, :, :T], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        unpack_graphs(other.x_hat, C).x_BNC,
        unpack_graphs(one.x_hat, C).x_BNC[rows, order],
        atol=1e-5,
        rtol=1e-4,
    )


def test_x_hat_keeps_what_was_told_and_a_latent_knows_it():
    net, x = model(per_node=True).eval(), pack_graphs(cells(3, 5))
    out, latent = net(x), net.encode(x)
    assert torch.equal(out.x_hat[:, C:], x[:, C:])
    torch.testing.assert_close(net.decode(latent), out.x_hat)
    assert latent.logvar is not None
    assert latent.mean.shape == latent.logvar.shape == (2, D, T + 5)
    assert latent.mean[0, :, T + 3 :].abs().sum() == 0
    with pytest.raises(PellucidError, match="where its cells lie"):
        net.decode(latent.mean)


def test_every_parameter_gets_a_gradient():
    net, x = model(per_node=True).train(), pack_graphs(cells(3, 5))
    objective = Objective({"l2": Weighted(L2(), 1.0)})
    run_forward(
        net, objective, {"x": x, "target": x}, precision="float32"
    ).objective.total.backward()
    lost = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert lost == []


def test_parts_that_do_not_fit_are_refused():
    encoder = CellEncoder(C, 16, depth=1, heads=2, tokens=T)
    with pytest.raises(RecipeError, match="different tokens"):
        CellAutoencoder(encoder, Gaussian(16, D), CellDecoder(D, C, 16, depth=1, tokens=T + 1))
    with pytest.raises(RecipeError, match="no codes per cell"):
        CellAutoencoder(
            CellEncoder(C, 16, depth=1, heads=2, tokens=T, per_node=True),
            VQ(16, codes=8),
            CellDecoder(16, C, 16, depth=1, tokens=T, per_node=True),
            None,
            VQ(16, codes=8),
        )
    with pytest.raises(RecipeError, match="global latent"):
        CellEncoder(C, 16, tokens=0)


def test_a_learned_frame_makes_latents_blind_to_how_a_window_lies():
    plain, x = model().eval(), pack_graphs(cells(5, 7, 1))
    net = CellAutoencoder(plain.encoder, plain.bottleneck, plain.decoder, Frame(C)).eval()
    angle = torch.tensor(0.7)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    mirrored = turn @ torch.diag(torch.tensor([1.0, -1.0]))
    for element in (turn, mirrored):
        other = moved(x, element.expand(3, 2, 2), C)
        several = slice(0, 2)  # one cell alone has no direction
        close: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-3}
        torch.testing.assert_close(
            net.arrange(other).x[several], net.arrange(x).x[several], **close
        )
        torch.testing.assert_close(
            net.encode(other).mean[several], net.encode(x).mean[several], **close
        )
        out = net(other).x_hat
        torch.testing.assert_close(out[:, C:], other[:, C:], atol=1e-9, rtol=1e-3)
        torch.testing.assert_close(out[several, :C], net(x).x_hat[several, :C], **close)
    assert not torch.allclose(plain.encode(moved(x, turn.expand(3, 2, 2), C)).mean,
                              plain.encode(x).mean, atol=1e-4)  # fmt: skip


def test_a_frame_learns():
    plain, x = model().train(), pack_graphs(cells(5, 7))
    frame = Frame(C)
    net = CellAutoencoder(plain.encoder, plain.bottleneck, plain.decoder, frame).train()
    net(x).x_hat[:, :C].square().mean().backward()
    gradients = [p.grad for p in frame.parameters() if p.grad is not None]
    assert len(gradients) == 4
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)
