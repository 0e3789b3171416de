"""checkerboard: the upsampler's stride is printed on the output, even where the input is flat."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding


def missing(case: Case) -> str | None:
    """Images with a stride that shows."""
    if case.x.ndim != 4:
        return "images or stacks (B, C, H, W)"
    return None if _period(case) else "a spatial latent with a stride of 2 or more"


def _period(case: Case) -> int | None:
    stride = case.stride
    if stride is None or stride < 2 or min(case.x.shape[-2:]) < 4 * stride:
        return None
    return stride


def examine(case: Case) -> Finding | None:
    """Assert energy of the error pattern that repeats with the stride, beyond the input's own.

    The part of (x̂ − x) that depends only on the position modulo the stride, away from borders.
    """
    period = _period(case)
    assert period is not None
    own = printed(case.x_hat - case.x, period)
    flat_energy, flat_scale = _constant_input(case, period)
    data = float(case.x.double().var())
    share = own / max(case.mse, 1e-20)
    confidence = min(
        case.threshold("checkerboard.share").confidence(share),
        case.threshold("checkerboard.energy").confidence(own / data),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="checkerboard",
        confidence=confidence,
        severity=share,
        severity_unit="share of the error",
        summary=f"{share:.0%} of the error repeats every {period} pixels, the model's stride",
        evidence=(
            Evidence("error that repeats with the stride / all error", share, "1", "about 0"),
            Evidence("the same / variance of the data", own / data, "1", "about 0"),
            Evidence(
                "pattern for a constant input / its level",
                flat_energy / max(flat_scale, 1e-12),
                "1",
                "about 0",
            ),
        ),
        treatment="upsample by resize + convolution, or give transposed convolutions a kernel "
        "that is "
        "a multiple of their stride",
        expects=("the pattern's share falls to 0",),
    )


def printed(error_NCHW: Tensor, period: int) -> float:
    """Return the energy of the mean pattern over positions modulo the period."""
    height, width = (s // period * period for s in error_NCHW.shape[-2:])
    e = error_NCHW[..., period : height - period, period : width - period].double()
    tiles = e.unflatten(-2, (-1, period)).unflatten(-1, (-1, period))
    pattern = tiles.mean((0, 2, 4))  # (C, period, period)
    pattern = pattern - pattern.mean((1, 2), keepdim=True)
    return float(pattern.square().mean())


def _constant_input(case: Case, period: int) -> tuple[float, float]:
    """Return (pattern RMS, level) of the answer to constant inputs."""
    levels = torch.linspace(0.2, 0.8, 4)
    low, high = float(case.x.min()), float(case.x.max())
    x = (low + (high - low) * levels).view(-1, 1, 1, 1).expand(4, *case.x.shape[1:]).contiguous()
    answer = case.runner.roundtrip(x)[1]
    return printed(answer - x, period) ** 0.5, high - low
