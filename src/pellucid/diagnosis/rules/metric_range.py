"""metric-range: the user's PSNR or SSIM assumes another value range than the data have."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding

SIGMA = 0.05
"""Noise added for the test, as a share of the value range."""


def missing(case: Case) -> str | None:
    """Metric functions called psnr or ssim."""
    names = [n for n in case.subject.metrics if _kind(n)]
    return None if names else 'Subject.metrics with a "psnr" or "ssim" function'


def examine(case: Case) -> Finding | None:
    """Compare each metric of x + known noise with its closed form (PSNR) or definition (SSIM)."""
    low, high = case.subject.value_range
    x = _off_the_rails(case.x[:32], low, high)
    generator = torch.Generator().manual_seed(0)
    noisy = x + SIGMA * (high - low) * torch.randn(x.shape, generator=generator)
    worst: Finding | None = None
    for name, metric in case.subject.metrics.items():
        kind = _kind(name)
        if kind is None:
            continue
        found = float(
            torch.as_tensor(metric(case.runner.to_model(x), case.runner.to_model(noisy))).mean()
        )
        expected = -20 * math.log10(SIGMA) if kind == "psnr" else ssim(x, noisy, high - low)
        unit = "dB" if kind == "psnr" else "1"
        confidence = case.threshold(f"metric-range.{kind}").confidence(abs(found - expected))
        if confidence < 0.1 or (worst is not None and worst.confidence >= confidence):
            continue
        worst = Finding(
            id="metric-range",
            confidence=confidence,
            severity=abs(found - expected),
            severity_unit=unit,
            summary=f"'{name}' says {found:.4g} where noise of {SIGMA:g} of the range "
            f"[{low:g}, {high:g}] gives {expected:.4g}",
            evidence=(Evidence(f"{name} of x + noise", found, unit, f"{expected:.4g}"),),
            treatment=f"pass the data range explicitly (data_range={high - low:g}) or convert both "
            "images to one range before scoring",
            expects=(f"'{name}' moves by {expected - found:+.3g} {unit}",),
        )
    return worst


def _off_the_rails(x_NCHW: Tensor, low: float, high: float) -> Tensor:
    """Halve the contrast about the middle: a metric that clamps must not swallow the noise."""
    middle = (low + high) / 2
    return middle + 0.5 * (x_NCHW.clamp(low, high) - middle)


def _kind(name: str) -> str | None:
    lower = name.lower()
    if "psnr" in lower:
        return "psnr"
    return "ssim" if "ssim" in lower and "ms" not in lower else None


def ssim(x_NCHW: Tensor, y_NCHW: Tensor, data_range: float, window: int = 7) -> float:
    """Return the mean structural similarity, uniform window (Wang et al. 2004, section III.B).

    A coarse reference: implementations differ by window and border, not by the range they assume.
    """

    def mean(t: Tensor) -> Tensor:
        size = min(window, *t.shape[-2:])
        return torch.nn.functional.avg_pool2d(t, size, 1)

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = mean(x_NCHW), mean(y_NCHW)
    vx, vy = mean(x_NCHW**2) - mx**2, mean(y_NCHW**2) - my**2
    cov = mean(x_NCHW * y_NCHW) - mx * my
    ratio = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(ratio.mean())
