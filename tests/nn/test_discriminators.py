"""What every discriminator promises: scores and features per scale, and where each score looks."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import PellucidError, RecipeError
from pellucid.nn.discriminators import DISCRIMINATORS, Discriminators, PeriodDiscriminator
from pellucid.nn.discriminators.period import _fold

CASES = {
    "period": [{"width": 4, "widest": 16}, {"in_channels": 2, "periods": (2, 5), "width": 4}],
    "spectral": [
        {"windows": (128, 64), "width": 4},
        {"windows": (256,), "bands": ((0.0, 0.5), (0.5, 1.0)), "width": 4},
    ],
    "patch": [{"width": 4, "layers": 2}, {"in_channels": 1, "width": 4, "layers": 2, "scales": 2}],
}
SCALES = {"period": (5, 2), "spectral": (2, 1), "patch": (1, 2)}
EVERY = [
    (name, keywords, scales)
    for name, cases in CASES.items()
    for keywords, scales in zip(cases, SCALES[name], strict=True)
]


def build(name: str, keywords: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    return DISCRIMINATORS[name](**keywords)


def sample(name: str, keywords: dict, batch: int = 2) -> torch.Tensor:
    channels = keywords.get("in_channels", 3 if name == "patch" else 1)
    shape = (32, 32) if name == "patch" else (1000,)
    return torch.randn(batch, channels, *shape, generator=torch.Generator().manual_seed(1))


def test_the_table_is_covered():
    assert set(CASES) == set(DISCRIMINATORS)
    assert {name: part.axes for name, part in DISCRIMINATORS.items()} == {
        "period": 1,
        "spectral": 1,
        "patch": 2,
    }


@pytest.mark.parametrize(("name", "keywords", "scales"), EVERY)
def test_scores_and_features_per_scale(name, keywords, scales):
    scores, features = build(name, keywords)(sample(name, keywords))
    assert len(scores) == len(features) == scales
    assert all(score.shape[:2] == (2, 1) for score in scores)
    assert all(len(layers) >= 3 for layers in features)
    assert all(f.shape[0] == 2 and f.isfinite().all() for layers in features for f in layers)


@pytest.mark.parametrize(("name", "keywords", "scales"), EVERY)
def test_samples_are_judged_apart(name, keywords, scales):
    part, x = build(name, keywords), sample(name, keywords, batch=3)
    together, alone = part(x), part(x[1:2])
    for both, one in zip(together.scores, alone.scores, strict=True):
        torch.testing.assert_close(both[1:2], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "keywords", "scales"), EVERY)
def test_every_weight_learns_and_every_sample_is_seen(name, keywords, scales):
    part, x = build(name, keywords), sample(name, keywords).requires_grad_()
    torch.stack([score.square().mean() for score in part(x).scores]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert x.grad is not None
    assert (x.grad != 0).double().mean() > 0.99


@pytest.mark.parametrize(("name", "keywords", "scales"), EVERY)
def test_every_convolution_is_weight_normed(name, keywords, scales):
    part = build(name, keywords)
    for module in part.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert hasattr(module.parametrizations.weight, "original1")
            length = module.parametrizations.weight.original0
            norms = module.weight.flatten(1).norm(dim=1)
            torch.testing.assert_close(norms, length.flatten().abs(), rtol=1e-4, atol=1e-6)


def test_a_period_hears_only_samples_that_far_apart():
    part = PeriodDiscriminator(periods=(3,), width=4, widest=16)
    x = sample("period", {}, batch=1).requires_grad_()
    part(x).scores[0][..., 1].sum().backward()  # the middle column of three
    assert x.grad is not None
    heard = x.grad[0, 0].nonzero().flatten()
    assert len(heard) > 100
    # the last row is filled by mirroring sample 998 = 0 + 3·332 + 2 and 997
    assert set((heard[:-3] % 3).tolist()) == {1}


def test_folding_keeps_every_sample_in_order():
    x = torch.arange(10.0).view(1, 1, 10)
    folded = _fold(x, 4)
    assert folded.shape == (1, 1, 3, 4)
    assert folded.flatten().tolist() == [*range(10), 8, 7]
    assert torch.equal(_fold(x, 5).flatten(), x.flatten())


def test_a_spectral_discriminator_hears_level_and_phase():
    part = build("spectral", CASES["spectral"][0])
    x = sample("spectral", {}, batch=1)
    heard = part(x).scores[0]
    assert not torch.allclose(part(0.5 * x).scores[0], heard, atol=1e-3)
    assert not torch.allclose(part(-x).scores[0], heard, atol=1e-3)


def test_bands_do_not_hear_each_other_before_the_score():
    part = build("spectral", CASES["spectral"][1])
    t = torch.arange(1000) / 1000
    low = torch.sin(2 * torch.pi * 50 * t).view(1, 1, -1)
    high = low + torch.sin(2 * torch.pi * 450 * t).view(1, 1, -1)
    before, after = part(low).features[0], part(high).features[0]
    layers = len(before) // 2
    change = [(a - b).abs().mean() for a, b in zip(after, before, strict=True)]
    assert change[0] < 0.01 * change[layers]


def test_patch_scores_are_a_grid_of_patches():
    part = build("patch", CASES["patch"][1])
    scores = part(sample("patch", CASES["patch"][1])).scores
    assert [score.shape[-2:] for score in scores] == [(8, 8), (4, 4)]


def test_several_are_asked_as_one():
    parts = [build("period", CASES["period"][0]), build("spectral", CASES["spectral"][0])]
    x = sample("period", {})
    joint = Discriminators(parts)(x)
    apart = [score for part in parts for score in part(x).scores]
    assert len(joint.scores) == len(joint.features) == 7
    assert all(torch.equal(a, b) for a, b in zip(joint.scores, apart, strict=True))


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("period", {"periods": ()}, "periods and channels"),
        ("period", {"width": 0}, "periods and channels"),
        ("spectral", {"windows": (4,)}, "windows and channels"),
        ("spectral", {"bands": ((0.5, 0.2),)}, "a band rises"),
        ("spectral", {"windows": (64,), "bands": ((0.0, 0.01),)}, "holds no frequency"),
        ("patch", {"layers": 0}, "channels, layers and scales"),
    ],
)
def test_sizes_that_make_no_network_are_refused(name, keywords, message):
    with pytest.raises(RecipeError, match=message):
        DISCRIMINATORS[name](**keywords)


def test_a_waveform_shorter_than_half_a_window_is_refused():
    with pytest.raises(PellucidError, match="too short"):
        build("spectral", CASES["spectral"][1])(torch.zeros(1, 1, 100))
