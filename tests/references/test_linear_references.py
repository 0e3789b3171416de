"""PCA, the mean and the linear VAE as references: laws, and scikit-learn's PCA."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pellucid.errors import DataError
from pellucid.references.linear import (
    LinearVAEReference,
    MeanSample,
    PCAReference,
    random_sample,
)
from pellucid.references.patches import from_patches, patch_count, to_patches
from pellucid.references.principal import principal_axes


def smooth_images(n: int, channels: int = 3, size: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, channels, 4, 4, generator=generator)
    fine = torch.randn(n, channels, size, size, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear") + 0.1 * fine


def mse(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).square().mean())


@settings(max_examples=40, deadline=None)
@given(
    spatial=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    channels=st.integers(1, 3),
    patch=st.integers(1, 5),
)
def test_patches_go_back_to_where_they_came_from(
    spatial: list[int], channels: int, patch: int
) -> None:
    x = torch.arange(2 * channels * math.prod(spatial), dtype=torch.float32)
    x = x.view(2, channels, *spatial)
    patches = to_patches(x, patch)
    assert patches.shape == (
        2,
        patch_count(tuple(spatial), patch),
        channels * patch ** len(spatial),
    )
    assert torch.equal(from_patches(patches, tuple(x.shape[1:]), patch), x)


def test_a_patch_is_a_square_of_neighbours() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert to_patches(x, 2)[0, 1].tolist() == [2.0, 3.0, 6.0, 7.0]


@pytest.mark.parametrize(("n", "d"), [(200, 30), (30, 200), (50, 50)])
def test_principal_axes_equal_scikit_learn(n: int, d: int) -> None:
    from sklearn import decomposition

    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, d, generator=generator) * torch.logspace(0.5, -1, d) + 5
    ours = principal_axes(x, 8)
    theirs = decomposition.PCA(8, svd_solver="full").fit(x.double().numpy())
    np.testing.assert_allclose(
        ours.eigenvalues[:8].numpy() * n / (n - 1), theirs.explained_variance_, rtol=1e-5
    )
    cosines = np.abs((ours.axes.double().numpy() * theirs.components_).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    expected = theirs.inverse_transform(theirs.transform(x.double().numpy()))
    np.testing.assert_allclose(ours.reconstruct(x).numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("shape", [(40, 3, 12, 12), (600, 1, 6, 6), (80, 1, 64), (30, 2, 4, 6, 6)])
def test_the_training_error_is_the_sum_of_the_eigenvalues_left_out(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 3
    for numbers in (1, 5, 17):
        axes = principal_axes(x.flatten(1), numbers)
        error = mse(axes.reconstruct(x.flatten(1)), x.flatten(1))
        left_out = float(axes.eigenvalues[numbers:].sum()) / x[0].numel()
        assert error == pytest.approx(left_out, rel=1e-4)


def test_patch_pca_error_is_the_sum_of_its_eigenvalues_left_out() -> None:
    x = smooth_images(20)
    pca = PCAReference.fit(x, 9 * 5, stride=4)
    assert pca.patch == 4
    left_out = float(pca.principal.eigenvalues[5:].sum()) * pca.copies / x[0].numel()
    assert mse(pca.reconstruct(x), x) == pytest.approx(left_out, rel=1e-4)


def test_axes_are_orthonormal_even_where_the_spectrum_is_steep() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(60, 500, generator=generator) @ torch.diag(torch.logspace(2, -2, 500))
    axes = principal_axes(x, 50).axes.double()
    assert torch.allclose(axes @ axes.T, torch.eye(50, dtype=torch.float64), atol=1e-5)


def test_more_numbers_never_do_worse_even_on_held_out_samples() -> None:
    train, held_out = smooth_images(300), smooth_images(40, seed=9)
    errors = [
        mse(PCAReference.fit(train, n, stride=4).reconstruct(held_out), held_out)
        for n in (1, 4, 16, 48, 70)
    ]
    assert errors == sorted(errors, reverse=True)


def test_patch_pca_with_all_its_numbers_is_exact() -> None:
    train, held_out = smooth_images(10), smooth_images(5, seed=4)
    pca = PCAReference.fit(train, train[0].numel(), stride=4)
    assert pca.patch == 4
    assert mse(pca.reconstruct(held_out), held_out) < 1e-9


def test_the_set_decides_between_global_and_patches_and_says_so() -> None:
    large, small = smooth_images(64, size=8), smooth_images(63, size=8)
    whole = PCAReference.fit(large, 16, stride=4)
    assert (whole.patch, whole.numbers) == (None, 16)
    assert "global PCA with 16 numbers" in whole.note
    patches = PCAReference.fit(small, 16, stride=4)
    assert (patches.patch, patches.numbers) == (4, 16)
    assert "4×4 patches with 4 numbers each" in patches.note
    assert "63 samples are fewer than 4 × 16" in patches.note


def test_without_a_stride_a_small_set_limits_the_numbers() -> None:
    pca = PCAReference.fit(smooth_images(10), 100)
    assert pca.numbers == 9
    assert "do worse" in pca.note


def test_patches_grow_until_each_gets_a_number() -> None:
    pca = PCAReference.fit(smooth_images(8, size=16), 5, stride=4)
    assert pca.patch == 8
    assert pca.numbers == 4
    assert "the latent has 5" in pca.note


def test_a_constant_set_is_reconstructed_by_its_mean() -> None:
    x = torch.full((12, 1, 6, 6), 0.25)
    pca = PCAReference.fit(x, 2)
    assert pca.numbers == 0
    assert torch.allclose(pca.reconstruct(x), x)


def test_random_sample_never_answers_with_the_sample_itself() -> None:
    x = torch.arange(50.0).view(50, 1, 1, 1)
    before = torch.get_rng_state()
    for seed in range(5):
        assert not (random_sample(x, seed=seed) == x).any()
        assert sorted(random_sample(x, seed=seed).flatten().tolist()) == x.flatten().tolist()
    assert torch.equal(before, torch.get_rng_state())


def test_the_mean_sample_has_the_variance_as_error() -> None:
    x = smooth_images(50)
    assert mse(MeanSample.fit(x).reconstruct(x), x) == pytest.approx(
        float(x.double().var(0, unbiased=False).mean()), rel=1e-5
    )


@pytest.mark.parametrize("numbers", [20, 9 * 8])
def test_the_linear_vae_does_on_its_training_set_what_the_closed_form_says(numbers: int) -> None:
    x = smooth_images(100)
    vae = LinearVAEReference.fit(PCAReference.fit(x, numbers, stride=4), kl_weight=1e-3)
    assert 0 < vae.prediction.active <= numbers
    assert float(vae.kl(x).mean()) == pytest.approx(vae.prediction.kl, rel=1e-4)
    mean_error = mse(vae.reconstruct(x), x)
    assert mean_error == pytest.approx(vae.prediction.mse_mean, rel=1e-4)
    assert mean_error + vae.sampling_error() == pytest.approx(vae.prediction.mse_sampled, rel=1e-4)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DataError, match="at least two"):
        PCAReference.fit(smooth_images(1), 4)
    with pytest.raises(DataError, match="no other sample"):
        random_sample(smooth_images(1))
