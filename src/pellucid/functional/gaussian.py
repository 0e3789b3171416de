"""The diagonal Gaussian posterior: KL to N(0, I) in nats, free nats, capacity, sampling.

Shape letters: B batch, C channels, P positions (any number of axes).
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_nats(mean_BCP: Tensor, logvar_BCP: Tensor) -> Tensor:
    """Return KL(N(μ, σ²) ‖ N(0, 1)) of every element in nats, same shape as the mean.

    ½(μ² + σ² − 1 − ln σ²); sum over dimensions and average over the batch for "nats per sample".
    (Kingma & Welling 2013, appendix B.)
    """
    return 0.5 * (mean_BCP.square() + logvar_BCP.exp() - 1 - logvar_BCP)


def free_nats_kl(kl_CP: Tensor, free_nats: float) -> Tensor:
    """Return Σ_d max(KL_d, free_nats) of the *batch mean* KL of every dimension.

    Clamping after the mean lets single samples spend less than the floor; clamping each sample
    would not. (Kingma et al. 2016, section 3.2.)

    Args:
        kl_CP: KL of every latent dimension, averaged over the batch, in nats.
        free_nats: the floor per dimension in nats; 0 gives the plain sum.
    """
    return kl_CP.clamp(min=free_nats).sum()


def reparameterise(mean_BCP: Tensor, logvar_BCP: Tensor) -> Tensor:
    """Return μ + σ·ε with ε ~ N(0, I) from the global random state; same shape as the mean."""
    return mean_BCP + (0.5 * logvar_BCP).exp() * torch.randn_like(mean_BCP)


def annealed(step: int, steps: int, cycles: int = 0, ramp: float = 0.5) -> float:
    """Return the multiplier in [0, 1] of an annealed weight at optimiser step `step`.

    Linear: step/steps. Cyclic: `steps` holds `cycles` equal cycles, each rising linearly over its
    first `ramp` and staying at 1 for the rest (Fu et al. 2019, section 3.2). 1 after `steps`.

    Args:
        step: optimiser steps done.
        steps: length of the schedule; 0 switches it off.
        cycles: number of cycles; 0 means one linear rise.
        ramp: rising share of each cycle, in (0, 1].
    """
    if steps <= 0 or step >= steps:
        return 1.0
    if cycles <= 0:
        return step / steps
    within = (step * cycles / steps) % 1.0
    return min(1.0, within / ramp)
