"""Radial spectra: Parseval, known filters, coherence of noise."""

import math

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.spectrum import (
    one_sided_multiplicity,
    radial_spectra,
    windowed_fft,
)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hann(n):
    return torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1]


def wave(frequency, side=64, angle=0.3):
    i = torch.arange(side, dtype=torch.float64)
    phase = math.cos(angle) * i[:, None] + math.sin(angle) * i
    return torch.cos(2 * math.pi * frequency * phase)[None, None]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 24), (24, 17)])
def test_parseval(height, width):
    x = noise(2, 3, height, width)
    power = windowed_fft(x).abs().square() * one_sided_multiplicity(width, like=x)
    window = torch.outer(hann(height), hann(width))
    centred = x - x.mean((-2, -1), keepdim=True)
    energy = ((centred * window) ** 2).sum((-2, -1)) / window.square().sum()
    torch.testing.assert_close(power.sum((-2, -1)), energy)


def test_rings_keep_the_power_of_a_band_limited_image():
    x = wave(0.21) + wave(0.4, angle=1.2)
    total = radial_spectra(x, x).power.sum()
    energy = windowed_fft(x).abs().square() * one_sided_multiplicity(64, like=x)
    assert total.item() == pytest.approx(energy.sum().item(), rel=1e-3)


@pytest.mark.parametrize("frequency", [0.08, 0.2, 0.42])
def test_a_wave_lands_in_its_ring(frequency):
    x = wave(frequency)
    spectra = radial_spectra(x, x)
    top = spectra.frequency[spectra.power[0].argmax()].item()
    assert abs(top - frequency) <= 0.5 / 16


def test_white_noise_fills_rings_by_their_area():
    x = noise(64, 1, 64, 64)
    power = radial_spectra(x, x).power.mean(0)
    edges = torch.arange(17, dtype=torch.float64) / 32
    area = math.pi * (edges[1:] ** 2 - edges[:-1] ** 2)
    torch.testing.assert_close(power[2:], area[2:], rtol=0.08, atol=0)


def test_a_gain_shows_as_its_square_with_full_coherence():
    x = noise(2, 3, 32, 32)
    spectra = radial_spectra(0.5 * x + 0.1, x)
    torch.testing.assert_close(spectra.ratio, torch.full_like(spectra.ratio, 0.25))
    torch.testing.assert_close(spectra.coherence, torch.ones_like(spectra.coherence))


def test_blur_lowers_the_ratio_where_it_should():
    x = noise(8, 1, 66, 66)
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1)
    spectra = radial_spectra(blurred, x[..., 1:-1, 1:-1]).total()
    ratio = spectra.ratio[0]
    assert ratio[1] > 0.8
    assert (ratio[1:7].diff() < 0).all()
    assert spectra.band().ratio.item() < 0.35


def test_added_noise_raises_power_but_not_coherence():
    x, other = noise(64, 1, 64, 64), noise(64, 1, 64, 64, seed=1)
    replaced = radial_spectra(other, x).total().band()
    assert replaced.ratio.item() == pytest.approx(1, abs=0.05)
    assert replaced.coherence.item() < 0.01
    mixed = radial_spectra(x + other, x).total().band()
    assert mixed.ratio.item() == pytest.approx(2, abs=0.1)
    assert mixed.coherence.item() == pytest.approx(0.5, abs=0.05)


def test_the_linear_optimum_lies_on_the_water_filling_curve():
    # Backward channel: x = x̂ + e with e independent of x̂, so S = P̂ + D and P̂/S = 1 − D/S.
    x_hat, error = noise(256, 1, 64, 64), 0.5 * noise(256, 1, 64, 64, seed=1)
    spectra = radial_spectra(x_hat, x_hat + error).total()
    expected = torch.full((14,), 1 / 1.25, dtype=torch.float64)
    for curve in (spectra.ratio, spectra.water_filling):
        torch.testing.assert_close(curve[0, 2:], expected, atol=0.04, rtol=0)


def test_a_band_is_the_sum_of_its_rings_and_batches_join():
    x, y = noise(4, 2, 32, 32), noise(4, 2, 32, 32, seed=1)
    spectra = radial_spectra(y, x)
    torch.testing.assert_close(spectra.band().power[:, 0], spectra.power[:, 6:10].sum(1))
    joined = type(spectra).cat([radial_spectra(y[:1], x[:1]), radial_spectra(y[1:], x[1:])])
    torch.testing.assert_close(joined.cross, spectra.cross)
    torch.testing.assert_close(joined.total().cross, spectra.total().cross)


def test_too_small_images_are_refused():
    with pytest.raises(PellucidError, match="at least 8×8"):
        radial_spectra(torch.rand(1, 1, 7, 9), torch.rand(1, 1, 7, 9))


def test_noise_raises_the_ratio_but_brings_no_gain():
    x = wave(0.2) + 0.3 * noise(1, 1, 64, 64)
    soft = 0.5 * x
    grainy = soft + 0.5 * noise(1, 1, 64, 64, seed=1)
    found = [radial_spectra(y, x).band() for y in (x, soft, grainy)]
    gains = [float(spectra.gain) for spectra in found]
    assert gains[:2] == pytest.approx([1, 0.5])
    assert gains[2] == pytest.approx(0.5, abs=0.05)
    assert float(found[2].ratio) > 1.3 * float(found[1].ratio)
    for spectra in found:
        torch.testing.assert_close(spectra.ratio * spectra.coherence, spectra.gain.square())
