"""The closed form against linear VAEs that were really trained, and against its own limits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from pellucid.errors import PellucidError
from pellucid.functional.linear_vae import linear_vae, posterior_gain, weight_at_rate

D, N, LATENT = 16, 4096, 8


def correlated_data() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(0.3, -1.2, D)
    rotation = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q
    return torch.randn(N, D, generator=generator) * scales @ rotation


def eigenvalues_of(x_ND: torch.Tensor) -> torch.Tensor:
    centred = (x_ND - x_ND.mean(0)).double()
    return torch.linalg.eigvalsh(centred.T @ centred / len(x_ND)).flip(0)


class TinyLinearVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(D, LATENT)
        self.decoder = nn.Linear(LATENT, D)
        self.logvar = nn.Parameter(torch.zeros(LATENT))

    def kl(self, mean: torch.Tensor) -> torch.Tensor:
        return 0.5 * (mean**2 + self.logvar.exp() - 1 - self.logvar).sum(1).mean()


def train_linear_vae(x_ND: torch.Tensor, kl_weight: float, steps: int = 2500) -> TinyLinearVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = TinyLinearVAE()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            x = x_ND[(step * 512) % N :][:512]
            mean = model.encoder(x)
            z = mean + (0.5 * model.logvar).exp() * torch.randn_like(mean)
            loss = (model.decoder(z) - x).square().mean() + kl_weight * model.kl(mean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


@pytest.mark.parametrize("kl_weight", [0.002, 0.02, 0.1])
def test_a_trained_linear_vae_reaches_the_prediction(kl_weight: float) -> None:
    x_ND = correlated_data()
    expected = linear_vae(eigenvalues_of(x_ND), kl_weight=kl_weight, elements=D, latent_size=LATENT)
    model = train_linear_vae(x_ND, kl_weight)
    with torch.no_grad():
        mean = model.encoder(x_ND)
        generator = torch.Generator().manual_seed(2)
        noise = torch.randn(mean.shape, generator=generator)
        sampled = model.decoder(mean + (0.5 * model.logvar).exp() * noise)
        assert float(model.kl(mean)) == pytest.approx(expected.kl, rel=0.03, abs=0.02)
        mse_mean = float((model.decoder(mean) - x_ND).square().mean())
        assert mse_mean == pytest.approx(expected.mse_mean, rel=0.03)
        mse_sampled = float((sampled - x_ND).square().mean())
        assert mse_sampled == pytest.approx(expected.mse_sampled, rel=0.03)
        kl_per_dimension = 0.5 * (mean**2 + model.logvar.exp() - 1 - model.logvar).mean(0)
        assert int((kl_per_dimension > 0.05).sum()) == expected.active


def test_without_a_weight_it_is_pca() -> None:
    lam = torch.tensor([4.0, 2.0, 1.0, 0.5])
    found = linear_vae(lam, kl_weight=0, elements=4, latent_size=2)
    assert found.mse_mean == found.mse_sampled == pytest.approx(1.5 / 4)
    assert found.active == 2
    assert math.isinf(found.kl)


def test_above_the_largest_eigenvalue_everything_is_switched_off() -> None:
    lam = torch.tensor([4.0, 2.0, 1.0])
    found = linear_vae(lam, kl_weight=10.0, elements=3, latent_size=3)
    assert (found.kl, found.active) == (0.0, 0)
    assert found.mse_mean == found.mse_sampled == pytest.approx(7 / 3)


def test_rate_and_error_move_in_opposite_directions_with_the_weight() -> None:
    lam = torch.logspace(1, -3, 32)
    found = [
        linear_vae(lam, kl_weight=w, elements=32, latent_size=20)
        for w in torch.logspace(-4, 0, 12).tolist()
    ]
    assert all(a.kl >= b.kl for a, b in itertools.pairwise(found))
    assert all(a.mse_mean <= b.mse_mean for a, b in itertools.pairwise(found))
    assert all(f.mse_mean <= f.mse_sampled for f in found)


def test_patches_that_share_a_model_equal_one_model_with_repeated_eigenvalues() -> None:
    lam = torch.tensor([3.0, 1.0, 0.2])
    repeated = lam.repeat_interleave(4)
    shared = linear_vae(lam, kl_weight=0.05, elements=12, latent_size=2, copies=4)
    whole = linear_vae(repeated, kl_weight=0.05, elements=12, latent_size=8)
    assert shared.kl == pytest.approx(whole.kl)
    assert shared.mse_mean == pytest.approx(whole.mse_mean)
    assert shared.mse_sampled == pytest.approx(whole.mse_sampled)
    assert shared.active == whole.active


def test_truncated_eigenvalues_with_their_trace_say_the_same() -> None:
    lam = torch.tensor([3.0, 1.0, 0.2, 0.1])
    whole = linear_vae(lam, kl_weight=0.05, elements=4, latent_size=2)
    cut = linear_vae(
        lam[:2], kl_weight=0.05, elements=4, latent_size=2, total_variance=float(lam.sum())
    )
    assert cut.mse_sampled == pytest.approx(whole.mse_sampled)


def test_posterior_gain_gives_the_error_of_the_mean() -> None:
    lam, theta = torch.tensor([4.0, 1.0, 0.5]), 0.75
    gain = posterior_gain(lam, theta)
    error = (lam.double() * (1 - gain) ** 2).sum() / 3
    found = linear_vae(lam, kl_weight=2 * theta / 3, elements=3, latent_size=3)
    assert float(error) == pytest.approx(found.mse_mean)


@pytest.mark.parametrize("nats", [0.01, 1.0, 12.0, 200.0])
@pytest.mark.parametrize("copies", [1, 5])
def test_the_weight_at_a_rate_spends_that_rate(nats: float, copies: int) -> None:
    lam = torch.logspace(1, -3, 24)
    weight = weight_at_rate(lam, nats=nats, elements=100, latent_size=16, copies=copies)
    found = linear_vae(lam, kl_weight=weight, elements=100, latent_size=16, copies=copies)
    assert found.kl == pytest.approx(nats, rel=1e-9)


def test_on_white_data_the_error_at_a_rate_is_shannons() -> None:
    lam, bits = torch.full((8,), 3.0), 20.0
    weight = weight_at_rate(lam, nats=bits * math.log(2), elements=8, latent_size=8)
    found = linear_vae(lam, kl_weight=weight, elements=8, latent_size=8)
    assert found.mse_sampled == pytest.approx(3 * 2 ** (-2 * bits / 8))


def test_no_weight_spends_nothing_or_codes_a_constant() -> None:
    with pytest.raises(PellucidError, match="no weight spends this rate"):
        weight_at_rate(torch.ones(3), nats=0.0, elements=3, latent_size=3)
    with pytest.raises(PellucidError, match="no weight spends this rate"):
        weight_at_rate(torch.zeros(3), nats=1.0, elements=3, latent_size=3)


@pytest.mark.parametrize(
    ("kl_weight", "elements", "latent_size"), [(-1.0, 4, 2), (1.0, 0, 2), (1.0, 4, -1)]
)
def test_impossible_sizes_are_refused(kl_weight: float, elements: int, latent_size: int) -> None:
    with pytest.raises(PellucidError, match="no linear VAE has these sizes"):
        linear_vae(torch.ones(3), kl_weight=kl_weight, elements=elements, latent_size=latent_size)


def test_unsorted_eigenvalues_are_refused() -> None:
    with pytest.raises(PellucidError, match="largest first"):
        linear_vae(torch.tensor([1.0, 2.0]), kl_weight=0.1, elements=2, latent_size=1)
