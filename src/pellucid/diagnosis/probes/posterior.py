"""Per-dimension statistics of a Gaussian posterior.

Symbols: μ, σ² of q(z|x) = N(μ, σ²); KL_j = E_x[½(μ² + σ² − 1 − ln σ²)] in nats.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from pellucid.diagnosis.case import Case

ACTIVE_VARIANCE = 0.01
"""A unit is active when Var_x(μ) exceeds this (Burda et al. 2016, section 5.2)."""


@dataclasses.dataclass(frozen=True)
class Posterior:
    """What the encoder's distribution looks like over the samples.

    Args:
        kl_d: (d,) mean KL of each dimension, nats.
        kl: their sum, nats per sample.
        active: dimensions with Var(μ) > 0.01.
        mean_variance_d: (d,) Var_x(μ).
        variance_d: (d,) E_x[σ²].
        logvar: (N, d) log-variances.
    """

    kl_d: Tensor
    kl: float
    active: int
    mean_variance_d: Tensor
    variance_d: Tensor
    logvar: Tensor

    @property
    def size(self) -> int:
        """d."""
        return self.kl_d.numel()


def kl_terms(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return ½(μ² + σ² − 1 − ln σ²) elementwise, in nats."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def posterior(case: Case) -> Posterior | None:
    """Measure the posterior; None when the encoder states no variance."""
    if case.latent.logvar is None:
        return None
    mean = case.latent.mean.flatten(1).double()
    logvar = case.latent.logvar.flatten(1).double()
    kl_d = kl_terms(mean, logvar).mean(0)
    variance = mean.var(0)
    return Posterior(
        kl_d=kl_d,
        kl=float(kl_d.sum()),
        active=int((variance > ACTIVE_VARIANCE).sum()),
        mean_variance_d=variance,
        variance_d=logvar.exp().mean(0),
        logvar=logvar,
    )
