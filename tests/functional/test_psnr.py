"""PSNR: closed form on known noise, per image, explicit range."""

import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from pellucid.errors import PellucidError
from pellucid.functional.psnr import psnr


def test_known_error_gives_the_closed_form():
    x = torch.rand(3, 3, 16, 16)
    for error in (0.1, 0.02):
        expected = -20 * math.log10(error)
        torch.testing.assert_close(
            psnr(x + error, x, data_range=1.0), torch.full((3,), expected), atol=1e-3, rtol=0
        )


def test_gaussian_noise_gives_its_standard_deviation():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, 128, 128, generator=generator)
    noise = 0.05 * torch.randn(x.shape, generator=generator)
    measured = psnr(x + noise, x, data_range=1.0)
    assert (measured - -20 * math.log10(0.05)).abs().max() < 0.1


def test_twice_the_range_is_six_decibels():
    x, y = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    gain = psnr(y, x, data_range=2.0) - psnr(y, x, data_range=1.0)
    torch.testing.assert_close(gain, torch.full((2,), 20 * math.log10(2)), atol=1e-4, rtol=0)


def test_matches_torchmetrics_image_by_image():
    x, y = torch.rand(5, 3, 16, 16), torch.rand(5, 3, 16, 16)
    theirs = torch.stack(
        [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in zip(x, y, strict=True)]
    )
    torch.testing.assert_close(psnr(y, x, data_range=1.0), theirs)


def test_equal_images_are_infinite_unless_a_floor_is_given():
    x = torch.rand(1, 1, 8, 8)
    assert psnr(x, x, data_range=1.0).isinf().all()
    assert psnr(x, x, data_range=1.0, smallest_error=1e-4).item() == pytest.approx(40)


def test_half_precision_is_raised_before_squaring():
    x = torch.rand(2, 1, 8, 8)
    y = x + 0.25
    with torch.autocast("cpu", dtype=torch.bfloat16):
        measured = psnr(y, x, data_range=1.0)
    assert measured.dtype == torch.float32
    torch.testing.assert_close(measured, psnr(y, x, data_range=1.0))


def test_broadcasting_shapes_are_refused():
    with pytest.raises(PellucidError, match="differ in shape"):
        psnr(torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8), data_range=1.0)
