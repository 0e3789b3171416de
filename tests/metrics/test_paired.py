"""Paired metrics: the 8-bit convention, parity with libraries, intervals over photographs."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio

from pellucid.errors import PellucidError
from pellucid.functional.bootstrap import bootstrap_interval, paired_difference
from pellucid.functional.ssim import ssim
from pellucid.functional.value_range import ValueRange
from pellucid.metrics import PairedImages, eight_bit_psnr

RUN = ValueRange(-1, 1)


def photographs(n=24, side=32, seed=0):
    """Smooth images with some texture, as model values in [−1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    x = x + 0.05 * torch.randn(x.shape, generator=generator)
    return RUN.from_unit(x.clamp(0, 1))


def noisy(x, sigma=0.1, seed=1):
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def measured(x_hat, x, **keywords):
    metric = PairedImages(keywords.pop("value_range", RUN))
    metric.update(x_hat, x, keywords.pop("groups", None))
    return metric.compute(**keywords)


def test_values_are_those_of_rounded_images():
    x = photographs()
    x_hat = noisy(x)
    metric = PairedImages(RUN)
    for start in range(0, 24, 10):
        metric.update(x_hat[start : start + 10], x[start : start + 10])
    a, b = (((t + 1) / 2).clamp(0, 1).mul(255).round() for t in (x_hat, x))
    psnr_N = [10 * math.log10(255**2 / (i - j).square().mean()) for i, j in zip(a, b, strict=True)]
    np.testing.assert_allclose(metric.per_image["psnr"], psnr_N, atol=1e-4)
    ssim_N = ssim(a, b, data_range=255.0).numpy()
    np.testing.assert_allclose(metric.per_image["ssim"], ssim_N, atol=1e-5)
    result = metric.compute()
    theirs = PeakSignalNoiseRatio(data_range=255.0, reduction="elementwise_mean", dim=(1, 2, 3))
    assert result["psnr"].value == pytest.approx(theirs(a, b).item(), abs=1e-4)
    assert result["ssim"].value == pytest.approx(ssim_N.mean(), abs=1e-5)


def test_every_range_and_uint8_give_the_same_numbers():
    x = photographs()
    x_hat = noisy(x)
    expected = measured(x_hat, x)
    for other in (ValueRange(0, 1), ValueRange(0, 255)):
        converted = [other.from_unit(RUN.to_unit(t)) for t in (x_hat, x)]
        result = measured(*converted, value_range=other)
        assert result["psnr"].value == pytest.approx(expected["psnr"].value, abs=0.01)
        assert result["ms_ssim"].value == pytest.approx(expected["ms_ssim"].value, abs=1e-4)
    as_bytes = measured(RUN.to_uint8(x_hat), RUN.to_uint8(x))
    assert as_bytes == expected


def test_what_the_range_cannot_show_is_clamped_away():
    x = torch.full((1, 3, 16, 16), 1.0)
    assert measured(x + 5, x)["psnr"].value == measured(x, x)["psnr"].value


def test_equal_images_are_perfect_and_finite():
    x = photographs()
    result = measured(x, x)
    assert result["psnr"].value == pytest.approx(10 * math.log10(12 * 255**2), abs=1e-4)
    assert result["psnr"].value == pytest.approx(58.92, abs=0.01)
    for name in ("ssim", "ms_ssim", "sharpness", "coherence", "detail"):
        assert result[name].value == pytest.approx(1, abs=1e-5)
    assert result["perceptual"].value == pytest.approx(0, abs=1e-5)


def test_flat_images_are_as_sharp_as_flat_images():
    result = measured(torch.zeros(4, 1, 16, 16), torch.full((4, 1, 16, 16), 0.2))
    assert result["sharpness"].value == pytest.approx(1, abs=1e-3)
    assert all(math.isfinite(metric.value) for metric in result.values())


def test_blur_and_noise_are_told_apart():
    x = photographs(side=64)
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    soft = measured(blurred, x)
    assert soft["sharpness"].value < 0.4
    grainy = measured(noisy(blurred, 0.1), x)
    assert grainy["sharpness"].value > 0.7
    assert grainy["coherence"].value < 0.4 < 0.8 < soft["coherence"].value
    # noise makes it sharper, and neither brings detail back nor looks better
    assert grainy["detail"].value == pytest.approx(soft["detail"].value, abs=0.05)
    assert grainy["perceptual"].value > soft["perceptual"].value


def test_some_images_can_be_measured_apart():
    x = photographs()
    both, half = PairedImages(RUN), PairedImages(RUN)
    both.update(torch.cat([noisy(x, 0.1), noisy(x, 0.3)]), torch.cat([x, x]))
    half.update(noisy(x, 0.3), x)
    rows = np.arange(2 * len(x)) >= len(x)
    for name, metric in both.compute(rows=rows).items():
        assert metric.value == pytest.approx(half.compute()[name].value)


def test_many_images_are_measured_as_few_at_a_time(monkeypatch):
    x = photographs()
    expected = measured(noisy(x), x)["perceptual"].value
    monkeypatch.setattr("pellucid.metrics.paired._AT_ONCE", 5 * x[0].numel())
    assert measured(noisy(x), x)["perceptual"].value == pytest.approx(expected)


def test_intervals_count_photographs_not_crops():
    x = photographs(40)
    groups = [f"photo-{i // 8}" for i in range(40)]
    sigma = torch.linspace(0.05, 0.4, 5).repeat_interleave(8)[:, None, None, None]
    x_hat = noisy(x, sigma)
    grouped, alone = measured(x_hat, x, groups=groups), measured(x_hat, x)
    assert (grouped["psnr"].n, alone["psnr"].n) == (5, 40)
    assert grouped["psnr"].value == alone["psnr"].value
    assert _width(grouped["psnr"]) > 1.5 * _width(alone["psnr"])
    for metric in grouped.values():
        assert metric.low <= metric.value <= metric.high


def _width(metric):
    return metric.high - metric.low


def test_intervals_are_those_of_the_bootstrap():
    x = photographs()
    metric = PairedImages(RUN)
    metric.update(noisy(x), x, torch.arange(24) // 3)
    expected = bootstrap_interval(metric.per_image["psnr"], metric.groups, seed=5)
    result = metric.compute(seed=5)["psnr"]
    assert (result.low, result.high, result.n) == (expected.low, expected.high, 8)


def test_two_runs_on_the_same_images_are_compared_in_pairs():
    x = photographs()
    better, worse = PairedImages(RUN), PairedImages(RUN)
    better.update(noisy(x, 0.1), x)
    worse.update(noisy(x, 0.11), x)
    gain = paired_difference(better.per_image["psnr"], worse.per_image["psnr"], better.groups)
    assert 0 < gain.low < 20 * math.log10(1.1) < gain.high + 0.1


def test_curves_are_plain_json():
    x = photographs(side=64)
    metric = PairedImages(RUN)
    metric.update(noisy(x, 0.2), x)
    curves = metric.spectrum_json()
    assert set(curves) == {"frequency", "ratio", "coherence", "water_filling"}
    assert all(len(curve) == 16 for curve in curves.values())
    assert curves["coherence"][1] > 0.9 > curves["coherence"][12]
    assert curves["ratio"][12] > 1.2
    flat = PairedImages(RUN)
    flat.update(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
    assert set(flat.spectrum_json()["ratio"]) == {None}


def test_sizes_may_differ_between_batches():
    metric = PairedImages(RUN)
    for side in (64, 28):
        x = photographs(4, side)
        metric.update(noisy(x), x)
    result = metric.compute()
    assert result["ms_ssim"].n == 8
    assert "2 or 3 of 5 scales" in result["ms_ssim"].convention


def test_conventions_are_in_words():
    x = photographs(4)
    result = measured(x, x)
    assert result["psnr"].unit == "dB"
    assert all("×255, rounded" in metric.convention for metric in result.values())
    assert "11 px σ 1.5" in result["ssim"].convention


def test_bad_pairs_are_refused():
    metric = PairedImages(RUN)
    x = photographs(2)
    with pytest.raises(PellucidError, match="differ in shape"):
        metric.update(x[:1], x)
    with pytest.raises(PellucidError, match="reconstructions hold NaN"):
        metric.update(x * math.nan, x)
    with pytest.raises(PellucidError, match="at least 11×11"):
        metric.update(x[..., :8], x[..., :8])
    with pytest.raises(PellucidError, match="one group per sample"):
        metric.update(x, x, ["a"])
    with pytest.raises(PellucidError, match="no image was measured"):
        metric.compute()


def test_psnr_alone_agrees():
    x = photographs()
    x_hat = noisy(x)
    metric = PairedImages(RUN)
    metric.update(x_hat, x)
    np.testing.assert_allclose(
        eight_bit_psnr(x_hat, x, RUN).numpy(), metric.per_image["psnr"], rtol=1e-6
    )
