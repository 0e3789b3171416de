"""Named maps are the encoder's own; pieces of a large input blend into the map of the whole."""

from __future__ import annotations

import pytest
import torch

from pellucid.bottlenecks import VQ, Gaussian
from pellucid.errors import PellucidError, RecipeError
from pellucid.functional.pooling import column_names, pool
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.feature_maps import feature_maps
from pellucid.models.layers import FeatureExtractor, Layer, feature_info
from pellucid.nn import (
    PatchDecoder,
    PatchEncoder,
    ResidualDecoder,
    ResidualEncoder,
    SEANetDecoder,
    SEANetEncoder,
)


def residual(bottleneck=None) -> Autoencoder:
    torch.manual_seed(0)
    encoder = ResidualEncoder(3, 8, stride=8, width=8, multipliers=(1, 2))
    return Autoencoder(
        encoder,
        bottleneck or Gaussian(8, 4),
        ResidualDecoder(4 if bottleneck is None else 8, 3, stride=8, width=8, multipliers=(1, 2)),
    )


def patches() -> Autoencoder:
    torch.manual_seed(0)
    encoder = PatchEncoder(3, 8, patch=4, width=8, overlap=2)
    return Autoencoder(encoder, Gaussian(8, 4), PatchDecoder(4, 3, patch=4, hidden=8))


def waves() -> Autoencoder:
    torch.manual_seed(0)
    sizes = {"strides": (2, 4), "width": 4}
    return Autoencoder(
        SEANetEncoder(1, channels=8, **sizes), Gaussian(8, 4), SEANetDecoder(4, 1, **sizes)
    )


def test_feature_info_is_what_the_maps_are():
    model = residual(VQ(8, codes=16))
    assert feature_info(model) == (
        Layer("stride_4", 8, 4),
        Layer("stride_8", 16, 8),
        Layer("h", 8, 8),
        Layer("latent", 8, 8),
        Layer("quantized", 8, 8),
    )
    maps = FeatureExtractor(model)(torch.randn(2, 3, 16, 24))
    for layer in feature_info(model):
        sides = (16 // layer.reduction, 24 // layer.reduction)
        assert maps[layer.name].shape == (2, layer.channels, *sides)
    assert [layer.name for layer in feature_info(waves())] == [
        "stage_1",
        "stage_2",
        "frames",
        "latent",
    ]


def test_maps_are_those_of_evaluation_and_gradients_flow():
    model = residual().train()
    extractor = FeatureExtractor(model, ["latent", "stride_4"])
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    maps = extractor(x)
    assert list(maps) == ["latent", "stride_4"]
    assert torch.equal(maps["latent"], model.encode(x).mean)  # the mean, not a sample
    assert model.training
    maps["stride_4"].sum().backward()
    assert x.grad is not None


def test_an_unknown_layer_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'stride_4'"):
        FeatureExtractor(residual(), ["stride4"])


@pytest.mark.parametrize(("build", "sides"), [(patches, (37, 90)), (waves, (1001,))])
def test_pieces_blend_into_the_whole(build, sides):
    extractor = FeatureExtractor(build().eval())
    x = torch.randn(2, extractor.autoencoder.in_channels, *sides)
    whole = feature_maps(extractor, x, tile=4096)
    pieces = feature_maps(extractor, x, tile=32 if len(sides) == 2 else 400, batch=3)
    for layer in extractor.feature_info:
        expected = tuple(-(-side // layer.reduction) for side in sides)
        assert whole[layer.name].shape[2:] == expected
        assert torch.allclose(whole[layer.name], pieces[layer.name], atol=1e-5), layer.name


def test_nothing_and_too_much_are_refused():
    extractor = FeatureExtractor(residual())
    with pytest.raises(PellucidError, match="nothing to take features of"):
        feature_maps(extractor, torch.zeros(0, 3, 8, 8))
    with pytest.raises(PellucidError, match="channels"):
        feature_maps(extractor, torch.zeros(1, 4, 8, 8))


def test_pooling_and_names_agree():
    y = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert pool(y, "mean").tolist() == [[5.5, 17.5]]
    assert pool(y, "max").tolist() == [[11.0, 23.0]]
    names = column_names("h", (2, 3, 4), "flatten")
    assert len(names) == pool(y, "flatten").shape[1] == 24
    assert names[23] == "h.c1.2.3"
    assert column_names("h", (2, 3, 4), "max") == ["h.c0", "h.c1"]
    with pytest.raises(RecipeError, match="unknown pooling 'median'"):
        pool(y, "median")  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [1, 3])
def test_tokens_of_a_graph_are_no_grid(tokens):
    from pellucid.nn.graph import GraphDecoder, GraphEncoder

    sizes = {"channels": 16, "patch": 4, "depth": 1, "heads": 2, "tokens": tokens}
    model = Autoencoder(
        GraphEncoder(5, **sizes), Gaussian(16, 4), GraphDecoder(4, 5, side=3, **sizes)
    ).eval()
    assert {layer.name: layer.reduction for layer in feature_info(model)} == {
        "nodes": None,
        "h": None,
        "latent": None,
    }
    maps = feature_maps(FeatureExtractor(model), torch.randn(2, 5, 12, 12))
    assert maps["nodes"].shape == (2, 16, 9)
    assert pool(maps["latent"], "mean").shape == (2, 4)
    with pytest.raises(PellucidError, match="as a whole"):
        feature_maps(FeatureExtractor(model), torch.randn(2, 5, 24, 12), tile=12)
