"""Distances that read a network: values, weights, self-check, and what they leave alone."""

import pytest
import safetensors.torch
import torch

from pellucid.errors import RecipeError, RunError
from pellucid.functional.value_range import ValueRange
from pellucid.nn.vgg import MEAN, STD, VGGFeatures
from pellucid.objectives import L1, LPIPS, Objective, TimmFeatures, Weighted
from pellucid.objectives.perceptual import check_rises_with_noise

TINY = {"pretrained": False, "width": 4}


def pair(side=32):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, side, side, generator=generator)
    return (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1), x


def test_vgg_is_torchvisions_up_to_the_last_layer():
    from torchvision.models import vgg16

    with torch.device("meta"):
        theirs = vgg16().features.state_dict()
        ours = VGGFeatures(pretrained=False).features.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_vgg_normalises_as_imagenet_and_returns_five_activations():
    torch.manual_seed(0)
    network = VGGFeatures(**TINY)
    x = torch.rand(1, 3, 32, 32)
    y = (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    first = torch.relu(network.features[2](torch.relu(network.features[0](y))))
    found = network(x)
    torch.testing.assert_close(found[0], first)
    assert [tuple(f.shape[1:]) for f in found] == [
        (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4), (32, 2, 2)
    ]  # fmt: skip
    assert all(f.min() >= 0 for f in found)


def test_lpips_is_the_plain_sum_over_layers_with_its_linear_weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "lin.safetensors"
    weights = [torch.rand(1, c, 1, 1) for c in (4, 8, 16, 32, 32)]
    names = [f"lin{i}.model.1.weight" for i in range(5)]
    safetensors.torch.save_file(dict(zip(names, weights, strict=True)), path)
    term = LPIPS(**TINY, linear=str(path))
    y, x = pair()
    total = torch.zeros(())
    for f, g, w in zip(term.network(y), term.network(x), weights, strict=True):
        f, g = (t / (t.square().sum(1, keepdim=True) + 1e-10).sqrt() for t in (f, g))
        total = total + ((f - g).square() * w).sum(1).mean()
    torch.testing.assert_close(term(y, x), total)


def test_cosine_of_timm_features():
    torch.manual_seed(0)
    term = TimmFeatures(name="test_resnet", pretrained=False, size=None, out=1)
    y, x = pair()
    f, g = (term.network(t)[-1] for t in (y, x))
    expected = (1 - torch.cosine_similarity(f, g, dim=1)).mean()
    torch.testing.assert_close(term(y, x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "build",
    [lambda: LPIPS(**TINY), lambda: TimmFeatures(name="test_vit", pretrained=False, size=32)],
)
def test_the_network_is_neither_trained_nor_saved(build):
    torch.manual_seed(0)
    objective = Objective(
        {"deep": Weighted(build(), 1.0), "l1": Weighted(L1(), 1.0)}, ValueRange(-1, 1)
    )
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}
    y, x = pair()
    y.requires_grad_()
    objective(y, x).total.backward()
    assert y.grad.isfinite().all()
    assert all(p.grad is None for p in objective.terms[0].network.parameters())


def test_a_saturated_network_fails_the_check_at_construction():
    check_rises_with_noise(lambda y, x: (y - x).abs().mean(), "good")
    with pytest.raises(RecipeError, match="does not rise with noise"):
        check_rises_with_noise(lambda y, x: (y - x).abs().mean().clamp_max(0.03), "bad")


def test_weights_come_from_safetensors_of_the_right_shape(tmp_path):
    torch.manual_seed(0)
    network = VGGFeatures(pretrained=False, width=2)
    path = tmp_path / "vgg.safetensors"
    extra = {"classifier.0.weight": torch.zeros(3, 3)}
    safetensors.torch.save_file(network.state_dict() | extra, path)
    again = VGGFeatures(pretrained=str(path), width=2, layers=4)
    x = torch.rand(1, 3, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(again(x), network(x), strict=False))
    with pytest.raises(RunError, match="another model"):
        VGGFeatures(pretrained=str(path), width=4)
    (tmp_path / "vgg.pth").write_bytes(b"\x80\x04")
    with pytest.raises(RunError, match="pickle"):
        VGGFeatures(pretrained=str(tmp_path / "vgg.pth"), width=2)


def test_offline_the_error_names_the_file_and_the_place(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(RunError) as caught:
        LPIPS()
    for part in ("vgg16-397923af.pth", str(tmp_path / "checkpoints"), "'perceptual'"):
        assert part in str(caught.value)


def test_other_numbers_of_channels_are_refused():
    y = torch.rand(1, 2, 32, 32)
    with pytest.raises(RecipeError, match="grey or RGB"):
        LPIPS(**TINY)(y, y)
