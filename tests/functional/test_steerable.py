"""The steerable distance: what it ranks, what it is blind to, and its slow plain version.

Shape letters: B batch, C channels, H height, W width.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from pellucid.errors import PellucidError
from pellucid.functional.steerable import quadrature_pairs, scales_that_fit, steerable_distance


def photograph(size=64, seed=0):
    """A coloured image with the 1/f spectrum of photographs, and edges."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(1, 3, size, size, generator=generator)
    f = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)).clamp_min(1 / size)
    x = torch.fft.irfft2(torch.fft.rfft2(white) / f, s=(size, size))
    x = x / x.std() * 0.15 + 0.5
    x[..., size // 3 : size // 2, size // 4 : -size // 4] += 0.3
    return x.clamp(0, 1)


def blurred(x, sigma):
    axis = torch.arange(-12, 13).float()
    taps = torch.exp(-(axis**2) / (2 * sigma**2))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    padded = F.pad(x, (12,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(x.shape[1], 1, 25, 25), groups=x.shape[1])


def noisy(x, sigma):
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("worse", [noisy, blurred])
def test_rises_with_every_step_of_noise_and_blur(worse):
    x = photograph()
    levels = (0.02, 0.05, 0.1, 0.2) if worse is noisy else (0.5, 1.0, 2.0, 4.0)
    values = [0.0, *(float(steerable_distance(worse(x, level), x)) for level in levels)]
    assert values == sorted(values)
    assert 0.05 < values[-1] < 1


def test_judges_blur_worse_than_noise_of_the_same_squared_error():
    """Deep-feature distances do, people too; squared error cannot tell them apart."""
    x = photograph()
    soft = blurred(x, 2.0)
    error = (soft - x).square().mean().sqrt()
    assert steerable_distance(soft, x) > 1.3 * steerable_distance(noisy(x, error), x)


def test_a_small_shift_costs_far_less_than_noise_of_the_same_squared_error():
    x = photograph()
    shifted = x.roll(1, -1)
    error = (shifted - x).square().mean().sqrt()
    assert steerable_distance(shifted, x) < 0.5 * steerable_distance(noisy(x, error), x)


def test_is_blind_to_an_offset():
    x = photograph()
    assert steerable_distance(x + 0.2, x).item() == pytest.approx(0, abs=1e-4)


def test_other_texture_of_the_same_strength_is_nearer_than_none():
    generator = torch.Generator().manual_seed(3)
    one, other = 0.5 + 0.2 * torch.randn(2, 1, 1, 64, 64, generator=generator)
    flat = torch.full_like(one, 0.5)
    assert steerable_distance(other, one) < 0.7 * steerable_distance(flat, one)
    fooled, sober = (steerable_distance(other, one, strength=share) for share in (1.0, 0.0))
    assert fooled < 0.3 * sober  # structure tells them apart


def test_filters_are_quadrature_pairs():
    pairs = quadrature_pairs(4)
    assert pairs.sum((1, 2)).abs().max() < 1e-12  # no answer to a constant
    axis = torch.arange(9).double() - 4
    for phase in (0.0, 0.7, 2.0):
        grating = torch.cos(axis * 2 * math.pi / 4 + phase).expand(9, 9)
        even, odd = (pairs[k] * grating for k in (0, 4))
        assert math.hypot(even.sum(), odd.sum()) == pytest.approx(1, abs=0.05)


def test_equals_a_plain_loop_at_one_scale():
    x = photograph(16)[:, :1].double()
    y = noisy(x, 0.1)
    bank = quadrature_pairs(2)
    c, values = 0.02**2, []
    grids = []
    for image in (y, x):
        padded = F.pad(image, (4,) * 4, mode="reflect")[0, 0]
        grids.append(
            torch.stack(
                [
                    torch.stack(
                        [(padded[i : i + 9, j : j + 9] * bank).sum((1, 2)) for j in range(0, 16, 2)]
                    )
                    for i in range(0, 16, 2)
                ]
            )
        )
    for k in range(2):
        z_hat, z = (torch.complex(grid[..., k], grid[..., k + 2]) for grid in grids)
        for i in range(0, 8, 2):
            for j in range(0, 8, 2):
                near = (slice(max(0, i - 2), i + 3), slice(max(0, j - 2), j + 3))
                a, b = z_hat[near], z[near]
                ea, eb = a.abs().square().mean(), b.abs().square().mean()
                alike = (a.conj() * b).mean().abs() + (ea * eb).sqrt()
                values.append(1 - (alike + c) / (ea + eb + c))
    found = steerable_distance(y, x, scales=1, orientations=2)
    torch.testing.assert_close(found[0], torch.stack(values).mean(), atol=1e-7, rtol=1e-6)


def test_grey_images_are_measured_alike_in_one_channel_or_three():
    x = photograph().mean(1, keepdim=True)
    y = noisy(x, 0.1)
    three = steerable_distance(y.expand(-1, 3, -1, -1), x.expand(-1, 3, -1, -1), scales=1)
    torch.testing.assert_close(three, steerable_distance(y, x, scales=1))


@pytest.mark.parametrize(("side", "scales"), [(8, 1), (15, 1), (16, 2), (64, 4), (512, 4)])
def test_as_many_scales_as_fit(side, scales):
    assert scales_that_fit(side, 2 * side) == scales


def test_images_below_eight_pixels_are_refused():
    with pytest.raises(PellucidError, match="too small"):
        steerable_distance(torch.rand(1, 3, 7, 9), torch.rand(1, 3, 7, 9))
