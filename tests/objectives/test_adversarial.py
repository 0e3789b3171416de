"""Both players' losses in closed form, and the balancer against a slow plain version."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import PellucidError, RecipeError
from pellucid.objectives import (
    L1,
    L2,
    Balancer,
    Objective,
    Weighted,
    discriminator_loss,
    feature_matching,
    generator_loss,
    gradient_shares,
)
from pellucid.records import Penalty


def scores(*values: float) -> list[torch.Tensor]:
    return [torch.full((2, 1, 3), value) for value in values]


@pytest.mark.parametrize(
    ("loss", "real", "fake", "expected"),
    [
        ("hinge", 2.0, -3.0, 0.0),  # beyond the margins
        ("hinge", 0.0, 0.0, 2.0),
        ("hinge", 0.5, 0.5, 0.5 + 1.5),
        ("least-squares", 1.0, 0.0, 0.0),
        ("least-squares", 0.5, 0.5, 0.5),
        ("least-squares", -1.0, 2.0, 4.0 + 4.0),
    ],
)
def test_the_discriminators_loss(loss, real, fake, expected):
    assert discriminator_loss(scores(real), scores(fake), loss).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "fake", "expected", "slope"),
    [
        ("hinge", 3.0, 0.0, 0.0),  # it is believed already
        ("hinge", -1.0, 2.0, -1.0),
        ("least-squares", 1.0, 0.0, 0.0),
        ("least-squares", -1.0, 4.0, -4.0),
    ],
)
def test_the_autoencoders_loss_and_its_gradient(loss, fake, expected, slope):
    (score,) = scores(fake)
    score.requires_grad_()
    value = generator_loss([score], loss)
    value.backward()
    assert value.item() == pytest.approx(expected)
    assert score.grad is not None
    assert score.grad.sum().item() == pytest.approx(slope)


@pytest.mark.parametrize("loss", ["hinge", "least-squares"])
def test_scales_count_alike_whatever_their_size_and_number(loss):
    small, large = torch.full((2, 1, 3), 0.3), torch.full((2, 1, 300), -0.4)
    each = [generator_loss([s], loss) for s in (small, large)]
    assert generator_loss([small, large], loss).item() == pytest.approx(sum(each).item() / 2)
    assert generator_loss([small] * 5, loss).item() == pytest.approx(each[0].item())


def test_feature_matching_is_relative_and_reaches_only_x_hat():
    generator = torch.Generator().manual_seed(0)
    real = [[torch.randn(2, 4, 5, generator=generator).requires_grad_() for _ in range(3)]]
    fake = [[(1.25 * f.detach()).requires_grad_() for f in real[0]]]
    value = feature_matching(real, fake)
    assert value.item() == pytest.approx(0.25)
    loud = [[100 * f for f in real[0]]], [[100 * f for f in fake[0]]]
    assert feature_matching(*loud).item() == pytest.approx(0.25)
    assert feature_matching(real, real).item() == 0
    value.backward()
    assert all(f.grad is None for f in real[0])
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in fake[0])


def test_feature_matching_of_a_dead_layer_is_finite():
    dead = [[torch.zeros(2, 3)]]
    assert feature_matching(dead, dead).item() == 0
    assert feature_matching(dead, [[torch.ones(2, 3)]]).isfinite()


# ---- the balancer ---------------------------------------------------------------------------


def balanced(scale: float = 1.0, **keywords) -> Objective:
    """L1 and a scaled L2; the factor stands for any unit that a term may have."""

    class Scaled(L2):
        def measure(self, x_hat, target):
            return scale * super().measure(x_hat, target)

    terms = {"l1": Weighted(L1(), 3.0), "l2": Weighted(Scaled(), 1.0)}
    return Objective(terms, balancer=Balancer(["l1", "l2"], **keywords)).train()


def steps(objective: Objective, count: int = 6) -> list[torch.Tensor]:
    """Return the gradient at x̂ over a few steps of changing batches."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for step in range(count):
        x = torch.randn(4, 1, 50, generator=generator)
        noise = torch.randn(4, 1, 50, generator=generator)
        x_hat = (x + (1 + step) * noise).requires_grad_()
        objective(x_hat, x).total.backward()
        assert x_hat.grad is not None
        found.append(x_hat.grad)
    return found


def slow_version(decay: float, total_norm: float, count: int = 6) -> list[torch.Tensor]:
    """EnCodec's formula, term by term and step by step."""
    generator = torch.Generator().manual_seed(0)
    history: dict[str, list[float]] = {"l1": [], "l2": []}
    weights, found = {"l1": 3.0, "l2": 1.0}, []
    for step in range(count):
        x = torch.randn(4, 1, 50, generator=generator)
        noise = torch.randn(4, 1, 50, generator=generator)
        difference = (1 + step) * noise
        gradients = {
            "l1": difference.sign() / difference.numel(),
            "l2": 2 * ((x + difference) - x) / difference.numel(),
        }
        total = torch.zeros_like(difference)
        for name, gradient in gradients.items():
            history[name].append(sum(float(g.norm()) for g in gradient) / len(gradient))
            age = range(step, -1, -1)
            top = sum(decay**a * norm for a, norm in zip(age, history[name], strict=True))
            average = top / sum(decay**a for a in age)
            total += total_norm * weights[name] / 4 * gradient / average
        found.append(total)
    return found


@pytest.mark.parametrize(("decay", "total_norm"), [(0.999, 1.0), (0.5, 3.0), (0.0, 0.1)])
def test_the_balancer_equals_the_slow_version(decay, total_norm):
    ours = steps(balanced(decay=decay, total_norm=total_norm))
    for fast, slow in zip(ours, slow_version(decay, total_norm), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-7)


def test_scaling_a_term_changes_nothing():
    plain, scaled = steps(balanced()), steps(balanced(1000.0))
    for one, other in zip(plain, scaled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_without_a_balancer_scaling_a_term_does_change_the_gradient():
    def gradient(scale: float) -> torch.Tensor:
        objective = balanced(scale)
        objective.balancer = None
        return steps(objective, 1)[0]

    assert not torch.allclose(gradient(1.0), gradient(1000.0), rtol=0.1)


def test_weights_are_shares_of_the_gradient():
    objective = balanced(decay=0.0)
    x_hat = torch.randn(4, 1, 50, generator=torch.Generator().manual_seed(3)).requires_grad_()
    output = objective(x_hat, torch.zeros_like(x_hat))
    shares = gradient_shares(output, x_hat, x_hat)
    assert shares["l1"].at_output == pytest.approx(0.75, abs=0.02)
    assert shares["l2"].at_output == pytest.approx(0.25, abs=0.02)
    assert output.total.item() == pytest.approx(
        sum(term.weighted.item() for term in output.terms.values())
    )


def test_penalties_are_untouched_and_observed_terms_take_no_share():
    z = torch.tensor(2.0, requires_grad=True)
    x_hat = torch.randn(2, 1, 20, generator=torch.Generator().manual_seed(4)).requires_grad_()
    terms = {"l1": Weighted(L1(), 5.0), "l2": Weighted(L2(), 0.0)}
    objective = Objective(terms, balancer=Balancer(["l1", "l2"])).train()
    output = objective(x_hat, torch.zeros_like(x_hat), {"kl": Penalty(z**2, 0.1, "nats")})
    output.total.backward()
    assert z.grad is not None
    assert z.grad.item() == pytest.approx(0.4)
    assert output.terms["kl"].weighted.item() == pytest.approx(0.4)
    assert output.terms["l2"].weighted.item() == 0
    assert x_hat.grad is not None
    assert x_hat.grad.flatten(1).norm(dim=1).mean().item() == pytest.approx(1.0, rel=1e-4)


def test_in_eval_mode_the_averages_stand_still():
    objective = balanced(decay=0.9)
    steps(objective, 3)
    before = {name: value.clone() for name, value in objective.balancer.state_dict().items()}
    steps(objective.eval(), 2)
    after = objective.balancer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        plain = objective(torch.ones(1, 1, 4), torch.zeros(1, 1, 4))
    assert plain.total.item() == pytest.approx(3.0 + 1.0)  # weights as multipliers


def test_the_averages_survive_a_checkpoint():
    whole = steps(balanced(decay=0.9), 6)
    first = balanced(decay=0.9)
    steps(first, 6)
    second = balanced(decay=0.9)
    second.load_state_dict(first.state_dict())
    assert torch.equal(steps(first, 6)[-1], steps(second, 6)[-1])
    assert not torch.equal(steps(second, 6)[-1], whole[-1])


@pytest.mark.parametrize("keywords", [{"total_norm": 0.0}, {"decay": 1.0}, {"decay": -0.1}])
def test_a_balancer_refuses_numbers_without_a_meaning(keywords):
    with pytest.raises(RecipeError):
        Balancer(["l1"], **keywords)


def test_a_term_that_was_not_named_is_refused():
    objective = Objective({"l1": Weighted(L1(), 1.0)}, balancer=Balancer(["l2"])).train()
    with pytest.raises(PellucidError, match="does not know this term"):
        objective(torch.ones(1, 1, 4, requires_grad=True), torch.zeros(1, 1, 4))


@pytest.mark.parametrize(("slope", "factor"), [(2.0, 0.5), (0.1, 10.0), (1e-9, 50.0)])
def test_the_adaptive_weight_pulls_as_hard_as_the_terms_within_its_bound(slope, factor):
    """Unit gradients: L1's at x̂ has norm 1/√n, the adversary's slope/√n."""
    x_hat, x = torch.ones(2, 1, 3, 3, requires_grad=True), torch.zeros(2, 1, 3, 3)
    adversarial = {"adversarial": Penalty(-slope * x_hat.mean(), 0.5, "hinge")}
    output = Objective({"l1": Weighted(L1(), 1.0)})(x_hat, x, None, adversarial, adaptive=50.0)
    assert output.terms["adversarial"].weight == pytest.approx(0.5 * factor)
    expected = 1 - 0.5 * min(factor, 50.0) * slope
    output.total.backward()
    torch.testing.assert_close(x_hat.grad, torch.full_like(x_hat, expected / x_hat.numel()))


def test_without_gradients_the_adaptive_weight_is_a_plain_one():
    x = torch.zeros(2, 1, 3, 3)
    adversarial = {"adversarial": Penalty(x.mean() + 1, 0.5, "hinge")}
    output = Objective({"l1": Weighted(L1(), 1.0)})(x + 1, x, None, adversarial, adaptive=50.0)
    assert float(output.total) == pytest.approx(1.5)
