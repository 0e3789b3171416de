"""Laws of the graph networks: padding, order, symmetry, and what every network promises.

Shape letters: B graphs, N nodes, C features, W width.
"""

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.dihedral import ORDER, turned
from pellucid.functional.graph_batch import Graph, pad_graphs
from pellucid.functional.graph_edges import nearest_edges
from pellucid.models import load_weights, save_weights
from pellucid.nn.graph import GraphDecoder, GraphEncoder, NodeDecoder, NodeEncoder
from pellucid.nn.graph.encoder import from_patches, patches
from pellucid.nn.graph.nodes import Places
from pellucid.nn.graph.transformer import _Layer

ENCODER = {"channels": 32, "patch": 2, "depth": 2, "tokens": 3}
ENCODERS = [
    ENCODER,
    {**ENCODER, "per_node": True},
    {**ENCODER, "tokens": 0, "per_node": True, "nodes": "pooled"},
    {**ENCODER, "places": "relative", "hide": 0.3},
]
DECODERS = [
    {"in_channels": 5, "channels": 32, "patch": 2, "depth": 2, "tokens": 3},
    {"in_channels": 5, "channels": 32, "patch": 2, "depth": 2, "tokens": 3, "per_node": True},
    {"in_channels": 5, "channels": 32, "depth": 1, "tokens": 0, "per_node": True, "head": "tanh"},
]


def cells(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for n in sizes:
        places = 4 * torch.rand(n, 2, generator=generator)
        found.append(
            Graph(torch.randn(n, 3, generator=generator), places, nearest_edges(places, 2))
        )
    return pad_graphs(found)


def node_encoder(places: Places = "relative", tokens=2, **more):
    torch.manual_seed(0)
    return NodeEncoder(3, 16, depth=2, heads=2, tokens=tokens, places=places, **more).eval()


@pytest.mark.parametrize("places", ["absolute", "relative", "none"])
@pytest.mark.parametrize("extra", [1, 7])
def test_any_amount_of_padding_gives_the_same_answer(places, extra):
    encoder, batch = node_encoder(places).double(), cells(3, 6, 1)
    batch = type(batch)(
        batch.x_BNC.double(), batch.mask_BN, batch.positions_BN2.double(), batch.edges_BNN
    )
    tokens, nodes = encoder(batch)
    wider_tokens, wider_nodes = encoder(batch.padded_to(6 + extra))
    torch.testing.assert_close(wider_tokens, tokens, atol=1e-10, rtol=0)
    torch.testing.assert_close(wider_nodes[:, :6], nodes, atol=1e-10, rtol=0)
    assert wider_nodes[:, 6:].abs().sum() == 0
    assert nodes[~batch.mask_BN].abs().sum() == 0


def test_garbage_in_padded_rows_is_not_seen_and_gets_no_gradient():
    encoder, batch = node_encoder(), cells(3, 5)
    dirty = batch.x_BNC.clone()
    dirty[~batch.mask_BN] = 1e3
    dirty.requires_grad_()
    spoilt = type(batch)(dirty, batch.mask_BN, batch.positions_BN2, batch.edges_BNN)
    for found, expected in zip(encoder(spoilt), encoder(batch), strict=True):
        torch.testing.assert_close(found, expected)
    encoder(spoilt)[0].square().sum().backward()
    assert dirty.grad is not None
    assert dirty.grad[~batch.mask_BN].abs().sum() == 0


@pytest.mark.parametrize("places", ["absolute", "relative", "none"])
def test_another_order_of_the_nodes_gives_the_same_nodes_in_that_order(places):
    encoder, batch = node_encoder(places), cells(4, 6, 6)
    order = torch.stack([torch.randperm(6) for _ in range(3)])
    tokens, nodes = encoder(batch)
    other_tokens, other_nodes = encoder(batch.permuted(order))
    torch.testing.assert_close(other_tokens, tokens, atol=1e-5, rtol=1e-5)
    rows = torch.arange(3)[:, None]
    torch.testing.assert_close(other_nodes, nodes[rows, order], atol=1e-5, rtol=1e-5)


def test_relative_places_do_not_ask_which_way_is_up():
    encoder, batch = node_encoder("relative"), cells(5, 6)
    angle = torch.tensor(0.7)
    turn = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    elsewhere = (batch.positions_BN2 @ turn + 3.0) * batch.mask_BN[..., None]
    moved = type(batch)(batch.x_BNC, batch.mask_BN, elsewhere, batch.edges_BNN)
    torch.testing.assert_close(encoder(moved)[0], encoder(batch)[0], atol=1e-5, rtol=1e-4)
    absolute = node_encoder("absolute")
    assert (absolute(moved)[0] - absolute(batch)[0]).abs().max() > 1e-3


def test_edges_are_seen():
    encoder, batch = node_encoder("relative"), cells(6)
    assert encoder.relative is not None
    encoder.relative.edge.data.fill_(2.0)
    without = type(batch)(batch.x_BNC, batch.mask_BN, batch.positions_BN2, None)
    assert (encoder(batch)[1] - encoder(without)[1]).abs().max() > 1e-3


def test_sdpa_equals_attention_written_out():
    """The slow reference beside the fast path."""
    encoder, batch = node_encoder("relative", tokens=0).double(), cells(3, 6)
    x = encoder.embed(batch.x_BNC.double())
    assert encoder.relative is not None
    bias = encoder.relative(batch.positions_BN2, batch.edges_BNN).double()
    keys = batch.mask_BN[:, None, None]
    expected = x
    for layer in encoder.transformer.layers:
        assert isinstance(layer, _Layer)
        q, k, v = (
            part.unflatten(-1, (2, 8)).transpose(1, 2)
            for part in layer.to_qkv(layer.norm_1(expected)).chunk(3, -1)
        )
        logits = q @ k.transpose(-1, -2) / 8**0.5 + bias
        weights = logits.masked_fill(~keys, float("-inf")).softmax(-1)
        expected = expected + layer.out((weights @ v).transpose(1, 2).flatten(2))
        hidden = torch.nn.functional.gelu(layer.widen(layer.norm_2(expected)))
        expected = expected + layer.narrow(hidden)
    expected = encoder.transformer.norm(expected) * batch.mask_BN[..., None]
    fast = type(batch)(
        batch.x_BNC.double(), batch.mask_BN, batch.positions_BN2.double(), batch.edges_BNN
    )
    torch.testing.assert_close(encoder(fast)[1], expected, atol=1e-6, rtol=1e-5)


def test_the_decoder_writes_nodes_where_it_is_asked_and_in_that_order():
    torch.manual_seed(0)
    decoder = NodeDecoder(4, 3, 16, depth=2, heads=2, tokens=2).eval()
    batch, z = cells(4, 6), torch.randn(2, 4, 2)
    x_hat = decoder(z, batch.positions_BN2, batch.mask_BN)
    assert x_hat.shape == batch.x_BNC.shape
    assert x_hat[~batch.mask_BN].abs().sum() == 0
    order = torch.stack([torch.randperm(6), torch.randperm(6)])
    other = batch.permuted(order)
    found = decoder(z, other.positions_BN2, other.mask_BN)
    rows = torch.arange(2)[:, None]
    torch.testing.assert_close(found, x_hat[rows, order], atol=1e-5, rtol=1e-4)
    wider = batch.padded_to(9)
    found = decoder(z, wider.positions_BN2, wider.mask_BN)
    torch.testing.assert_close(found[:, :6], x_hat, atol=1e-5, rtol=1e-4)


def test_one_node_is_a_graph():
    tokens, nodes = node_encoder()(cells(1))
    assert tokens.isfinite().all()
    assert nodes.isfinite().all()


def test_hidden_nodes_are_told_from_the_others_in_train_mode_only():
    encoder, batch = node_encoder("absolute", hide=0.9), cells(6, 6)
    assert torch.equal(encoder(batch)[1], encoder(batch)[1])
    encoder.train()
    assert not torch.equal(encoder(batch)[1], encoder(batch)[1])


def test_patches_come_back():
    x = torch.rand(2, 3, 8, 12)
    assert patches(x, 4).shape == (2, 6, 48)
    assert torch.equal(from_patches(patches(x, 4), 2, 3, 4), x)


@pytest.mark.parametrize("keywords", ENCODERS)
def test_encoder_names_what_it_returns(keywords):
    torch.manual_seed(0)
    encoder = GraphEncoder(in_channels=2, **keywords)
    x = torch.randn(2, 2, 8, 8)
    features = encoder.eval().features(x)
    positions = keywords["tokens"] + 16 * keywords.get("per_node", False)
    assert tuple(features) == encoder.intermediates
    assert features["h"].shape == (2, encoder.channels, positions)
    assert features["nodes"].shape == (2, encoder.channels, 16)
    assert torch.equal(encoder(x), features["h"])
    with pytest.raises(PellucidError, match="8 or 10"):
        encoder(torch.zeros(1, 2, 9, 8))
    with pytest.raises(PellucidError, match=r"expected: .*\b2\b"):
        encoder(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("keywords", DECODERS)
def test_decoder_draws_its_tile(keywords, tmp_path):
    torch.manual_seed(0)
    decoder = GraphDecoder(out_channels=2, side=3, **keywords)
    positions = keywords["tokens"] + 9 * keywords.get("per_node", False)
    z = torch.randn(2, 5, positions)
    side = 3 * decoder.stride
    assert decoder(z).shape == (2, 2, side, side)
    assert any(decoder.last_layer is p for p in decoder.parameters())
    save_weights(decoder, tmp_path / "d.safetensors")
    other = GraphDecoder(out_channels=2, side=3, **keywords)
    load_weights(other, tmp_path / "d.safetensors")
    assert torch.equal(other(z), decoder(z))
    with pytest.raises(PellucidError, match="another shape"):
        decoder(torch.randn(2, 5, positions + 1))


@pytest.mark.parametrize(
    "network",
    [
        *(lambda k=k: (GraphEncoder(2, **k), torch.randn(3, 2, 8, 8)) for k in ENCODERS),
        *(
            lambda k=k: (
                GraphDecoder(out_channels=2, side=3, **k),
                torch.randn(3, 5, k["tokens"] + 9 * k.get("per_node", False)),
            )
            for k in DECODERS
        ),
    ],
)
def test_every_parameter_gets_a_gradient_and_bf16_stays_close(network):
    torch.manual_seed(0)
    net, x = network()
    target = torch.randn_like(net(x))
    (net(x) - target).square().mean().backward()
    no_edges = ("relative.edge",)  # a grid states none
    silent = [
        name
        for name, p in net.named_parameters()
        if (p.grad is None or not p.grad.abs().sum() > 0) and not name.endswith(no_edges)
    ]
    assert silent == []
    net.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(x).float()
    assert (found - net(x)).square().mean() / net(x).var() < 1e-3


def test_pooled_nodes_with_relative_places_do_not_see_orientation():
    torch.manual_seed(0)
    keywords = {**ENCODER, "places": "relative", "nodes": "pooled"}
    encoder = GraphEncoder(2, **keywords).eval()
    x = torch.randn(1, 2, 8, 8)
    for g in range(ORDER):
        torch.testing.assert_close(encoder(turned(x, g)), encoder(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GraphEncoder(channels=30, heads=4),
        lambda: GraphEncoder(tokens=0),
        lambda: GraphEncoder(patch=0),
        lambda: GraphEncoder(nodes="pixel"),  # type: ignore[arg-type]
        lambda: GraphEncoder(places="somewhere"),  # type: ignore[arg-type]
        lambda: GraphEncoder(hide=1.0),
        lambda: GraphDecoder(tokens=0),
        lambda: GraphDecoder(side=0),
        lambda: GraphDecoder(head="softmax"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments(make):
    with pytest.raises(PellucidError):
        make()
