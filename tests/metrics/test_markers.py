"""Per-marker numbers against their closed forms, and intervals over blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.spatial_gradient import spatial_gradient
from pellucid.metrics.markers import MarkerErrors, median_gain

DRAWS = {"resamples": 200, "seed": 0}


@pytest.fixture
def measured():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(12, 5, 8, 8, generator=generator) * torch.logspace(-1, 2, 5).view(1, 5, 1, 1)
    noise = torch.randn(x.shape, generator=generator) * x.std((0, 2, 3)).view(1, 5, 1, 1)
    y = x + noise * torch.tensor([0.1, 0.5, 1.0, 2.0, 0.3]).view(1, 5, 1, 1)
    errors = MarkerErrors()
    for part in range(0, 12, 5):
        groups = [str(n // 3) for n in range(part, min(part + 5, 12))]
        errors.update(y[part : part + 5], x[part : part + 5], groups)
    return x, y, errors


def flat(x):
    return x.transpose(0, 1).flatten(1).double().numpy()


def test_r2_pearson_and_gradient_are_those_of_all_pixels_together(measured):
    x, y, errors = measured
    table = errors.table(**DRAWS)
    a, b = flat(x), flat(y)
    r2 = 1 - ((a - b) ** 2).sum(1) / ((a - a.mean(1, keepdims=True)) ** 2).sum(1)
    np.testing.assert_allclose(table.r2, r2, rtol=1e-6)
    pearson = [np.corrcoef(a[c], b[c])[0, 1] for c in range(5)]
    np.testing.assert_allclose(table.pearson, pearson, rtol=1e-6)

    def total(image):
        down, across = (part.abs().sum((0, 2, 3)) for part in spatial_gradient(image))
        return (down + across).numpy()

    np.testing.assert_allclose(table.gradient, total(y - x) / total(x), rtol=1e-5)
    assert (table.r2_low <= table.r2).all()
    assert (table.r2 <= table.r2_high).all()


def test_summaries_look_at_live_markers_alone(measured):
    _, _, errors = measured
    r2 = errors.table(**DRAWS).r2
    found = errors.summary([0, 1, 3], **DRAWS)
    assert found["r2"].value == pytest.approx(np.median(r2[[0, 1, 3]]))
    assert found["r2_worst_decile"].value == pytest.approx(r2[3])
    assert found["r2"].n == 4
    assert "3 live markers" in found["r2"].convention


def test_cosine_ignores_brightness_and_pixels_without_a_signal():
    x = torch.rand(3, 4, 6, 6) + 0.1
    x[:, :, :2] = 0
    errors = MarkerErrors()
    errors.update(7 * x + (x == 0), x, ["a", "b", "c"])
    assert errors.summary([0], **DRAWS)["cosine"].value == pytest.approx(1, abs=1e-6)


def test_a_gain_is_paired_so_equal_models_differ_by_nothing(measured):
    x, y, errors = measured
    other = MarkerErrors()
    other.update(y, x, errors.groups)
    gain = median_gain(errors, other, range(5), **DRAWS)["r2"]
    assert (gain.value, gain.low, gain.high) == pytest.approx((0, 0, 0), abs=1e-12)
    mean = MarkerErrors()
    mean.update(x.mean((0, 2, 3), keepdim=True).expand_as(x), x, errors.groups)
    gain = median_gain(errors, mean, range(5), **DRAWS)["r2"]
    assert gain.value == pytest.approx(errors.summary(range(5), **DRAWS)["r2"].value, abs=1e-6)


def test_values_that_are_not_finite_are_refused():
    x = torch.rand(2, 3, 4, 4)
    with pytest.raises(PellucidError, match="NaN or infinity"):
        MarkerErrors().update(x * float("nan"), x, ["a", "b"])
