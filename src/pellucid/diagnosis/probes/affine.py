"""The best affine map from x_hat to x: fitted on one half of the samples, judged on the other."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, decibels, per_sample
from pellucid.diagnosis.probes.weight import decoded_samples


@dataclasses.dataclass(frozen=True)
class AffineRefit:
    """x ≈ gain·x_hat + offset.

    Args:
        gain, offset: over all elements.
        win_db: dB the map wins on samples it was not fitted on.
        low, high: 95 % interval of `win_db` (bootstrap over samples).
        correlation: between x_hat and x about their own means.
        fvu_after: error after the map / R1.
        channel_offsets: (C,) mean of x − x_hat per channel.
    """

    gain: float
    offset: float
    win_db: float
    low: float
    high: float
    correlation: float
    fvu_after: float
    channel_offsets: Tensor


def affine_refit(case: Case) -> AffineRefit:
    """Refit decode(encode(x)) on the samples everything is measured on."""
    return _refit(case, case.x, case.x_hat)


def trained_refit(case: Case) -> AffineRefit:
    """Refit decode(sample of the posterior) on training samples: what training calibrates.

    Wrong units show here too. What shows only on held-out samples is a shift between the sets, and
    what shows only for decode(mean) is the rate: the linear VAE's mean is shrunk by (1 − θ/λ).
    """
    x = case.fit[:: max(1, len(case.fit) // len(case.x))][: len(case.x)]
    return _refit(case, x, decoded_samples(case, x))


def _refit(case: Case, x: Tensor, x_hat: Tensor) -> AffineRefit:
    """Fit on even samples, apply to odd ones."""
    gain, offset = fit_affine(x_hat[::2], x[::2])
    held_x, held_hat = x[1::2], x_hat[1::2]
    before = per_sample(held_hat - held_x)
    after = per_sample(gain * held_hat + offset - held_x)
    low, high = bootstrap_db(before, after)
    return AffineRefit(
        gain=gain,
        offset=offset,
        win_db=decibels(float(before.mean() / after.mean().clamp_min(1e-20))),
        low=low,
        high=high,
        correlation=correlation(x_hat, x),
        fvu_after=float(after.mean()) / case.variance,
        channel_offsets=(x - x_hat).transpose(0, 1).flatten(1).double().mean(1),
    )


def fit_affine(x_hat: Tensor, x: Tensor) -> tuple[float, float]:
    """Return (gain, offset) that minimise E(gain·x_hat + offset − x)²."""
    a, b = x_hat.double(), x.double()
    spread = float(a.var())
    gain = float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 1e-12 else 0.0
    return gain, float(b.mean() - gain * a.mean())


def correlation(a: Tensor, b: Tensor) -> float:
    """Return Pearson's correlation over all elements (0 when one is constant)."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    norm = float(a.square().mean().sqrt() * b.square().mean().sqrt())
    return float((a * b).mean()) / norm if norm > 1e-12 else 0.0


def bootstrap_db(before_N: Tensor, after_N: Tensor, draws: int = 200) -> tuple[float, float]:
    """Return the 95 % interval of 10·log10(mean before / mean after) over paired samples."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(len(before_N), (draws, len(before_N)), generator=generator)
    ratio = before_N[index].mean(1) / after_N[index].mean(1).clamp_min(1e-20)
    db = 10 * ratio.clamp_min(1e-20).log10()
    return float(db.quantile(0.025)), float(db.quantile(0.975))
