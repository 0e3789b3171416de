"""Postfilters: the least-squares one finds the true filter, the radial one keeps its promises."""

from __future__ import annotations

import pytest
import torch

from pellucid.functional.postfilter import (
    MOST_GAIN,
    LeastSquaresFilter,
    filtered,
    identity_kernel,
    in_series,
    power_gains,
    radial_kernel,
)
from pellucid.functional.spectrum import RadialSpectra, radial_spectra


def coloured(images: int, side: int, *, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Noise whose power falls with frequency, as that of photographs does."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(images, channels, side, side, generator=generator)
    f = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.fftfreq(side)[None, :])
    return torch.fft.ifft2(torch.fft.fft2(white) / (f + 1 / side)).real


def response(kernel_KK: torch.Tensor, side: int = 64) -> torch.Tensor:
    """The amplitude of a filter's answer at every frequency."""
    return torch.fft.fft2(kernel_KK.double(), s=(side, side)).abs()


@pytest.mark.parametrize("side", [1, 2, 9, 32])
def test_the_identity_changes_nothing_at_any_size(side):
    x = torch.randn(2, 3, side, side)
    assert torch.equal(filtered(x, identity_kernel(3, 9)), x)


def test_filtering_runs_in_float32_under_autocast():
    x = coloured(1, 16)
    kernel = identity_kernel(3, 5) + 0.01
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = filtered(x, kernel)
    assert found.dtype == torch.float32
    assert torch.equal(found, filtered(x, kernel))


def test_least_squares_finds_the_filter_that_was_applied():
    x_hat = coloured(8, 48)
    truth = identity_kernel(3, 3)
    truth[0, 0] += torch.tensor([[0.0, -0.1, 0.0], [-0.1, 0.4, -0.1], [0.0, -0.1, 0.0]])
    truth[2, 1] += torch.tensor([[0.05, 0.0, 0.05], [0.0, -0.2, 0.0], [0.05, 0.0, 0.05]])
    fit = LeastSquaresFilter(3, 5)
    for part in x_hat.split(3):
        fit.update(part, filtered(part, truth))
    found = fit.solve()
    assert torch.allclose(found[..., 1:-1, 1:-1], truth, atol=2e-3)
    assert float(found[..., 0, :].abs().max()) < 2e-3


def test_least_squares_never_errs_more_than_no_filter_and_has_the_squares_symmetries():
    x = coloured(6, 32, seed=1)
    x_hat = filtered(x, identity_kernel(3, 3) * 0.7 + 0.03) + 0.1 * torch.randn(x.shape)
    fit = LeastSquaresFilter(3, 7)
    fit.update(x_hat, x)
    kernel = fit.solve()
    assert (filtered(x_hat, kernel) - x).square().mean() < 0.9 * (x_hat - x).square().mean()
    for other in (kernel.flip(-1), kernel.flip(-2), kernel.transpose(-1, -2)):
        assert torch.allclose(kernel, other, atol=1e-6)


def test_a_perfect_reconstruction_is_left_alone():
    x = coloured(4, 32)
    fit = LeastSquaresFilter(3, 5)
    fit.update(x, x)
    assert torch.allclose(fit.solve(), identity_kernel(3, 5), atol=1e-6)


def test_power_gains_are_the_roots_of_the_power_ratio_within_bounds():
    x = coloured(4, 32)
    gain = power_gains(radial_spectra(0.8 * x, x))
    assert torch.allclose(gain, torch.full_like(gain, 1.25), atol=1e-4)
    assert torch.allclose(power_gains(radial_spectra(1.5 * x, x)), torch.ones(16))
    assert torch.allclose(power_gains(radial_spectra(0.01 * x, x)), torch.full((16,), MOST_GAIN))
    flat = torch.zeros(2, 3, 32, 32)
    assert torch.equal(power_gains(radial_spectra(flat, flat)), torch.ones(16))


@pytest.mark.parametrize("taps", [3, 9, 15])
def test_a_radial_kernel_is_one_at_frequency_zero_and_where_no_gain_is_asked_for(taps):
    x = coloured(2, 64)
    spectra = radial_spectra(x, x)
    gain = 1 + torch.linspace(0, 1, 16) ** 2
    kernel = radial_kernel(spectra, gain, taps)
    assert float(kernel.double().sum()) == pytest.approx(1.0, abs=1e-5)
    assert torch.allclose(kernel, kernel.T, atol=1e-6)
    plain = radial_kernel(spectra, torch.ones(16), taps)
    assert torch.allclose(plain, identity_kernel(1, taps)[0, 0], atol=1e-5)


def test_a_radial_kernel_follows_the_gain_it_was_asked_for():
    spectra = radial_spectra(coloured(2, 64), coloured(2, 64))
    gain = 1 + 0.8 * torch.sigmoid((spectra.frequency - 0.22) * 25)
    found = response(radial_kernel(spectra, gain, 13))
    for ring in range(2, 15):
        at = round(float(spectra.frequency[ring]) * 64)
        wanted = 1 + 0.8 / (1 + torch.exp(torch.tensor(-(at / 64 - 0.22) * 25)))
        assert float(found[0, at]) == pytest.approx(float(wanted), abs=0.06)


def test_filters_in_series_are_one_filter():
    x = coloured(2, 40)
    first = identity_kernel(3, 5) + 0.02 * torch.randn(3, 3, 5, 5)
    ring = radial_kernel(radial_spectra(x, x), 1 + torch.linspace(0, 1, 16), 5)
    second = identity_kernel(3, 5) * 0 + torch.eye(3)[:, :, None, None] * ring
    inside = (..., slice(6, -6), slice(6, -6))  # borders are repeated once, or twice
    assert torch.allclose(
        filtered(x, in_series(first, ring))[inside],
        filtered(filtered(x, first), second)[inside],
        atol=1e-5,
    )


def test_power_comes_back_and_coherence_stays():
    x = coloured(8, 64)
    noise = coloured(8, 64, seed=5)
    soft = identity_kernel(3, 3) * 0.4 + torch.eye(3)[:, :, None, None] * 0.6 / 9
    x_hat = filtered(x + 0.1 * noise, soft)
    spectra = radial_spectra(x_hat, x).total()
    kernel = in_series(identity_kernel(3, 11), radial_kernel(spectra, power_gains(spectra), 11))
    after = radial_spectra(filtered(x_hat, kernel), x).total()
    reached = spectra.ratio[0] > 1 / MOST_GAIN**2
    assert reached.sum() > 8
    assert float((after.ratio[0][reached] - 1).abs().max()) < 0.12
    assert float((spectra.ratio[0][reached] - 1).abs().max()) > 0.4
    assert float((after.coherence - spectra.coherence).abs()[0][reached].max()) < 0.02


def test_spectra_of_batches_join():
    x, y = coloured(4, 32), coloured(4, 32, seed=2)
    whole = power_gains(radial_spectra(y, x))
    parts = RadialSpectra.cat([radial_spectra(y[:1], x[:1]), radial_spectra(y[1:], x[1:])])
    assert torch.allclose(power_gains(parts), whole)
