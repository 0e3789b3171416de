"""SSIM and MS-SSIM against two libraries, a plain double loop, and their own laws."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from pellucid.errors import PellucidError
from pellucid.functional.ssim import SCALE_WEIGHTS, ms_ssim, scales_that_fit, ssim


def pair(*shape, noise=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(shape[0], shape[1], 8, 8, generator=generator)
    x = torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)
    return (x + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1), x


def plain_ssim(y, x, data_range):
    """SSIM of one channel as the paper writes it: every window, weighted moments."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            cov = (weights * (a - ma) * (b - mb)).sum()
            values.append(
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            )
    return np.mean(values)


@pytest.mark.parametrize("data_range", [1.0, 2.0, 255.0])
def test_matches_the_plain_version(data_range):
    y, x = pair(1, 1, 17, 21)
    expected = plain_ssim(
        data_range * y[0, 0].double().numpy(), data_range * x[0, 0].double().numpy(), data_range
    )
    measured = ssim(data_range * y, data_range * x, data_range=data_range)
    assert measured.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 64, 64), (2, 1, 28, 28), (2, 5, 33, 47)])
def test_matches_skimage_and_torchmetrics(shape):
    y, x = pair(*shape)
    measured = ssim(y, x, data_range=1.0)
    skimage = [
        structural_similarity(
            a.numpy(),
            b.numpy(),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x.double(), y.double(), strict=True)
    ]
    np.testing.assert_allclose(measured.numpy(), skimage, atol=1e-5)
    torch.testing.assert_close(measured, torchmetrics_valid_ssim(y, x), atol=1e-5, rtol=0)


def torchmetrics_valid_ssim(y, x):
    """Average torchmetrics' map over valid positions (it averages over mirrored borders too)."""
    _, full = structural_similarity_index_measure(y, x, data_range=1.0, return_full_image=True)
    return full[..., 5:-5, 5:-5].flatten(1).mean(1)


@pytest.mark.parametrize(("side", "scales"), [(64, 3), (96, 4), (176, 5), (200, 5)])
def test_ms_ssim_matches_torchmetrics_scale_by_scale(side, scales):
    y, x = pair(2, 3, side, side, noise=0.2)
    measured = ms_ssim(y, x, data_range=1.0)
    total = sum(SCALE_WEIGHTS[:scales])
    expected = torch.ones(2)
    for scale, weight in enumerate(SCALE_WEIGHTS[:scales]):
        a, b = (torch.nn.functional.avg_pool2d(image, 2**scale) for image in (y, x))
        _, contrast = structural_similarity_index_measure(
            a, b, data_range=1.0, return_contrast_sensitivity=True, reduction="none"
        )
        last = scale == scales - 1
        similarity = torchmetrics_valid_ssim(a, b) if last else contrast
        expected *= similarity ** (weight / total)
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=0)


def test_ms_ssim_is_near_torchmetrics_which_mirrors_the_coarsest_border():
    y, x = pair(2, 3, 256, 256, noise=0.2)
    theirs = multiscale_structural_similarity_index_measure(
        y, x, data_range=1.0, reduction="none", normalize="relu"
    )
    torch.testing.assert_close(ms_ssim(y, x, data_range=1.0), theirs, atol=5e-3, rtol=0)


def test_one_scale_is_plain_ssim():
    y, x = pair(3, 3, 40, 40)
    one_scale = ms_ssim(y, x, data_range=1.0, scales=1)
    torch.testing.assert_close(one_scale, ssim(y, x, data_range=1.0))


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (28, 2), (32, 2), (64, 3), (128, 4), (175, 4), (176, 5)]
)
def test_scales_that_fit(side, scales):
    assert scales_that_fit(side, side + 3) == scales


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_equal_images_give_one_and_swapping_changes_nothing(measure):
    y, x = pair(2, 3, 32, 32)
    assert torch.equal(measure(x, x, data_range=1.0), torch.ones(2))
    flat = torch.full((1, 1, 16, 16), 0.3)
    assert measure(flat, flat, data_range=1.0).item() == 1
    torch.testing.assert_close(measure(x, y, data_range=1.0), measure(y, x, data_range=1.0))
    assert (measure(y, x, data_range=1.0) < 1).all()


def test_constant_images_give_the_luminance_closed_form():
    a, b, c1 = 0.2, 0.7, 0.01**2
    measured = ssim(torch.full((1, 1, 16, 16), a), torch.full((1, 1, 16, 16), b), data_range=1.0)
    assert measured.item() == pytest.approx((2 * a * b + c1) / (a**2 + b**2 + c1), abs=1e-4)


def test_each_image_is_measured_alone():
    y, x = pair(4, 3, 24, 24)
    together = ssim(y, x, data_range=1.0)
    alone = torch.cat([ssim(y[i : i + 1], x[i : i + 1], data_range=1.0) for i in range(4)])
    torch.testing.assert_close(together, alone)


def test_autocast_does_not_reach_the_moments():
    y, x = pair(2, 3, 32, 32, noise=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssim(y, x, data_range=1.0)
    assert torch.equal(inside, ssim(y, x, data_range=1.0))


def test_negative_similarity_counts_as_zero_or_as_the_floor():
    x = torch.rand(1, 1, 32, 32)
    assert ms_ssim(1 - x, x, data_range=1.0).item() == 0
    floored = ms_ssim(1 - x, x, data_range=1.0, floor=0.01).item()
    assert floored == pytest.approx(0.01, rel=0.2)
    assert math.isfinite(floored)


def test_bad_sizes_are_refused():
    small = torch.rand(1, 1, 10, 40)
    with pytest.raises(PellucidError, match="at least 11×11"):
        ssim(small, small, data_range=1.0)
    images = torch.rand(1, 1, 64, 64)
    with pytest.raises(PellucidError, match="1 to 3 for 64×64"):
        ms_ssim(images, images, data_range=1.0, scales=5)
    with pytest.raises(PellucidError, match=r"expected: \(B, C, H, W\)"):
        ssim(images[0], images[0], data_range=1.0)
    with pytest.raises(PellucidError, match="odd"):
        ssim(images, images, data_range=1.0, window=10)
