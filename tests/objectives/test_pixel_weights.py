"""Focal and centre weights: what they weigh, and that they weigh nothing away."""

import pytest
import torch

from pellucid.errors import PellucidError, RecipeError
from pellucid.functional.pixel_weights import centre_weights, focal_weights
from pellucid.objectives import L1, L2, Charbonnier

ERROR = torch.tensor([0.0, 0.1, 0.2, 0.5]).view(1, 1, 2, 2)
PIXEL_TERMS = [L1, L2, Charbonnier]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_weights_have_mean_one_and_follow_the_error(gamma):
    weights = focal_weights(ERROR, gamma)
    assert weights.mean().item() == pytest.approx(1)
    expected = (0.5 / 0.2) ** gamma
    assert (weights[0, 0, 1, 1] / weights[0, 0, 1, 0]).item() == pytest.approx(expected)


def test_focal_l1_is_the_error_weighed_by_itself():
    zero = torch.zeros_like(ERROR)
    expected = (ERROR * ERROR).mean() / ERROR.mean()
    torch.testing.assert_close(L1(focal=1.0)(ERROR, zero), expected)


def test_focal_weights_are_held_constant():
    """The gradient of the focal L1 at a pixel is its weight over N: proportional to the error."""
    y = ERROR.clone().requires_grad_()
    L1(focal=1.0)(y, torch.zeros_like(ERROR)).backward()
    torch.testing.assert_close(y.grad, focal_weights(ERROR, 1.0) * ERROR.sign() / 4)


def test_each_sample_has_its_own_focus():
    weights = focal_weights(torch.cat([ERROR, 10 * ERROR]), 1.0)
    torch.testing.assert_close(weights[0], weights[1])


def test_centre_weights_fall_towards_the_corners_as_a_gaussian():
    weights = centre_weights(63, 41, sigma=0.5, like=ERROR)
    assert weights.mean().item() == pytest.approx(1)
    assert weights.argmax() == 31 * 41 + 20
    edge = 1 - 1 / 63
    ratio = (weights[0, 20] / weights[31, 20]).item()
    assert ratio == pytest.approx(torch.exp(torch.tensor(-(edge**2) / 0.5)).item(), rel=1e-4)


@pytest.mark.parametrize("term", PIXEL_TERMS)
def test_a_uniform_error_costs_the_same_under_any_weights(term):
    x = torch.zeros(2, 3, 8, 6)
    plain = term()(x + 0.3, x)
    torch.testing.assert_close(term(focal=2.0)(x + 0.3, x), plain)
    torch.testing.assert_close(term(centre=0.4)(x + 0.3, x), plain)


@pytest.mark.parametrize("term", PIXEL_TERMS)
def test_equal_images_are_the_minimum_under_any_weights(term):
    x = torch.rand(2, 3, 8, 6)
    found = term(focal=1.0, centre=0.5)
    torch.testing.assert_close(found(x, x), torch.tensor(float(found.minimum)))


@pytest.mark.parametrize("term", PIXEL_TERMS)
def test_weights_without_a_meaning_are_refused(term):
    with pytest.raises(RecipeError, match="focal"):
        term(focal=-1.0)
    with pytest.raises(RecipeError, match="width"):
        term(centre=0.0)


def test_sound_has_no_centre():
    with pytest.raises(PellucidError, match="images are needed"):
        L1(centre=0.5)(torch.rand(1, 1, 9), torch.rand(1, 1, 9))
