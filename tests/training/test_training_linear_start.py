"""A model with linear paths starts at the linear VAE of its data, and never below it."""

import pytest
import torch
from tiny_training import TinyImages

from pellucid.bottlenecks.gaussian import Gaussian
from pellucid.bottlenecks.identity import Identity
from pellucid.errors import RecipeError
from pellucid.functional.linear_vae import linear_vae
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import ResidualDecoder, ResidualEncoder
from pellucid.training import linear_start
from pellucid.training.linear_start import has_linear_paths, start_linear

NETWORK = {"stride": 4, "width": 16, "multipliers": (1, 2), "linear": True}


def model(bottleneck, dim):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder(
            ResidualEncoder(channels=dim, **NETWORK),
            bottleneck,
            ResidualDecoder(in_channels=dim, **NETWORK),
        ).eval()


def batch(images):
    return torch.stack([images[i]["target"] for i in range(len(images))])


def patches(x_NCHW):
    return torch.nn.functional.unfold(x_NCHW, 4, stride=4).transpose(1, 2).flatten(0, 1).double()


@pytest.fixture
def images(monkeypatch):
    monkeypatch.setattr(linear_start, "SAMPLES", 96)
    return TinyImages(24, noise=0.0)


def test_the_error_is_at_most_that_of_patch_pca(images):
    dim = 4
    autoencoder = model(Identity(dim), dim)
    start_linear(autoencoder, images)
    x = batch(images)
    rows = patches(x)
    values = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
    left_out = float(values[dim:].sum()) / rows.shape[1]
    error = float((autoencoder(x).x_hat - x).square().mean())
    assert error <= left_out * (1 + 1e-4)  # 3×3 positions can only help
    assert error > 0.2 * left_out


def test_a_gaussian_bottleneck_starts_at_the_linear_vae(images):
    dim, weight = 4, 1e-4
    autoencoder = model(Gaussian(dim, dim, weight=weight), dim)
    start_linear(autoencoder, images)
    x = batch(images)
    rows = patches(x)
    values = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
    expected = linear_vae(
        values, kl_weight=weight, elements=x[0].numel(), latent_size=dim, copies=16
    )
    found = autoencoder(x)
    assert float(found.penalties["kl"].value) == pytest.approx(expected.kl, rel=1e-3)
    assert float((found.x_hat - x).square().mean()) < expected.mse_mean * (1 + 1e-4)


def test_a_rate_too_dear_for_any_axis_starts_at_the_mean_image(images):
    autoencoder = model(Gaussian(4, 4, weight=1e3), 4)
    start_linear(autoencoder, images)
    x_hat = autoencoder(batch(images)).x_hat
    assert torch.isfinite(x_hat).all()
    torch.testing.assert_close(x_hat, x_hat[:1].expand_as(x_hat))
    mean = patches(batch(images)).mean(0)
    torch.testing.assert_close(patches(x_hat).double(), mean.expand(len(patches(x_hat)), -1))


def test_the_networks_beside_start_silent_and_can_learn(images):
    autoencoder = model(Identity(4), 4)
    start_linear(autoencoder, images)
    x = batch(images)
    torch.testing.assert_close(autoencoder.encoder(x), autoencoder.encoder.linear(x))
    autoencoder(x).x_hat.square().mean().backward()
    assert autoencoder.decoder.out.weight.grad.abs().sum() > 0
    assert autoencoder.encoder.out.weight.grad.abs().sum() > 0


def test_one_linear_path_alone_is_refused():
    with torch.random.fork_rng():
        autoencoder = model(Identity(4), 4)
    assert has_linear_paths(autoencoder)
    autoencoder.decoder.linear = None
    with pytest.raises(RecipeError, match="both, or neither"):
        has_linear_paths(autoencoder)
    autoencoder.encoder.linear = None
    assert not has_linear_paths(autoencoder)
