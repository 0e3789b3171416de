"""Focal frequency loss against a plain full-transform loop and two closed forms."""

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.focal_frequency import focal_frequency, focal_weights


def plain_focal_frequency(y, x, alpha):
    """Jiang et al. 2021, equations 5–8, image by image with the full transform."""
    losses = []
    for image, original in zip(y, x, strict=True):
        per_channel = []
        for a, b in zip(image, original, strict=True):
            fa, fb = torch.fft.fft2(a, norm="ortho"), torch.fft.fft2(b, norm="ortho")
            distance = torch.sqrt((fa.real - fb.real) ** 2 + (fa.imag - fb.imag) ** 2)
            weight = distance**alpha
            weight = (weight / weight.max()).nan_to_num(0)
            per_channel.append((weight * distance**2).mean())
        losses.append(torch.stack(per_channel).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 1, 15, 17), (1, 2, 9, 12)])
def test_matches_the_plain_version(alpha, shape):
    x, y = torch.rand(shape), torch.rand(shape)
    torch.testing.assert_close(
        focal_frequency(y, x, alpha=alpha), plain_focal_frequency(y, x, alpha)
    )


def test_alpha_zero_is_the_squared_error():
    x, y = torch.rand(3, 2, 13, 16), torch.rand(3, 2, 13, 16)
    expected = (y - x).square().flatten(1).mean(1)
    torch.testing.assert_close(focal_frequency(y, x, alpha=0.0), expected)


def test_a_single_frequency_has_weight_one():
    i = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * 5 * i / 32).expand(1, 1, 32, 32)
    x = torch.zeros_like(wave)
    torch.testing.assert_close(focal_frequency(wave, x, alpha=1.0)[0], wave.square().mean())


def test_weights_are_held_constant_in_the_gradient():
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    y = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(focal_frequency(y, x).sum(), y)
    spectrum = torch.fft.fft2(y.detach() - x, norm="ortho")
    weight = focal_weights(spectrum.abs().square(), 1.0)
    expected = 2 * torch.fft.ifft2(weight * spectrum, norm="ortho").real / 64
    torch.testing.assert_close(gradient, expected)


def test_sequences_are_refused():
    with pytest.raises(PellucidError, match="images are needed"):
        focal_frequency(torch.rand(2, 1, 100), torch.rand(2, 1, 100))
