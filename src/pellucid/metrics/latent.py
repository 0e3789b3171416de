"""The rate of a Gaussian latent over a whole set, dimension by dimension.

Shape letters: B batch, C channels, P positions (any number of axes), D = C·P dimensions, N samples.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.bootstrap import Groups, bootstrap_interval, group_names
from pellucid.records import MetricValue

ACTIVE_VARIANCE = 0.01  # Burda et al. 2016
ACTIVE_NATS = 0.01


class GaussianRate:
    """Accumulate KL(q(z|x) ‖ N(0, 1)) = ½(μ² + σ² − 1 − ln σ²) per sample and per dimension.

    A unit (one latent dimension) is active by variance when Var_x(μ) > 0.01 (Burda et al.,
    "Importance weighted autoencoders", 2016) and active by rate when its mean KL > 0.01 nats.
    Only a Gaussian bottleneck's posterior has this rate; for other continuous latents see
    `quantised_latent_bits`.
    """

    def __init__(self) -> None:
        self._kl_N: list[Tensor] = []
        self._groups: list[str] = []
        self._kl_D: Tensor | None = None
        self._mean_D: Tensor | None = None
        self._spread_D: Tensor | None = None  # Σ (μ − mean)², merged batch by batch

    def update(self, mean: Tensor, logvar: Tensor, groups: Groups | Tensor | None = None) -> None:
        """Measure one batch.

        Args:
            mean: (B, C, P...) posterior means.
            logvar: (B, C, P...) posterior log-variances in nats.
            groups: (B,) which photograph each sample comes from; None makes each its own group.

        Raises:
            PellucidError: for different shapes, non-finite values, another latent size than
                before, or groups of another length.
        """
        if mean.shape != logvar.shape or mean.dim() < 2 or not len(mean):
            raise PellucidError(
                "means and log-variances come in pairs",
                where="GaussianRate",
                expected="two tensors (B, C, P...)",
                found=(tuple(mean.shape), tuple(logvar.shape)),
            )
        mu, log_variance = (t.detach().double().flatten(1).cpu() for t in (mean, logvar))
        kl_BD = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance)
        if not kl_BD.isfinite().all():
            raise PellucidError("a posterior's KL is not finite", where="GaussianRate")
        if self._kl_D is not None and self._kl_D.shape != kl_BD.shape[1:]:
            raise PellucidError(
                "latents of another size",
                where="GaussianRate",
                expected=f"{len(self._kl_D)} dimensions",
                found=kl_BD.shape[1],
            )
        names = group_names(groups, size=len(mu), first=self.n)
        self._merge_moments(mu, kl_BD)
        self._kl_N.append(kl_BD.sum(1))
        self._groups += names

    @property
    def n(self) -> int:
        """Samples seen."""
        return sum(len(part) for part in self._kl_N)

    @property
    def kl_per_dimension(self) -> Tensor:
        """(D,) mean KL of each latent dimension in nats."""
        self._require_samples()
        assert self._kl_D is not None
        return self._kl_D / self.n

    @property
    def mean_variance(self) -> Tensor:
        """(D,) population variance of the posterior mean over the set."""
        self._require_samples()
        assert self._spread_D is not None
        return self._spread_D / self.n

    def compute(self, *, resamples: int = 2000, seed: int = 0) -> dict[str, MetricValue]:
        """Return kl, kl_bits, kl_per_dimension, active_units and active_units_by_rate.

        Args:
            resamples: bootstrap resamples of whole groups, for the interval of the KL.
            seed: of the resampling.

        Raises:
            PellucidError: when no sample was seen.
        """
        per_dimension, variance = self.kl_per_dimension, self.mean_variance
        D = len(per_dimension)
        kl = bootstrap_interval(
            torch.cat(self._kl_N).numpy(),
            np.asarray(self._groups),
            resamples=resamples,
            seed=seed,
        )
        convention = f"raw KL to N(0, 1), sum over {D} dimensions, mean over samples"

        def scaled(unit: str, factor: float, words: str) -> MetricValue:
            low = None if kl.low is None else kl.low * factor
            high = None if kl.high is None else kl.high * factor
            return MetricValue(kl.value * factor, unit, low, high, kl.n, words)

        def units(active: Tensor, words: str) -> MetricValue:
            return MetricValue(float(active.sum()), f"of {D} units", None, None, kl.n, words)

        return {
            "kl": scaled("nats per sample", 1.0, convention),
            "kl_bits": scaled("bits per sample", 1 / math.log(2), convention + ", over ln 2"),
            "kl_per_dimension": scaled("nats per dimension", 1 / D, convention + f", over {D}"),
            "active_units": units(
                variance > ACTIVE_VARIANCE,
                f"variance of the posterior mean over the set > {ACTIVE_VARIANCE}",
            ),
            "active_units_by_rate": units(
                per_dimension > ACTIVE_NATS, f"mean KL over the set > {ACTIVE_NATS} nats"
            ),
        }

    def _merge_moments(self, mu_BD: Tensor, kl_BD: Tensor) -> None:
        """Add a batch to the running sums (Chan et al. 1979: stable for means far from zero)."""
        size, seen = len(mu_BD), self.n
        batch_mean = mu_BD.mean(0)
        batch_spread = (mu_BD - batch_mean).square().sum(0)
        if self._kl_D is None or self._mean_D is None or self._spread_D is None:
            self._kl_D, self._mean_D, self._spread_D = kl_BD.sum(0), batch_mean, batch_spread
            return
        shift = batch_mean - self._mean_D
        self._kl_D = self._kl_D + kl_BD.sum(0)
        self._mean_D = self._mean_D + shift * size / (seen + size)
        self._spread_D = (
            self._spread_D + batch_spread + shift.square() * seen * size / (seen + size)
        )

    def _require_samples(self) -> None:
        if not self._kl_N:
            raise PellucidError("no posterior was measured", where="GaussianRate")
