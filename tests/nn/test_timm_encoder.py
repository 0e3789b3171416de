"""timm networks as encoders: normalisation, grids, freezing, learning rates, weights, refusals.

Shape letters: B batch, C channels, H height, W width.
"""

import pytest
import safetensors.torch
import timm
import torch

from pellucid.errors import PellucidError, RecipeError, RunError
from pellucid.nn import TimmEncoder
from pellucid.nn.backbone import Backbone

CASES = {
    "vit": {"name": "test_vit"},
    "vit, denser grid": {"name": "test_vit", "stride": 8, "out": 3},
    "resnet": {"name": "test_resnet", "out": 3},
    "convnext, grey": {"name": "test_convnext", "in_channels": 1, "out": 2},
}


def build(**keywords):
    torch.manual_seed(0)
    return TimmEncoder(**keywords)


def images(encoder, count=2, cells=4):
    torch.manual_seed(1)
    side = cells * encoder.stride
    return torch.rand(count, encoder.in_channels, side, side) * 2 - 1


@pytest.mark.parametrize("name", CASES)
def test_keeps_the_encoder_contract(name):
    encoder = build(**CASES[name])
    x_BCHW = images(encoder)
    features = encoder.eval().features(x_BCHW)
    assert tuple(features) == encoder.intermediates
    assert features["h"].shape == (2, encoder.channels, 4, 4)
    assert torch.equal(encoder(x_BCHW), features["h"])
    encoder(x_BCHW).square().mean().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    with pytest.raises(PellucidError, match=str(4 * encoder.stride)):
        encoder(torch.zeros(1, encoder.in_channels, 4 * encoder.stride + 1, 4 * encoder.stride))


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "resnet18"])
def test_feeds_the_network_as_it_was_trained(name):
    """Our range → [0, 1] → the network's own mean and standard deviation, whatever our range."""
    with torch.device("meta"):
        network = timm.create_model(name)
    mean, std = (torch.tensor(network.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    small = Backbone("test_resnet", value_range=(-1.0, 1.0), out=0)
    small.mean, small.std = mean, std
    unit = torch.rand(1, 3, 16, 16)
    expected = small.network.forward_intermediates(
        (unit - mean) / std, indices=[0], intermediates_only=True
    )[0]
    torch.testing.assert_close(small(unit * 2 - 1)[0], expected)


def test_the_last_tokens_are_normalised_and_laid_on_a_grid():
    encoder = build(name="test_vit").eval()
    x = images(encoder, cells=10)
    network = encoder.backbone.network
    tokens = network.forward_features((x * 0.5 + 0.5 - 0.5) / 0.5)[:, network.num_prefix_tokens :]
    grid = tokens.transpose(1, 2).unflatten(2, (10, 10))
    torch.testing.assert_close(encoder(x), grid, atol=1e-5, rtol=1e-4)


def test_first_blocks_are_frozen_then_thawed():
    encoder = build(name="test_resnet", out=3, frozen=1, unfreeze_at=5)
    assert all(p.requires_grad for p in encoder.parameters())  # DDP and optimiser must know them
    encoder.at_step(0)
    still = {name for name, p in encoder.named_parameters() if not p.requires_grad}
    assert still == set(encoder.frozen_names(4))
    assert all(".conv1." in n or ".bn1." in n or ".layer1." in n for n in still)
    assert not any(".layer2." in n for n in still)
    encoder.at_step(5)
    assert all(p.requires_grad for p in encoder.parameters())


def test_frozen_means_frozen_batch_norm_statistics_included():
    encoder = build(name="test_resnet", out=3, frozen=1).train()
    before = {k: v.clone() for k, v in encoder.frozen_tensors(0).items()}
    assert any("running_mean" in name for name in before)
    free = encoder.backbone.network.layer2[0].bn1.running_mean.clone()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, weight_decay=0.1)
    encoder(images(encoder)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(value, before[k]) for k, value in encoder.frozen_tensors(0).items())
    assert not torch.equal(encoder.backbone.network.layer2[0].bn1.running_mean, free)


def test_everything_may_be_frozen():
    encoder = build(name="test_vit", out=1, frozen="all")
    assert not any(p.requires_grad for p in encoder.parameters())


def test_learning_rates_fall_towards_the_stem():
    encoder = build(name="test_vit", out=2, layer_decay=0.5)
    scales = encoder.learning_rate_scales()
    assert encoder.blocks == 3
    assert set(scales) == {name for name, _ in encoder.named_parameters()}
    prefix = "backbone.network."
    assert scales[f"{prefix}pos_embed"] == 0.125
    assert [scales[f"{prefix}blocks.{k}.norm1.weight"] for k in range(3)] == [0.25, 0.5, 1.0]
    assert build(name="test_vit", out=2).learning_rate_scales() == {}


def test_weights_are_read_from_safetensors_with_or_without_the_classifier(tmp_path):
    torch.manual_seed(7)
    whole = timm.create_model("test_vit")
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(whole.state_dict(), path)
    encoder = build(name="test_vit", out=2, pretrained=str(path))
    for name, value in encoder.backbone.network.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])


def test_weights_of_another_shape_are_refused_in_words(tmp_path):
    path = tmp_path / "model.safetensors"
    for other in ("test_vit2", "test_vit3", "test_resnet"):  # deeper, wider, something else
        safetensors.torch.save_file(timm.create_model(other).state_dict(), path)
        with pytest.raises(RunError, match=r"do not fit 'test_vit'"):
            build(name="test_vit", pretrained=str(path))
    wide = timm.create_model("test_vit").state_dict()
    wide["blocks.0.norm1.bias"] = torch.zeros(65)
    safetensors.torch.save_file(wide, path)
    with pytest.raises(RunError, match=r"blocks\.0\.norm1\.bias"):
        build(name="test_vit", pretrained=str(path))


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({}, path)
    with pytest.raises(RunError, match="safetensors only"):
        build(name="test_vit", pretrained=str(path))
    disguised = tmp_path / "model.safetensors"
    disguised.write_bytes(path.read_bytes())
    with pytest.raises(RunError, match=r"zip archive"):
        build(name="test_vit", pretrained=str(disguised))


def test_offline_the_error_names_model_file_and_place(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(RunError) as caught:
        build(name="test_vit", pretrained=True)
    for part in ("test_vit", "model.safetensors", str(tmp_path / "hub"), "pretrained=PATH"):
        assert part in str(caught.value)


def test_a_network_without_published_weights_says_so():
    with pytest.raises(RecipeError, match="no weights for 'test_vit4'"):
        build(name="test_vit4", pretrained=True)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"name": "resnet5O"}, "resnet50"),
        ({"name": "dinov2"}, "timm has no network"),
        ({"name": "test_vit", "out": 9}, "no stage 9"),
        ({"name": "test_vit", "frozen": 99}, "has 6 blocks"),
        ({"name": "test_vit", "unfreeze_at": 10}, "nothing is frozen"),
        ({"name": "test_vit", "frozen": 1, "unfreeze_at": 0}, "nothing is frozen"),
        ({"name": "test_vit", "layer_decay": 0.0}, "layer decay"),
        ({"name": "test_vit", "stride": 0}, "stride"),
    ],
)
def test_what_cannot_be_is_refused_in_words(keywords, message):
    with pytest.raises(RecipeError, match=message):
        build(**keywords)
