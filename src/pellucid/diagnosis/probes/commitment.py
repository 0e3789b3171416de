"""How far latents stand from their codes, now and after a few more training steps.

Shape letters: M latent vectors, d channels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, set_mode
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.training import own_step, parameters, train_for
from pellucid.records import Latent

_PARTS, _STEPS, _ENOUGH, _COUNT = 4, 40, 20, 128


@dataclasses.dataclass(frozen=True)
class Commitment:
    """Distances over a fork.

    Args:
        distance: E‖z − q(z)‖²/Var(z) at the start and after each part of the fork.
        rms: RMS(z) at the same times.
        steps: training steps in all (0 without a fork).
    """

    distance: tuple[float, ...]
    rms: tuple[float, ...]
    steps: int

    @property
    def rms_growth(self) -> float:
        """Relative growth of RMS(z) over the fork."""
        return self.rms[-1] / max(self.rms[0], 1e-20) - 1

    @property
    def steady(self) -> bool:
        """Whether it grew in most parts: a drift, not a jitter."""
        rises = sum(b > a for a, b in zip(self.rms, self.rms[1:], strict=False))
        return rises >= len(self.rms) - 2 and len(self.rms) > 1


def commitment(case: Case) -> Commitment | None:
    """Measure held samples along a fork of the user's own training; None without codes."""
    if not comparable(case):
        return None
    start = _distance(case.latent)
    step = own_step(case)
    if step is None or not case.subject.trainable or not parameters(case):
        return Commitment((start[0],), (start[1],), 0)
    clock = Clock(min(5.0, 0.08 * case.clock.budget_seconds, case.clock.left / 2))
    x, taken = case.x[:_COUNT], 0
    with case.training_mode():
        set_mode(case.reachable.roots, training=False)
        places = [_distance(case.runner.encode(x))]
        for _ in range(_PARTS):
            set_mode(case.reachable.roots, training=True)
            taken += train_for(case, step, clock, _STEPS)
            set_mode(case.reachable.roots, training=False)
            places.append(_distance(case.runner.encode(x)))
            if clock.out:
                break
    if taken < _ENOUGH:
        return Commitment((start[0],), (start[1],), 0)
    return Commitment(tuple(d for d, _ in places), tuple(r for _, r in places), taken)


def lag(case: Case) -> float:
    """Return E‖m_k − q_k‖² / Var(z): how far codes lie from the middle of their own latents.

    m_k and q_k are the means of the latents that share a (first-level) code, before and after the
    quantiser. A collapsed codebook is coarse, but its codes stand in the middle of what they serve.
    Codes that latents have left behind do not. Behind a projection there is no such middle: 0.
    """
    latent = case.latent
    assert latent.quantized is not None
    z, q = (t.double().movedim(1, -1).flatten(0, -2) for t in (latent.mean, latent.quantized))
    spread = (z - z.mean(0)).square().mean().clamp_min(1e-20)
    if not _one_space(z, q):
        return 0.0
    index = _first_code(latent, len(z))
    if index is None:
        _, index = q.round(decimals=4).unique(dim=0, return_inverse=True)
    counts = torch.bincount(index).clamp_min(1)[:, None]
    middle = torch.zeros(len(counts), z.shape[1], dtype=z.dtype).index_add_(0, index, z - q)
    middle /= counts
    alone = counts[index, 0] < 2  # a latent with a code to itself is its own middle
    return float(middle[index].square().mean(1).masked_fill(alone, 0.0).mean() / spread)


def _one_space(z_Md: Tensor, q_Md: Tensor) -> bool:
    """Say whether q is z by and large, not z turned by a projection.

    One gain for all channels must explain at least half of what a full linear map of q explains.
    """
    z, q = z_Md - z_Md.mean(0), q_Md - q_Md.mean(0)
    power = z.square().sum().clamp_min(1e-20)
    by_gain = (z * q).sum().clamp_min(0).square() / q.square().sum().clamp_min(1e-20) / power
    fitted = q @ torch.linalg.lstsq(q, z, driver="gelsd").solution
    return bool(by_gain >= 0.5 * fitted.square().sum() / power)


def _first_code(latent: Latent, vectors: int) -> Tensor | None:
    """Return (M,) the first-level code of every latent vector; None when codes do not align.

    Few latents share all levels of a residual quantiser, so that each would be its own middle.
    """
    codes = latent.codes
    assert codes is not None
    flat = codes.reshape(-1) if codes.ndim == latent.mean.ndim - 1 else None
    if flat is None and codes.ndim == latent.mean.ndim:
        flat = codes[..., 0].reshape(-1)
    if flat is None or len(flat) != vectors:
        return None
    return flat.unique(return_inverse=True)[1]


def comparable(case: Case) -> bool:
    """Say whether there are codes, and latents before and after them in one space."""
    latent = case.latent
    return (
        latent.quantized is not None
        and latent.quantized.shape == latent.mean.shape
        and latent.codes is not None
        and not torch.equal(latent.quantized, latent.mean)
    )


def _distance(latent: Latent) -> tuple[float, float]:
    """Return (E‖z − q(z)‖²/Var(z), RMS(z))."""
    assert latent.quantized is not None
    z = latent.mean.double().transpose(0, 1).flatten(1)
    q = latent.quantized.double().transpose(0, 1).flatten(1)
    spread = (z - z.mean(1, keepdim=True)).square().mean().clamp_min(1e-20)
    return float((z - q).square().mean() / spread), float(z.square().mean().sqrt())
