"""The weighted sum: what it adds, what it refuses."""

import math

import pytest
import torch

from pellucid.errors import PellucidError, RecipeError
from pellucid.functional.value_range import ValueRange
from pellucid.objectives import L1, L2, Objective, SSIMLoss, Weighted
from pellucid.records import Penalty


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 16, 16, generator=generator)
    return torch.rand(x.shape, generator=generator).requires_grad_(), x


def test_adds_weighted_terms_and_penalties():
    x_hat, x = batch()
    z = torch.tensor(3.0, requires_grad=True)
    penalties = {
        "kl": Penalty(z**2, 0.1, "nats per sample"),
        "codebook": Penalty(z * 5, 0.0, "mean squared latent"),
    }
    output = Objective({"l1": Weighted(L1(), 2.0), "l2": Weighted(L2(), 0.5)})(x_hat, x, penalties)
    expected = 2 * (x_hat - x).abs().mean() + 0.5 * (x_hat - x).square().mean() + 0.9
    torch.testing.assert_close(output.total, expected)
    assert list(output.terms) == ["l1", "l2", "kl", "codebook"]
    assert output.terms["kl"].value.item() == 9
    assert output.terms["kl"].weighted.item() == pytest.approx(0.9)
    assert output.terms["codebook"].value.item() == 15
    output.total.backward()
    assert z.grad is not None
    assert z.grad.item() == pytest.approx(0.6)  # nothing from the observed codebook


def test_an_observed_infinity_does_not_spoil_the_total():
    x_hat, x = batch()
    penalties = {"kl": Penalty(torch.tensor(math.inf), 0.0, "nats per sample")}
    output = Objective({"l1": Weighted(L1(), 1.0)})(x_hat, x, penalties)
    assert output.total.isfinite()
    assert output.terms["kl"].value.isinf()


def test_half_precision_penalties_are_added_in_float32():
    x_hat, x = batch()
    penalties = {"vq": Penalty(torch.tensor(1.0, dtype=torch.bfloat16), 0.25, "mean square")}
    total = Objective({"l1": Weighted(L1(), 1.0)})(x_hat, x, penalties).total
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, L1()(x_hat, x) + 0.25)


def test_measures_under_no_grad():
    x_hat, x = batch()
    with torch.no_grad():
        output = Objective({"l1": Weighted(L1(), 1.0)})(x_hat, x)
    assert not output.total.requires_grad


def test_names_of_python_methods_are_fine():
    x_hat, x = batch()
    output = Objective({"values": Weighted(L1(), 1.0), "train": Weighted(L2(), 1.0)})(x_hat, x)
    assert set(output.terms) == {"values", "train"}


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weights_are_finite_and_not_negative(weight):
    with pytest.raises(RecipeError, match="weight of 'L1'"):
        Weighted(L1(), weight)
    x_hat, x = batch()
    penalties = {"kl": Penalty(torch.tensor(1.0), weight, "nats per sample")}
    with pytest.raises(RecipeError, match="weight of 'kl'"):
        Objective({"l1": Weighted(L1(), 1.0)})(x_hat, x, penalties)


@pytest.mark.parametrize("terms", [{}, {"l1": Weighted(L1(), 0.0), "l2": Weighted(L2(), 0.0)}])
def test_something_must_be_minimised(terms):
    with pytest.raises(RecipeError, match="nothing is minimised"):
        Objective(terms)


def test_a_name_means_one_thing():
    x_hat, x = batch()
    with pytest.raises(RecipeError, match="'kl' names both"):
        Objective({"kl": Weighted(L1(), 1.0)})(
            x_hat, x, {"kl": Penalty(torch.tensor(1.0), 1.0, "nats per sample")}
        )


def test_a_term_with_a_range_needs_the_runs():
    with pytest.raises(RecipeError, match=r"works on values in \[0, 1\]"):
        Objective({"ssim": Weighted(SSIMLoss(), 1.0)})
    Objective({"ssim": Weighted(SSIMLoss(), 1.0)}, ValueRange(-1, 1))


def test_names_become_columns():
    with pytest.raises(RecipeError, match="cannot name a term"):
        Objective({"l1.mean": Weighted(L1(), 1.0)})


def test_shapes_must_agree():
    with pytest.raises(PellucidError, match="differ in shape"):
        Objective({"l1": Weighted(L1(), 1.0)})(torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4))


def test_compiled_equals_eager():
    x_hat, x = batch()
    objective = Objective(
        {"l1": Weighted(L1(), 1.0), "ssim": Weighted(SSIMLoss(), 0.5)}, ValueRange()
    )
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x_hat, x).total, objective(x_hat, x).total)
