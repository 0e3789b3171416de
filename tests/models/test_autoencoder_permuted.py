"""An autoencoder inside a permuter: invariant latents, reconstructions in the input's order."""

import pytest
import torch

from pellucid.bottlenecks import Gaussian
from pellucid.build.assemble import build_autoencoder
from pellucid.errors import RecipeError
from pellucid.functional.dihedral import ORDER, turned
from pellucid.models import Autoencoder, load_weights, reconstruct, save_weights
from pellucid.nn.graph import GraphDecoder, GraphEncoder
from pellucid.nn.permuters import Dihedral, Learned, Oracle
from pellucid.recipe import Recipe


def autoencoder(permuter=None):
    torch.manual_seed(0)
    return Autoencoder(
        GraphEncoder(2, channels=16, patch=2, depth=1, tokens=2),
        Gaussian(channels=16, dim=4, weight=1e-3),
        GraphDecoder(4, 2, channels=16, patch=2, side=3, depth=1, tokens=2),
        permuter,
    ).eval()


def test_without_a_permuter_nothing_changes():
    x = torch.randn(3, 2, 6, 6)
    model = autoencoder()
    assert model.encode(x).pose is None
    assert torch.equal(model(x).x_hat, model.decoder(model.bottleneck(model.encoder(x)).z))


@pytest.mark.parametrize("kind", [Dihedral, Learned])
def test_latents_do_not_see_the_orientation_and_reconstructions_do(kind):
    model = autoencoder(kind(channels=2, side=3))
    x = torch.randn(5, 2, 6, 6)
    latent, x_hat = model.encode(x), model.decode(model.encode(x))
    assert torch.equal(model(x).x_hat, x_hat)
    for g in range(ORDER):
        other = model.encode(turned(x, g))
        assert (other.mean - latent.mean).norm() / latent.mean.norm() < 1e-6
        assert torch.equal(model.decode(other), turned(x_hat, g))
    assert not torch.equal(model.decode(latent.mean), x_hat)  # a bare tensor is canonical
    canonical = model.arrange(x).x
    assert torch.equal(model.decode(model.encode(canonical).mean), model.decode(latent.mean))


def test_latents_do_not_see_the_order_of_patches():
    model = autoencoder(Oracle(channels=2, side=3))
    x = torch.randn(4, 2, 6, 6)
    moved = x.roll((2, 4), (2, 3))
    latent, other = model.encode(x), model.encode(moved)
    assert (other.mean - latent.mean).norm() / latent.mean.norm() < 1e-6
    assert torch.equal(model.decode(other), model.decode(latent).roll((2, 4), (2, 3)))


def test_bf16_does_not_round_what_a_permuter_moves():
    model = autoencoder(Dihedral(channels=2, side=3))
    x = torch.randn(4, 2, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        arranged = model.arrange(x)
    assert arranged.x.dtype == torch.float32
    assert torch.equal(model.permuter.restore(arranged.x, arranged.pose), x)


def test_penalties_and_metrics_of_the_permuter_stand_beside_those_of_the_bottleneck():
    model = autoencoder(Learned(channels=2, side=3, entropy_weight=0.5)).train()
    model.at_step(10_000)
    output = model(torch.randn(4, 2, 6, 6))
    assert set(output.penalties) == {"kl", "permutation_entropy"}
    assert output.penalties["permutation_entropy"].weight == 0.5
    assert {"soft_hard_gap", "temperature", "kl_nats_raw"} <= set(output.metrics)
    assert output.metrics["temperature"].item() == pytest.approx(0.1)
    output.x_hat.square().mean().backward()
    assert model.permuter.slots.grad.abs().sum() > 0


def test_the_template_travels_with_the_weights(tmp_path):
    model = autoencoder(Dihedral(channels=2, side=3))
    save_weights(model, tmp_path / "m.safetensors")
    other = autoencoder(Dihedral(channels=2, side=3, decay=0.5))
    other.permuter.template.mean.normal_()
    load_weights(other, tmp_path / "m.safetensors")
    x = torch.randn(3, 2, 6, 6)
    assert torch.equal(other(x).x_hat, model(x).x_hat)


def test_images_of_any_size_are_drawn_tile_by_tile():
    model = autoencoder(Dihedral(channels=2, side=3))
    one = torch.randn(2, 2, 6, 6)
    torch.testing.assert_close(reconstruct(model, one), model(one).x_hat)
    for height, width in ((5, 4), (6, 13), (17, 22)):
        x = torch.randn(1, 2, height, width)
        x_hat = reconstruct(model, x)
        assert x_hat.shape == x.shape
        assert x_hat.isfinite().all()
    flat = torch.full((1, 2, 20, 14), 0.3)  # every tile is the same, so blending shows no seam
    inner = reconstruct(model, flat)[..., 6:8, 6:8]
    tile = model(flat[..., :6, :6]).x_hat
    assert inner.min() >= tile.min() - 1e-5
    assert inner.max() <= tile.max() + 1e-5


def recipe(**sections):
    node = {
        "name": "graph",
        "data": {"kind": "images", "size": 24, "channels": 3},
        "encoder": {"kind": "graph", "channels": 16, "patch": 4, "depth": 1, "tokens": 2},
        "bottleneck": {"kind": "gaussian", "dim": 4},
        "decoder": {"kind": "graph", "channels": 16, "patch": 4, "depth": 1, "tokens": 2},
        "permuter": {"kind": "dihedral"},
        "objective": {"l2": {"weight": 1.0}},
    }
    for section, keywords in sections.items():
        node[section] = keywords if keywords is None else {**node[section], **keywords}
    return Recipe.from_node(node)


def test_a_recipe_builds_it():
    model = build_autoencoder(recipe())
    x = torch.randn(2, 3, 24, 24)
    assert model(x).x_hat.shape == x.shape
    assert isinstance(model.permuter, Dihedral)
    assert build_autoencoder(recipe(permuter=None)).permuter is None
    learned = {"kind": "learned", "over": "nodes", "anneal_steps": 10}
    assert build_autoencoder(recipe(permuter=learned)).permuter.group == "nodes"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"permuter": {"kind": "dihedrall"}}, "did you mean 'dihedral'"),
        ({"permuter": {"channels": 3}}, "follows from the other components"),
        ({"permuter": {"side": 5}}, "does not fit the crops"),
        ({"decoder": {"tokens": 3}}, "different tokens"),
        ({"decoder": {"per_node": True}}, "different per_node"),
        ({"decoder": {"side": 5}}, "another size"),
        ({"encoder": {"heads": 3}}, "divide the width"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_training(sections, message):
    with pytest.raises(RecipeError, match=message):
        build_autoencoder(recipe(**sections))
