"""Laws of the Gaussian bottleneck: KL in nats, free nats, capacity, schedules, sampling."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pellucid.bottlenecks import Gaussian
from pellucid.errors import RecipeError
from pellucid.functional.gaussian import annealed, free_nats_kl, kl_nats


def test_kl_is_the_closed_form_of_torch_distributions() -> None:
    mean, logvar = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
    standard = Normal(torch.zeros(()), torch.ones(()))
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), standard)
    torch.testing.assert_close(kl_nats(mean, logvar), expected)


def test_penalty_is_summed_over_dimensions_and_averaged_over_the_batch() -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(6, 3)
    output = bottleneck(torch.randn(7, 6, 4, 5))
    latent = output.latent
    per_sample = kl_nats(latent.mean, latent.logvar).flatten(1).sum(1)
    torch.testing.assert_close(output.penalties["kl"].value, per_sample.mean())
    assert output.penalties["kl"].unit == "nats per sample"
    bits = per_sample.mean() / (3 * 4 * 5) / math.log(2)
    torch.testing.assert_close(output.metrics["kl_bits_per_dim"], bits.detach())


def test_free_nats_are_applied_after_the_batch_mean() -> None:
    # One dimension spends 2 nats on one sample of two: its mean of 1 is above the floor of 0.5,
    # so nothing is clamped; clamping each sample first would give (2 + 0.5)/2.
    kl_BC = torch.tensor([[2.0], [0.0]])
    assert free_nats_kl(kl_BC.mean(dim=0), 0.5).item() == 1.0


def test_free_nats_take_the_gradient_from_dimensions_below_the_floor() -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(6, 3, free_nats=1e3)
    output = bottleneck(torch.randn(7, 6, 4))
    output.penalties["kl"].value.backward()
    assert bottleneck.head.weight.grad.abs().max() == 0
    assert output.metrics["kl_nats_penalised"].item() == pytest.approx(1e3 * 3 * 4)
    assert output.metrics["kl_nats_raw"] < output.metrics["kl_nats_penalised"]


def test_capacity_is_an_absolute_distance_that_ramps() -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(6, 3, capacity=50.0, capacity_steps=10)
    h = torch.randn(7, 6, 4)
    for step, capacity in ((0, 0.0), (5, 25.0), (10, 50.0), (99, 50.0)):
        bottleneck.at_step(step)
        output = bottleneck(h)
        expected = (output.metrics["kl_nats_raw"] - capacity).abs()
        torch.testing.assert_close(output.penalties["kl"].value.detach(), expected)


def test_schedules() -> None:
    assert [annealed(s, 4) for s in (0, 1, 2, 4, 9)] == [0, 0.25, 0.5, 1, 1]
    cyclic = [annealed(s, 8, cycles=2, ramp=0.5) for s in range(10)]
    assert cyclic == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1]
    bottleneck = Gaussian(6, 3, weight=2.0, anneal_steps=4)
    bottleneck.at_step(1)
    assert bottleneck(torch.randn(2, 6)).penalties["kl"].weight == 0.5


def test_schedules_do_not_compile_again_at_every_step() -> None:
    torch._dynamo.reset()
    bottleneck = Gaussian(6, 3, capacity=5.0, capacity_steps=50, anneal_steps=50)
    compiled = torch.compile(bottleneck, backend="aot_eager")
    h = torch.randn(2, 6, 4)
    weights = []
    with torch._dynamo.config.patch(recompile_limit=4, fail_on_recompile_limit_hit=True):
        for step in range(12):
            bottleneck.at_step(step)
            weights.append(compiled(h).penalties["kl"].weight)
    assert weights == pytest.approx([1e-6 * step / 50 for step in range(12)])


def test_train_samples_and_eval_passes_the_mean() -> None:
    torch.manual_seed(0)
    bottleneck = Gaussian(6, 3)
    h = torch.randn(2000, 6)
    output = bottleneck(h)
    noise = (output.z - output.latent.mean) / (0.5 * output.latent.logvar).exp()
    assert noise.mean().abs() < 0.05
    assert (noise.std() - 1).abs() < 0.05
    assert torch.equal(bottleneck(h, sample=False).z, output.latent.mean)
    bottleneck.eval()
    assert torch.equal(bottleneck(h).z, output.latent.mean)
    assert not torch.equal(bottleneck(h, sample=True).z, output.latent.mean)


def test_logvar_stays_in_its_range_and_can_be_far_below_zero() -> None:
    bottleneck = Gaussian(2, 1, logvar_range=(-10.0, 3.0))
    with torch.no_grad():
        bottleneck.head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        bottleneck.head.bias.zero_()
    logvar = bottleneck(torch.tensor([[-99.0, 0.0], [99.0, 0.0], [-7.0, 0.0]])).latent.logvar
    assert logvar.flatten().tolist() == [-10, 3, -7]


def test_collapsed_dimensions_are_not_active() -> None:
    bottleneck = Gaussian(4, 3)
    with torch.no_grad():
        bottleneck.head.weight.zero_()
        bottleneck.head.bias.copy_(torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, 0.0]))
    assert bottleneck(torch.randn(8, 4)).metrics["active_units"].item() == 1


@pytest.mark.parametrize(
    ("argument", "value"),
    [("dim", 0), ("free_nats", -1.0), ("capacity", -1.0), ("cycles", 2), ("cycle_ramp", 0.0)],
)
def test_bad_arguments_name_themselves(argument, value) -> None:
    with pytest.raises(RecipeError, match=argument):
        Gaussian(4, **{"dim": 2, argument: value})
