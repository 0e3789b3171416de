"""Distances between sets of features: closed forms on Gaussians, laws, references, refusals."""

import math

import pytest
import torch
from torchmetrics.image.fid import _compute_fid

from pellucid.errors import DataError
from pellucid.functional.frechet import (
    LEAST_SAMPLES,
    Moments,
    frechet_distance,
    frechet_of_samples,
    moments,
)
from pellucid.functional.kernel_distance import kernel_distance, squared_mmd
from pellucid.functional.manifold import nearest_neighbours, precision_recall


def gaussian(n, d, *, mean=0.0, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(n, d, generator=generator)


def test_frechet_of_known_gaussians_is_the_closed_form():
    spreads_a, spreads_b = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 2.0, 1.0])
    a = Moments(torch.zeros(3).double(), spreads_a.square().diag().double(), 10)
    b = Moments(torch.full((3,), 2.0).double(), spreads_b.square().diag().double(), 10)
    expected = 3 * 4 + float((spreads_a - spreads_b).square().sum())  # commuting covariances
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_frechet_does_not_depend_on_the_axes():
    a, b = gaussian(500, 6), gaussian(400, 6, mean=0.3, scale=1.4, seed=1)
    turn, _ = torch.linalg.qr(gaussian(6, 6, seed=2))
    before = frechet_distance(moments(a), moments(b))
    assert frechet_distance(moments(a @ turn), moments(b @ turn)) == pytest.approx(before, rel=1e-4)
    assert frechet_distance(moments(b), moments(a)) == pytest.approx(before, rel=1e-9)
    assert frechet_distance(moments(a), moments(a)) == pytest.approx(0, abs=1e-9)


def test_frechet_agrees_with_torchmetrics():
    a, b = moments(gaussian(300, 8)), moments(gaussian(300, 8, mean=0.5, seed=3))
    theirs = _compute_fid(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-6)


def test_frechet_is_refused_on_few_samples():
    with pytest.raises(DataError, match="at least 2048"):
        frechet_of_samples(gaussian(LEAST_SAMPLES, 2), gaussian(LEAST_SAMPLES - 1, 2))
    close = frechet_of_samples(gaussian(4096, 2), gaussian(4096, 2, seed=1))
    assert close < 0.01


def test_kernel_distance_is_the_moments_of_the_cubic_kernel():
    """In one dimension (xy + 1)³ compares moments: MMD² = 3(Δm₁)² + 3(Δm₂)² + (Δm₃)²."""
    a, b = gaussian(20_000, 1)[:, :1], gaussian(20_000, 1, mean=1.0, seed=1)
    found = kernel_distance(a, b, subsets=10, size=1000)
    expected = 3 * 1**2 + 3 * 1**2 + 4**2  # N(1, 1) has moments 1, 2, 4; N(0, 1) has 0, 1, 0
    assert found.error is not None
    assert found.value == pytest.approx(expected, abs=5 * found.error + 0.5)


def test_kernel_distance_is_unbiased_on_small_sets():
    values = [
        squared_mmd(gaussian(20, 3, seed=2 * s), gaussian(20, 3, seed=2 * s + 1))
        for s in range(400)
    ]
    mean = torch.tensor(values).mean()
    assert abs(float(mean)) < 4 * float(torch.tensor(values).std()) / math.sqrt(400)


def test_kernel_distance_equals_the_plain_double_sum():
    a, b = gaussian(7, 2).double(), gaussian(5, 2, mean=0.4, seed=1).double()

    def k(x, y):
        return float((x @ y / 2 + 1) ** 3)

    within_a = [k(a[i], a[j]) for i in range(7) for j in range(7) if i != j]
    within_b = [k(b[i], b[j]) for i in range(5) for j in range(5) if i != j]
    between = [k(x, y) for x in a for y in b]
    slow = sum(within_a) / 42 + sum(within_b) / 20 - 2 * sum(between) / 35
    assert squared_mmd(a, b) == pytest.approx(slow)


def test_precision_and_recall_tell_quality_from_variety():
    real = torch.cat([gaussian(300, 2), gaussian(300, 2, mean=20.0, seed=1)])
    half = gaussian(300, 2, seed=2)  # only one of the two clusters: good but not varied
    found = precision_recall(real, half)
    assert found.precision > 0.9
    assert 0.4 < found.recall < 0.55
    swapped = precision_recall(half, real)
    assert (swapped.precision, swapped.recall) == (found.recall, found.precision)
    far = precision_recall(real, gaussian(300, 2, mean=-50.0))
    assert (far.precision, far.recall) == (0, 0)
    same = precision_recall(real, real)
    assert (same.precision, same.recall) == (1, 1)


def test_nearest_neighbours_finds_the_copy():
    known = gaussian(50, 4)
    found = nearest_neighbours(known[[7, 3]] + 1e-4, known)
    assert found.index.tolist() == [7, 3]
    assert float(found.distance.max()) < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moments(torch.zeros(1, 3)), "at least 2"),
        (lambda: moments(torch.full((4, 2), math.nan)), "4 of 4"),
        (lambda: squared_mmd(torch.zeros(4, 2), torch.zeros(4, 3)), "different networks"),
        (lambda: kernel_distance(torch.zeros(15, 2), torch.zeros(20, 2)), "at least 16"),
        (lambda: precision_recall(torch.zeros(3, 2), torch.zeros(9, 2)), "at least 4"),
        (lambda: precision_recall(torch.zeros(9, 2), torch.zeros(9, 3)), "different networks"),
        (
            lambda: frechet_distance(moments(torch.zeros(4, 2)), moments(torch.zeros(4, 3))),
            "different networks",
        ),
        (lambda: nearest_neighbours(torch.zeros(2, 2), torch.zeros(0, 2)), "at least 1"),
    ],
)
def test_bad_features_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()
