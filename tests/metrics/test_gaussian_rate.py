"""Gaussian rate: the closed form, torch's own KL, stable moments."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pellucid.errors import PellucidError
from pellucid.metrics import GaussianRate


def posterior(n=100, shape=(4, 3, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, *shape, generator=generator)
    return mean, 0.5 * torch.randn(n, *shape, generator=generator) - 1


def test_matches_torch_distributions_in_any_batches():
    mean, logvar = posterior()
    rate = GaussianRate()
    for start in (0, 7, 50):
        stop = {0: 7, 7: 50, 50: 100}[start]
        rate.update(mean[start:stop], logvar[start:stop])
    kl = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0))
    result = rate.compute()
    assert result["kl"].value == pytest.approx(kl.flatten(1).sum(1).mean().item(), rel=1e-5)
    assert result["kl_bits"].value == pytest.approx(result["kl"].value / math.log(2))
    assert result["kl_per_dimension"].value == pytest.approx(result["kl"].value / 36)
    assert result["kl"].low < result["kl"].value < result["kl"].high
    np.testing.assert_allclose(rate.kl_per_dimension, kl.mean(0).flatten(), rtol=1e-5)
    np.testing.assert_allclose(rate.mean_variance, mean.flatten(1).var(0, correction=0), rtol=1e-5)


def test_the_prior_costs_nothing_and_has_no_active_unit():
    rate = GaussianRate()
    rate.update(torch.zeros(10, 5), torch.zeros(10, 5))
    result = rate.compute()
    assert result["kl"].value == 0
    assert result["active_units"].value == result["active_units_by_rate"].value == 0


def test_active_units_are_counted_both_ways():
    mean, logvar = torch.zeros(200, 6), torch.zeros(200, 6)
    mean[:, 0] = torch.randn(200)  # carries information
    mean[:, 1] = 2.0  # costs rate, carries nothing
    logvar[:, 2] = -2.0  # costs rate, carries nothing
    rate = GaussianRate()
    rate.update(mean, logvar)
    result = rate.compute()
    assert result["active_units"].value == 1
    assert result["active_units_by_rate"].value == 3
    assert result["active_units"].unit == "of 6 units"


def test_variances_far_from_zero_stay_exact():
    mean = 1e4 + 1e-2 * torch.randn(1000, 3, dtype=torch.float64)
    rate = GaussianRate()
    for part in mean.split(37):
        rate.update(part, torch.zeros_like(part))
    np.testing.assert_allclose(rate.mean_variance, mean.var(0, correction=0), rtol=1e-6)


def test_groups_widen_the_interval():
    mean, logvar = posterior(10, (8,))
    mean, logvar = mean.repeat_interleave(20, 0), logvar.repeat_interleave(20, 0)
    grouped, alone = GaussianRate(), GaussianRate()
    grouped.update(mean, logvar, torch.arange(10).repeat_interleave(20))
    alone.update(mean, logvar)
    a, b = grouped.compute()["kl"], alone.compute()["kl"]
    assert (a.n, b.n) == (10, 200)
    assert a.high - a.low > 3 * (b.high - b.low)


def test_bad_posteriors():
    mean, logvar = posterior(4)
    rate = GaussianRate()
    with pytest.raises(PellucidError, match="come in pairs"):
        rate.update(mean, logvar[:, :2])
    with pytest.raises(PellucidError, match="not finite"):
        rate.update(mean, logvar + 1e4)
    with pytest.raises(PellucidError, match="no posterior"):
        rate.compute()
    rate.update(mean, logvar)
    with pytest.raises(PellucidError, match="36 dimensions"):
        rate.update(mean[:, :2], logvar[:, :2])
    with pytest.raises(PellucidError, match="one group per sample"):
        rate.update(mean, logvar, ["a"])
